"""What `posts` prints: the plans side by side, where units should stand, and what a reader must know of it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.files.incident_files import IncidentTable
from models.readiness.judge import gain
from models.readiness.plan import Asked, Plan
from models.readiness.reach import DETOUR

UNKNOWN = (
    "Not known: roads, hospitals, priorities, turnout, who else helps. Where people report less, less seems needed."
)


_KEPT = ("kept: within reach", "kept: by a free unit")


def day_of(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d")


def print_plans(plans: Sequence[Plan], asked: Asked, calls: IncidentTable | None, console: Console) -> None:
    """Tables and sentences, the shares first."""
    for line in _head(asked, plans):
        console.print(escape(line), soft_wrap=True)
    for warning in warnings(asked):
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)
    console.print(_shares(plans, asked, has_calls=calls is not None))
    for line in _kept(plans, calls, asked.busy):
        console.print(escape(line), soft_wrap=True)
    console.print(_areas(plans, asked))
    for plan in plans:
        console.print(f"[bold]{escape(plan.name)}:[/bold] {escape(', '.join(standing(plan)))}", soft_wrap=True)
    console.print(UNKNOWN, style="dim", soft_wrap=True)


def _head(asked: Asked, plans: Sequence[Plan]) -> Iterator[str]:
    spec, data, drive = asked.artifact.spec, asked.artifact.manifest.data, asked.drive
    yield f"{spec.region}: {asked.units} units that answer {', '.join(asked.demand.categories)}"
    expected = asked.demand.expected.sum()
    yield f"{expected:,.0f} calls in a usual week; model {asked.artifact.version}, data until {day_of(data.cutoff_s)}"
    digest = plans[0].times_sha256
    yield (
        f"within {drive.minutes:g} minutes of driving by the table of sha256 {digest[:16]}"
        if digest
        else f"within {drive.minutes:g} minutes at {drive.speed_kmh:g} km/h over {DETOUR} x the straight line: "
        f"{drive.metres / 1000:.1f} km"
    )
    yield f"a unit is away {asked.busy:.0%} of the time; {floor_words(asked)}"


def floor_words(asked: Asked) -> str:
    if not asked.floor:
        return "no floor, as --floor 0 asks: an area may be left without any unit"
    without = [name for name in asked.areas if name not in asked.floored]
    but = f", but not of {', '.join(without)}" if without else ""
    return f"floor: {asked.floor:.0%} of the calls of each area within reach{but}"


def warnings(asked: Asked) -> Iterator[str]:
    demand = asked.demand
    if demand.expected.sum() < 1:
        yield f"{demand.expected.sum():.2g} calls are expected in a week: posts for so few are a guess"
    if bare := [name for name, cells in asked.areas.items() if not demand.has_history[cells].any()]:
        yield f"no call is on record in {', '.join(bare)}: what is expected there is a guess, and no floor holds"


def _shares(plans: Sequence[Plan], asked: Asked, *, has_calls: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), caption_justify="left")
    table.add_column("expected calls", no_wrap=True)
    for name in ("within reach", "by a free unit", "by two units", "worst area", *(_KEPT if has_calls else ())):
        table.add_column(name, justify="right")
    for plan in plans:
        shares, worst = plan.shares, asked.worst(plan)
        kept = (plan.kept.within, plan.kept.served) if plan.kept else ()
        table.add_row(
            escape(plan.name) + (" *" if plan.is_best else ""),
            *(f"{100 * share:.1f} %" for share in (shares.within, shares.served, shares.twice)),
            _percent(shares.by_area[worst]) if worst else "",
            *(f"{100 * share:.1f} %" for share in kept),
        )
    if any(plan.is_best for plan in plans):
        table.caption = "* proved: no posts of these places have more calls reached by a free unit"
    return table


def _kept(plans: Sequence[Plan], calls: IncidentTable | None, busy: float) -> Iterator[str]:
    """Sentences on the calls after the artifact's data."""
    if calls is None:
        return
    days = f"{day_of(int(calls.occurred_s[0]))} to {day_of(int(calls.occurred_s[-1]))}"
    yield f"kept: of {len(calls):,} calls, {days}, which the model does not know; reached by a free unit:"
    first = plans[0]
    for plan in plans[1:]:
        if plan.covered is None or first.covered is None:
            continue
        against = gain(plan.covered, first.covered, calls.occurred_s, busy=busy)
        mean, low, high = (round(-100 * share, 1) + 0.0 for share in (against.mean, against.high, against.low))
        yield f"  {plan.name} against {first.name}: {mean:+.1f} points ({low:+.1f}, {high:+.1f}), {against.verdict}"


def _areas(plans: Sequence[Plan], asked: Asked) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("within reach by area", no_wrap=True)
    for name in ("calls a week", *(plan.name for plan in plans)):
        table.add_column(escape(name), justify="right")
    for name, cells in asked.areas.items():
        expected = asked.demand.expected[cells].sum()
        shares = (plan.shares.by_area[name] for plan in plans)
        mark = "" if name in asked.floored or not asked.floor else ", no floor"
        table.add_row(escape(name + mark), f"{expected:,.1f}", *(_percent(share) for share in shares))
    return table


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.0f} %"


def standing(plan: Plan) -> Iterator[str]:
    """Places with units, in the order of their names."""
    names = Counter(plan.places.names[post] for post in plan.posts)
    for name, units in sorted(names.items()):
        yield f"{name} x {units}" if units > 1 else name
