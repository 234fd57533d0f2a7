"""Frames for those who look at one thing of them."""

from schemas.frame import RiskFrame


def frame_by(model):
    """A frame of which only the model is known."""
    made = RiskFrame.__new__(RiskFrame)
    object.__setattr__(made, "model", model)
    return made
