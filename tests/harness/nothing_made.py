"""For frames of which nobody asks what made them."""

import numpy as np

from schemas.frame import MAKERS

NOTHING_MADE = np.ones((0, 1, 1, len(MAKERS)), np.float32)
