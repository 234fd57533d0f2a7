"""What is measured, how much of it, and on which regions."""

from dataclasses import dataclass

from models.features import feature_names
from schemas.grid import Grid
from schemas.spec import Spec

CATEGORIES = ("ems", "fire", "traffic", "other")
CELL_M = 1000.0
SIDE = 48
FRAME_SIDES = (24, 48, 96)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of one run, by default of a full one."""

    name: str = "full"
    events: int = 6_400_000  # pre-loaded for throughput, in each of the two topics
    rounds: int = 3
    events_per_batch: int | None = None  # None: the product's default
    rate_per_s: float = 1000.0
    latency_warm_up_s: float = 15.0
    latency_s: float = 90.0  # measured, after the warm-up
    frame_repeats: int = 30


FULL = Sizes()
AGAINST = Sizes(name="against", events=4_800_000, latency_s=60.0)
QUICK = Sizes(
    name="quick",
    events=200_000,
    rounds=1,
    events_per_batch=40_000,
    latency_warm_up_s=5.0,
    latency_s=15.0,
    frame_repeats=5,
)


def bench_spec(region: str, side: int = SIDE) -> Spec:
    """A region of side x side cells of 1 km, 4 categories, 3 horizons."""
    grid = Grid(south_deg=41.6, west_deg=-88.0, cell_m=CELL_M, rows=side, cols=side)
    return Spec(region=region, timezone="America/Chicago", grid=grid, categories=CATEGORIES, features=feature_names())


def bench_specs(regions: int) -> list[Spec]:
    return [bench_spec(f"bench-{number}") for number in range(1, regions + 1)]
