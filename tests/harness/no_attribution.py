"""For frames whose attribution no test reads."""

import numpy as np

from schemas.frame import ATTRIBUTION_GROUPS

NO_ATTRIBUTION = np.ones((0, 1, 1, len(ATTRIBUTION_GROUPS)), np.float32)
