"""For frames of which nobody asks what made them."""

import numpy as np

from schemas.frame import ATTRIBUTION_GROUPS

NOTHING_MADE = np.ones((0, 1, 1, len(ATTRIBUTION_GROUPS)), np.float32)
