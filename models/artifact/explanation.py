"""What made a score: parts that add up to the log of the expected count."""

import numpy as np

from models.artifact.artifact import Artifact
from models.attribution import groups_of, shares
from models.baseline import Floats, horizon_hours, profile_hours
from models.counting.count_state import CountState
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from schemas.frame import ATTRIBUTION_GROUPS


def explain(artifact: Artifact, state: CountState, cell: int) -> tuple[dict[str, Floats], Floats]:
    """The parts of log expected in a cell by their names, and the log of what is usual: (categories, horizons) each.

    As `state` stands; without a network the baseline's parts alone.
    """
    spec, constants = artifact.spec, artifact.constants
    values = FeatureEngine(spec, constants).compute(state).values
    at_s, horizons_s = state.tick_s, spec.horizons_s
    own = np.log(horizon_hours(constants, at_s, spec)[cell])
    average = np.log(np.stack([profile_hours(constants, at_s, at_s + h, spec.timezone) for h in horizons_s], axis=1))
    length = np.log(np.array(horizons_s) / 3600)
    usual = values[cell, :, usual_columns(len(horizons_s))].astype(np.float64)
    parts = {
        "the cell's rate at the region's level": usual - own + length,
        "hour of the week": average - length,
        "the cell's own day": own - average,
    }
    network, words = artifact.network(), ATTRIBUTION_GROUPS
    if network is not None:
        added = shares(network, values[cell : cell + 1], groups_of(spec.features))
        parts |= {words[name]: share[0] for name, share in added.items()}
    return parts, usual
