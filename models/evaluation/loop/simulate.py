"""The loop, day by day, through the product's own functions: decode, count, baseline, network, following, rank."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from models.artifact import Artifact
from models.baseline import BaselineConstants
from models.counting.count_state import CountState
from models.cube import Floats
from models.dispersion import Dispersion
from models.evaluation.loop.city import SIDE, START_S, EqualCity
from models.evaluation.loop.policies import Policy
from models.features import FeatureEngine
from models.following import Follower, FollowerState, SequentialFollowing, served_delay_s
from models.likelihood import at_least_one
from models.local_time import DAY_BLOCKS
from models.network import RiskNetwork
from models.scoring import means
from schemas.decode import decode_messages
from schemas.errors import ArtifactError
from schemas.grid import Grid
from schemas.spec import DAY_S, Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class CityModel:
    """What an artifact has learned, for the simulated city, which has no history."""

    spec: Spec
    constants: BaselineConstants
    network: RiskNetwork

    @classmethod
    def of(cls, artifact: Artifact) -> "CityModel":
        network, learned = artifact.network(), artifact.constants
        if network is None or DAY_S not in artifact.spec.horizons_s:
            raise ArtifactError(f"{artifact.folder} has no network, or no horizon of 24 h", "name another artifact")
        grid = Grid(south_deg=41.0, west_deg=-87.0, cell_m=artifact.spec.grid.cell_m, rows=SIDE, cols=SIDE)
        spec = msgspec.structs.replace(artifact.spec, grid=grid, merge="none", masked="")
        lift, first_day = np.ones((spec.grid.cells, len(spec.categories), DAY_BLOCKS)), np.array(START_S / DAY_S)
        bare = replace(learned, day_lift=lift, older=None, cell_dispersion=np.zeros(0), first_day=first_day)
        return cls(spec=spec, constants=bare, network=network)

    def under(self, policy: Policy) -> "tuple[CityModel, EqualCity]":
        """The model with the origins that the policy counts, and its city."""
        counted = self.spec.counted_origins + ("officer_initiated",) * policy.counts_discovered
        spec, usual = msgspec.structs.replace(self.spec, counted_origins=counted), self.constants.mean_per_day
        city = EqualCity(spec=spec, category_shares=usual / usual.sum(), reporting=np.tile(policy.reporting, SIDE))
        constants = replace(self.constants, mean_per_day=city.called.sum() * city.category_shares)
        return replace(self, spec=spec, constants=constants), city

    @property
    def dispersion(self) -> Dispersion:
        """(categories, 1) around the network's forecast of a day."""
        horizon = self.spec.horizons_s.index(DAY_S)
        return self.constants.dispersion_in_cells(of_network=True)[:, horizon : horizon + 1]

    def following(self, counts: Sequence[npt.NDArray[np.int32]]) -> SequentialFollowing:
        """A follower of forecasts of whole days. counts: of the days so far, (cells, categories) each."""
        spec = msgspec.structs.replace(self.spec, horizons_s=(DAY_S,))
        constants = replace(self.constants, dispersion=self.dispersion, network_dispersion=None)
        return SequentialFollowing(
            follower=Follower.of(spec, constants, step_s=DAY_S),
            counts=lambda begin_s, _: counts[(begin_s - START_S) // DAY_S],
            delay_s=served_delay_s(spec.late_limit_s),
            state=FollowerState.new(spec),
        )


def learned_shares(model: CityModel, policy: Policy, *, days: int, seed: int) -> Floats:
    """(days + 1, cells) which share of the city's incidents the forecast of each day expects in each cell.

    On that day the cells that the policy chooses by it are visited, and the next forecast is made of what then counts.
    """
    model, city = model.under(policy)
    random, horizon = np.random.default_rng(seed), model.spec.horizons_s.index(DAY_S)
    state, engine = CountState(model.spec), FeatureEngine(model.spec, model.constants)
    counts: list[npt.NDArray[np.int32]] = []
    following, shares = model.following(counts), np.empty((days + 1, model.spec.grid.cells))
    state.advance(START_S)
    for day in range(days + 1):
        tick_s = START_S + day * DAY_S
        expected = means(engine.compute(state).values, model.network, model.spec)[1][:, :, horizon, None].astype(float)
        if policy.is_followed:
            expected *= following.next_factors(tick_s, expected.copy()).shown()
        risk = 1 - np.prod(1 - at_least_one(expected, model.dispersion), axis=(1, 2))
        in_cells = expected.sum(axis=(1, 2))
        shares[day] = in_cells / in_cells.sum()
        messages = city.messages(day, policy.visits(risk, in_cells, random), random)
        incidents = decode_messages(messages, {model.spec.region: model.spec}).incidents[model.spec.region]
        state.apply(incidents, tick_s + DAY_S)
        state.registry.expire(state.asked_from_s)
        counts.append(state.shape(state.levels["day"].newest_bins(1, skip=1)[0]))
    return shares


def errors_of(shares: Floats) -> Floats:
    """Half of the absolute differences to equal shares: the part of all incidents that is expected elsewhere.

    shares: (..., cells).

    >>> errors_of(np.array([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])).tolist()
    [0.0, 0.75]
    """
    return np.asarray(np.abs(shares - 1 / shares.shape[-1]).sum(axis=-1) / 2)


def last_errors(shares: Floats) -> tuple[float, float]:
    """Mean and 95th percentile of the errors of the last day's forecasts. shares: (seeds, days + 1, cells)."""
    errors = errors_of(shares[:, -1])
    return float(errors.mean()), float(np.percentile(errors, 95))
