"""Whether forecasts chase their own tail: a city of equal true rates, and visits that find incidents where they go."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models.artifact import Artifact, champion_of
from models.baseline import BaselineConstants
from models.counting.count_state import CountState
from models.dispersion import Floats, at_least_one
from models.features import FeatureEngine
from models.follower import Follower, SequentialFollowing, served_delay_s
from models.following import FollowerState
from models.local_time import DAY_BLOCKS
from models.network import RiskNetwork
from models.scoring import means
from models.training.region_tasks import Artifacts, Region, refuse_unwritable
from schemas.decode import Messages, decode_messages
from schemas.errors import ArtifactError, needs_extra
from schemas.event import Event, Origin
from schemas.frame import riskiest
from schemas.grid import Grid
from schemas.spec import DAY_S, Spec

START_S = 1_704_067_200  # Monday, 2024-01-01 00:00 UTC
SIDE = 4  # cells
_PER_CELL = 10.0  # true incidents of a day in a cell, the same everywhere
_CALLED = 0.1  # of them, the share that somebody reports where reporting is usual


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualCity:
    """As much happens in every cell. Calls tell of a share of it; a visit of a day discovers the rest of that day."""

    spec: Spec
    category_shares: Floats  # (categories,) of the incidents
    reporting: Floats  # (cells,) of the usual share of calls

    @property
    def called(self) -> Floats:
        """(cells,) incidents of a day that somebody calls about."""
        return np.asarray(_PER_CELL * _CALLED * self.reporting)

    def messages(self, day: int, visited: npt.NDArray[np.intp], random: np.random.Generator) -> Messages:
        """What is sent of a day, counted from 0."""
        discovered = np.zeros(len(self.called))
        discovered[visited] = _PER_CELL - self.called[visited]
        values = self._drawn(day, self.called, "public_call", random)
        values += self._drawn(day, discovered, "officer_initiated", random)
        places, received_ms = np.arange(len(values)), np.full(len(values), (START_S + (day + 1) * DAY_S) * 1000)
        return Messages.of(values, partition=0 * places, kafka_offset=places, kafka_time_ms=received_ms)

    def _drawn(self, day: int, means: Floats, origin: Origin, random: np.random.Generator) -> list[bytes]:
        """Incidents of one origin as JSON. means: (cells,)."""
        counts = random.poisson(means[:, None] * self.category_shares)
        cell, category = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
        occurred_s = START_S + day * DAY_S + random.integers(0, DAY_S, len(cell))
        lat_deg, lon_deg = (of_cells[cell].tolist() for of_cells in self.spec.grid.centres())
        events = (
            Event(
                incident_id=f"{day}-{origin}-{number}",
                region=self.spec.region,
                occurred_at=datetime.fromtimestamp(at_s, UTC),
                category=self.spec.categories[category[number]],
                lat=lat_deg[number],
                lon=lon_deg[number],
                origin=origin,
            )
            for number, at_s in enumerate(occurred_s.tolist())
        )
        return [msgspec.json.encode(event) for event in events]


Cells = npt.NDArray[np.intp]
_VISITED = 4  # of a day


def highest(risk: Floats, expected: Floats, random: np.random.Generator) -> Cells:
    """The cells that the product ranks first. risk, expected: (cells,)."""
    return riskiest(risk.astype(np.float32), expected.astype(np.float32), _VISITED)


def in_proportion(risk: Floats, expected: Floats, random: np.random.Generator) -> Cells:
    return random.choice(len(expected), _VISITED, replace=False, p=expected / expected.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A row of the table. Its verdict stands while its errors are as they are held to be."""

    name: str
    visits: Callable[[Floats, Floats, np.random.Generator], Cells] = highest
    counts_discovered: bool = False
    reporting: tuple[float, ...] = (1.0,) * SIDE  # of each column of cells, a share of the usual calls
    is_followed: bool = False  # the forecast follows what the last weeks showed
    verdict: str
    holds: Callable[[float, float], bool] = lambda mean, p95: True


_BASE_POLICIES = (
    Policy(name="default", verdict="no loop", holds=lambda mean, p95: p95 <= 0.1),
    Policy(name="naive", counts_discovered=True, verdict="runs away", holds=lambda mean, p95: mean >= 0.3),
    Policy(name="unequal reports", reporting=(0.5, 0.5, 1.0, 1.0), verdict="not removed",
           holds=lambda mean, p95: mean >= 0.1),
)  # fmt: skip
POLICIES = tuple(replace(policy, is_followed=is_followed) for policy in _BASE_POLICIES for is_followed in (False, True))
SOFTER = Policy(name="naive, softer", counts_discovered=True, visits=in_proportion, verdict="loop")


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


def learned_shares(model: CityModel, policy: Policy, *, days: int, seed: int) -> Floats:
    """(days + 1, cells) which share of the city's incidents the forecast of each day expects in each cell.

    On that day the cells that the policy chooses by it are visited, and the next forecast is made of what then counts.
    """
    counted = model.spec.counted_origins + ("officer_initiated",) * policy.counts_discovered
    spec, usual = msgspec.structs.replace(model.spec, counted_origins=counted), model.constants.mean_per_day
    city = EqualCity(spec=spec, category_shares=usual / usual.sum(), reporting=np.tile(policy.reporting, SIDE))
    constants = replace(model.constants, mean_per_day=city.called.sum() * city.category_shares)
    horizon, counts = spec.horizons_s.index(DAY_S), list[npt.NDArray[np.int32]]()
    dispersion = constants.dispersion_in_cells(of_network=True)[:, horizon : horizon + 1]  # around a day's forecast
    of_days = msgspec.structs.replace(spec, horizons_s=(DAY_S,))
    around_network = replace(constants, dispersion=dispersion, network_dispersion=None)
    following = SequentialFollowing(
        follower=Follower.of(of_days, around_network, step_s=DAY_S),
        counts=lambda begin_s, _: counts[(begin_s - START_S) // DAY_S],
        delay_s=served_delay_s(spec.late_limit_s),
        state=FollowerState.new(of_days),
    )
    state, engine, shares = CountState(spec), FeatureEngine(spec, constants), np.empty((days + 1, spec.grid.cells))
    random = np.random.default_rng(seed)
    state.advance(START_S)
    for day in range(days + 1):
        tick_s = START_S + day * DAY_S
        expected = means(engine.compute(state).values, model.network, spec)[1][:, :, horizon, None].astype(float)
        if policy.is_followed:
            expected *= following.next_factors(tick_s, expected.copy()).shown()
        risk = 1 - np.prod(1 - at_least_one(expected, dispersion), axis=(1, 2))
        in_cells = expected.sum(axis=(1, 2))
        shares[day] = in_cells / in_cells.sum()
        messages = city.messages(day, policy.visits(risk, in_cells, random), random)
        incidents = decode_messages(messages, {spec.region: spec}).incidents[spec.region]
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


def simulate_feedback_command(
    out: Annotated[Path, typer.Option(help="Folder for the picture, feedback.png")] = Path("out/feedback"),
    region: Region = "montgomery",
    artifacts: Artifacts = Path("streaming/sample/artifacts"),
    seeds: Annotated[int, typer.Option(min=1, help="Simulated cities of each policy")] = 20,
    days: Annotated[int, typer.Option(min=1, help="Days of visits")] = 60,
) -> None:
    """Put a region's model into a simulated city where all places are alike, and visit its highest cells every day.

    What visits discover is `officer_initiated`. Not counted, as by default, it moves no forecast; counted, it does.
    That places report unequally is not removed. Ends with code 1 where a figure is not as it is held to be.
    """
    with needs_extra("evaluate"):
        from models.evaluation.evaluation_report import PERCENT, canvas, grid_lines, styled
    torch.set_num_threads(1)
    model, console, shares = CityModel.of(champion_of(artifacts, region)), Console(), dict[Policy, Floats]()
    refuse_unwritable(out)
    for policy in track((*POLICIES, SOFTER), "policies", console=console, transient=True):
        shares[policy] = np.stack([learned_shares(model, policy, days=days, seed=seed) for seed in range(seeds)])
    names = list(dict.fromkeys(policy.name for policy in shares))
    with styled():  # dashed where the forecast follows
        figure = canvas(4.2)
        axes = figure.subplots()
        for policy, of_policy in shares.items():
            style, label = ("--", None) if policy.is_followed else ("-", policy.name)
            axes.plot(errors_of(of_policy).mean(axis=0), style, color=f"C{names.index(policy.name)}", label=label)
        axes.set(xlabel="day", ylim=(0, None), title="Incidents expected in the wrong cells of a city of equal cells")
        axes.yaxis.set_major_formatter(PERCENT)
        axes.legend()
        grid_lines(axes)
        figure.savefig(out / "feedback.png", dpi=100)
    table = Table("policy", "discovered", "follows", "largest", "error", "95 %", "verdict", box=None, padding=(0, 1))
    is_as_held = {policy: policy.holds(*last_errors(of_policy)) for policy, of_policy in shares.items()}
    for policy, of_policy in shares.items():
        counted, follows = "counted" if policy.counts_discovered else "not counted", "yes" if policy.is_followed else ""
        figures = (f"{figure:.3f}" for figure in (of_policy[:, -1].max(axis=1).mean(), *last_errors(of_policy)))
        verdict = policy.verdict if is_as_held[policy] else "[red]broken[/red]"
        table.add_row(policy.name, counted, follows, *figures, verdict)
    console.print(table, f"picture: {out / 'feedback.png'}", sep="\n", soft_wrap=True)
    if not all(is_as_held.values()):
        raise typer.Exit(1)
