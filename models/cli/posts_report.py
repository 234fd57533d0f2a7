"""What `posts` prints and writes: one table of its plans, a file for programs and for a GIS, and a picture."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.artifact.artifact import Artifact
from models.posts_plan import AskedPlans, Places, Plan
from models.readiness import ASSUMES, DETOUR
from schemas.errors import SettingsError
from schemas.files import replace_file, write_errors

ALL_DAY = "00-24"
_LEAST_SHOWN = 0.05  # calls a week, in the picture


def day_of(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d")


def facts_of(artifact: Artifact, asked: AskedPlans, choice: Places, shift: str) -> dict[str, str]:
    """What the plans rest on, as it is printed and written."""
    drive, question, expected = asked.drive, choice.question, asked.demand.expected.sum()
    by_line = f"{drive.minutes:g} minutes at {drive.speed_kmh:g} km/h over {DETOUR} x the straight line"
    floor = f"{question.floor:.0%} of the calls of each area within reach"
    hours = "" if shift == ALL_DAY else f", from {shift.replace('-', ' to ')} h"
    calls_of = ", ".join(artifact.spec.answered_by)
    facts = {
        "region": f"{artifact.spec.region}, {expected:,.0f} calls of {calls_of} a week{hours}",
        "model": f"{artifact.version}, data until {day_of(artifact.manifest.data.cutoff_s)}",
        "units": f"{question.units}, each away for {question.busy:.0%} of the time",
        "reach": f"{drive.minutes:g} minutes of driving by the table of sha256 {choice.times_sha256}"
        if choice.times_sha256
        else f"{by_line}: {drive.metres / 1000:.1f} km",
        "floor": f"{floor}, asked of the best posts"
        if question.floor
        else "none, as --floor 0 asks: an area may be left without any unit",
    }
    if asked.calls is not None:
        first, last = (day_of(int(asked.calls.occurred_s[end])) for end in (0, -1))
        facts["kept"] = f"of {len(asked.calls):,} calls, {first} to {last}, which the model does not know"
    if expected < 1:
        facts["warning"] = f"{expected:.2g} calls are expected in a week: posts for so few are a guess"
    if bare := [name for name, cells in asked.areas.items() if not asked.demand.has_history[cells].any()]:
        facts["no call on record"] = f"{', '.join(bare)}: what is expected there is a guess, and no floor holds"
    return facts


def print_plans(plans: Sequence[Plan], facts: dict[str, str], console: Console) -> None:
    """What they rest on, the shares, and where units should stand."""
    for name, fact in facts.items():
        console.print(f"[bold]{name}:[/bold] {escape(fact)}", soft_wrap=True)
    console.print(_table(plans))
    for plan in plans:
        places = (f"{post.place} x {post.units}" if post.units != 1 else post.place for post in plan.posts)
        console.print(f"[bold]{escape(plan.plan)}:[/bold] {escape(', '.join(places))}", soft_wrap=True)
    console.print(ASSUMES, style="dim", soft_wrap=True)


def _table(plans: Sequence[Plan]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("share of the calls", no_wrap=True)
    for plan in plans:
        table.add_column(escape(plan.plan) + (", proved" if plan.proved_best else ""), justify="right")
    for name, field in (("within reach", "within"), ("by a free unit", "by_a_free_unit"), ("by two units", "by_two")):
        table.add_row(name, *(_percent(getattr(plan.reached, field)) for plan in plans))
        if field in plans[0].kept:
            table.add_row(f"kept: {name}", *(_percent(plan.kept[field]) for plan in plans))
    if len(plans) > 1:
        table.add_row("units that move", *(str(_moved(plans[0], plan)) for plan in plans))
    table.add_row("worst area", *map(_worst, plans))
    for of_plans in zip(*(plan.reached.areas for plan in plans), strict=True):
        area, mark = of_plans[0], "" if of_plans[0].floor_kept is not None else ", no floor"
        name = escape(f"{area.area}: {area.expected:,.1f} a week{mark}")
        table.add_row(name, *(_percent(each.within) + " < floor" * (each.floor_kept is False) for each in of_plans))
    return table


def _moved(now: Plan, plan: Plan) -> int:
    """Units that stand elsewhere than now, where both have as many."""
    units = {post.place: post.units or 0 for post in now.posts}
    return sum(max((post.units or 0) - units.get(post.place, 0), 0) for post in plan.posts)


def _worst(plan: Plan) -> str:
    """Of the areas with a floor; without one, of all with calls."""
    told = [area for area in plan.reached.areas if area.within is not None]
    worst = min(
        [area for area in told if area.floor_kept is not None] or told, key=lambda area: area.within or 0, default=None
    )
    return f"{escape(worst.area)} {_percent(worst.within)}" if worst else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def write_plans(out: Path, plans: Sequence[Plan], facts: dict[str, str], asked: AskedPlans) -> None:
    """posts.geojson, with the facts beside its places, and posts.png. Raises SettingsError where it cannot."""
    features = [
        {
            "type": "Feature",
            "properties": {"plan": plan.plan, "place": post.place, "units": post.units},
            "geometry": {"type": "Point", "coordinates": [post.lon, post.lat]},
        }
        for plan in plans
        for post in plan.posts
    ]
    content = {"type": "FeatureCollection", "features": features, **facts, "plans": plans, "assumes": ASSUMES}
    with write_errors(SettingsError, f"--out {out}"):
        replace_file(out / "posts.geojson", msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        _draw(out / "posts.png", plans, asked, by_times="sha256" in facts["reach"])


def _draw(path: Path, plans: Sequence[Plan], asked: AskedPlans, *, by_times: bool) -> None:
    """A map for each plan: what is expected in each cell, the posts, and the circle that each reaches."""
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Ellipse

    from models.evaluation.report.drawing.style import BASELINE, NETWORK, WIDTH, canvas, styled

    grid, (lat, lon), (per_lat, per_lon) = asked.grid, asked.grid.corners(), asked.grid.metres_per_degree
    expected = np.where(asked.demand.has_history, asked.demand.expected, np.nan).reshape(grid.rows, grid.cols)
    size = (2 * asked.drive.metres / per_lon, 2 * asked.drive.metres / per_lat)
    with styled():
        figure = canvas(WIDTH / len(plans) * grid.rows / grid.cols + 1.2)
        panels = np.atleast_1d(figure.subplots(1, len(plans), sharex=True, sharey=True))
        for axes, plan in zip(panels, plans, strict=True):
            shown = axes.pcolormesh(lon, lat, expected, cmap="Greys", norm=LogNorm(vmin=_LEAST_SHOWN, clip=True))
            for post in plan.posts:
                at, several = (post.lon, post.lat), str(post.units) if post.units != 1 else ""
                axes.plot(*at, "o", color=BASELINE, markersize=11 if several else 6, markeredgecolor="white", zorder=3)
                axes.annotate(several, at, color="white", fontsize=7, ha="center", va="center", zorder=4)
                if not by_times:
                    axes.add_patch(Ellipse(at, *size, facecolor=f"{NETWORK}20", edgecolor=NETWORK, linewidth=1))
            axes.set(aspect=per_lat / per_lon, xticks=[], yticks=[], xlim=lon[[0, -1]], ylim=lat[[0, -1]])
            axes.set_title(f"{plan.plan}\n{_percent(plan.reached.within)} within reach", fontsize=8)
            axes.spines[:].set_visible(False)
        bar = figure.colorbar(shown, ax=panels.tolist(), orientation="horizontal", shrink=0.5, pad=0.03, format="%g")
        bar.set_label("calls in a usual week; a number: units at a post")
        figure.savefig(path, dpi=110)
