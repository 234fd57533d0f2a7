"""An artifact for a region without history: a flat rate everywhere, until its own incidents say more."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from models.artifact.manifest import DataSource
from models.artifact.writing import Model, Provenance, write_artifact
from models.baseline import BaselineConstants
from models.counting.count_state import CountState
from models.dispersion import Dispersion
from models.local_time import DAY_BLOCKS, HOURS
from models.network import NetworkShape, ResidualNetwork
from schemas.spec import DAY_S, Spec

_HALF_LIFE_DAYS = 120.0
_SHRINK_DAYS = 30.0
_DISPERSION = 5.0  # a guess on the wide side; measured ones of the two development cities lie between 0.5 and 5

_CARD = """# {region}: not trained

This artifact was made without any history, from a guess of the incidents a day, spread evenly over the grid:
{guess}.
It serves to start counting in a new region. Its scores mean nothing until the region has some weeks of its
own incidents; then train a real one with `--like` this folder. The network in it adds nothing to the baseline.
"""


def write_untrained(
    artifacts: Path, spec: Spec, *, per_day: float | Sequence[float], cutoff_s: int, created: str
) -> Path:
    """Publish an untrained artifact for `spec` and give its folder. Its history is empty and ends at `cutoff_s`.

    per_day: guess of the incidents a day in the whole region, one for all categories or one for each.
    """
    categories = len(spec.categories)
    rates = np.broadcast_to(np.asarray(per_day, np.float64), categories).copy()
    constants = BaselineConstants(
        half_life_days=np.array(_HALF_LIFE_DAYS),
        level_half_life_days=np.array(_HALF_LIFE_DAYS),
        shrink_days=np.full(categories, _SHRINK_DAYS),
        profile=np.ones((categories, HOURS)),
        day_lift=np.ones((spec.grid.cells, categories, DAY_BLOCKS)),
        mean_per_day=rates,
        dispersion=Dispersion.quadratic(np.full((categories, len(spec.horizons_s)), _DISPERSION)),
        first_day=np.array(float(cutoff_s // DAY_S)),
    )
    history = CountState(spec)
    history.advance(cutoff_s)
    shape = NetworkShape(inputs=len(spec.features), categories=categories, horizons=len(spec.horizons_s))
    guess = ", ".join(f"{name} {rate:g}" for name, rate in zip(spec.categories, rates.tolist(), strict=True))
    torch.manual_seed(0)
    return write_artifact(
        artifacts,
        Model(spec=spec, constants=constants, network=ResidualNetwork.create(shape).eval(), history=history),
        Provenance(
            data=DataSource(
                file_name="none", sha256="", layout="none", incidents=0, first_s=cutoff_s, cutoff_s=cutoff_s
            ),
            created=created,
        ),
        card=_CARD.format(region=spec.region, guess=guess),
    )
