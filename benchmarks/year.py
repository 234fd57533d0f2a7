"""A simulated year of two regions: drift seen, challengers made, tried, promoted, and a bad one refused."""

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.year_figures import figures_of
from benchmarks.year_life import Effort, Life
from benchmarks.year_world import World

PLAN_TEXT = "auto = true  # no person waits for a simulated year; all else as it is shipped\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """How long, how large, and when something changes. Days are counted from the year's first."""

    days: int = 365
    first_days: int = 210  # before the year, that the first champions learn from
    side: int = 8
    per_day: float = 200.0
    change_day: int = 183
    bad_day: int = 250  # from which the quiet region is offered the bad challenger
    effort: Effort = field(default_factory=Effort)
    plan_text: str = PLAN_TEXT

    def worlds(self) -> tuple[World, World]:
        shared: Mapping[str, Any] = {"side": self.side, "per_day": self.per_day, "days": self.first_days + self.days}
        moved = World(name="moved", seed=3, change_day=self.first_days + self.change_day, **shared)
        return moved, World(name="quiet", seed=4, **shared)


def lived(year: Year, world: World, folder: Path, say: Callable[[str], None]) -> Life:
    """The whole year of a region."""
    life = Life(
        world=world, folder=folder, plan_text=year.plan_text, first_days=year.first_days, effort=year.effort, say=say
    )
    life.begin()
    say(f"{world.name}: the first champion is trained")
    is_bad_due = world.change_day is None
    for day in range(year.days):
        life.live(day)
        if is_bad_due and day >= year.bad_day:
            is_bad_due = not life.offer_bad(day)
    return life


def _say(text: str) -> None:
    print(text, flush=True)


def _figures(year: Year, world: World) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return figures_of(lived(year, world, Path(folder), _say), change_day=world.change_day and year.change_day)


def simulate(year: Year) -> dict[str, Any]:
    """Each region in a process of its own."""
    worlds = year.worlds()
    with ProcessPoolExecutor(max_workers=len(worlds)) as pool:
        found = pool.map(_figures, [year] * len(worlds), worlds)
        regions = dict(zip((world.name for world in worlds), found, strict=True))
    return {"days": year.days, "first_days": year.first_days, "regions": regions}


def print_year(results: Mapping[str, Any], console: Console) -> None:
    """What happened, and the losses around it."""
    table = Table(title=f"{results['days']} days of two regions")
    for heading in ("region", "day", "what", "why"):
        table.add_column(heading, justify="right" if heading == "day" else "left")
    for name, region in results["regions"].items():
        for one in region["happenings"]:
            table.add_row(name, str(one["day"]), f"{'bad: ' if one['is_bad'] else ''}{one['what']}", one["why"])
    console.print(table)
    for name, region in results["regions"].items():
        figures = ", ".join(f"{what} {value}" for what, value in region["summary"].items() if what != "bad")
        console.print(f"{name}: {figures}", highlight=False, soft_wrap=True)
