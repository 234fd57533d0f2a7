"""The files of `posts`: posts.json, posts.geojson and one picture."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from models.cli.posts_table import UNKNOWN, day_of, floor_words, warnings
from models.evaluation.report.drawing.style import BASELINE, NETWORK, WIDTH, canvas, styled
from models.files.incident_files import IncidentTable
from models.readiness.plan import Asked, Plan
from schemas.errors import SettingsError
from schemas.files import replace_file, write_errors

_LEAST_SHOWN = 0.05  # calls a week, in the picture


def write_plans(out: Path, plans: Sequence[Plan], asked: Asked, calls: IncidentTable | None) -> None:
    """Raises SettingsError when they cannot be written."""
    with write_errors(SettingsError, f"--out {out}"):
        for name, content in (("posts.json", _facts(plans, asked, calls)), ("posts.geojson", _places(plans))):
            replace_file(out / name, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        _picture(plans, asked).savefig(out / "posts.png", dpi=110)


def _facts(plans: Sequence[Plan], asked: Asked, calls: IncidentTable | None) -> dict[str, Any]:
    drive, expected = asked.drive, asked.demand.expected
    return {
        "region": asked.artifact.spec.region,
        "model": asked.artifact.version,
        "data_until": day_of(asked.artifact.manifest.data.cutoff_s),
        "categories": asked.demand.categories,
        "units": asked.units,
        "busy": asked.busy,
        "floor": asked.floor,
        "floor_says": floor_words(asked),
        "reach_minutes": drive.minutes,
        "speed_kmh": None if plans[0].times_sha256 else drive.speed_kmh,
        "times_sha256": plans[0].times_sha256 or None,
        "expected_a_week": round(float(expected.sum()), 3),
        "calls": len(calls) if calls is not None else None,
        "areas": {name: round(float(expected[cells].sum()), 3) for name, cells in asked.areas.items()},
        "plans": [_plan(plan) for plan in plans],
        "warnings": list(warnings(asked)),
        "assumes": UNKNOWN,
    }


def _plan(plan: Plan) -> dict[str, Any]:
    shares = plan.shares
    return {
        "plan": plan.name,
        "within": round(shares.within, 5),
        "by_a_free_unit": round(shares.served, 5),
        "by_two": round(shares.twice, 5),
        "areas": {name: None if np.isnan(share) else round(share, 5) for name, share in shares.by_area.items()},
        "kept": asdict(plan.kept) if plan.kept else None,
        "is_proved_best": plan.is_best,
        "posts": [
            {"place": plan.places.names[post], "units": units, **_at(plan, post)}
            for post, units in sorted(Counter(plan.posts).items())
        ],
    }


def _at(plan: Plan, post: int) -> dict[str, float]:
    return {"lat": round(float(plan.places.lat_deg[post]), 5), "lon": round(float(plan.places.lon_deg[post]), 5)}


def _places(plans: Sequence[Plan]) -> dict[str, Any]:
    features = []
    for plan in plans:
        for post, units in sorted(Counter(plan.posts).items()):
            at = _at(plan, post)
            features.append(
                {
                    "type": "Feature",
                    "properties": {"plan": plan.name, "place": plan.places.names[post], "units": units},
                    "geometry": {"type": "Point", "coordinates": [at["lon"], at["lat"]]},
                }
            )
    return {"type": "FeatureCollection", "features": features}


def _picture(plans: Sequence[Plan], asked: Asked) -> Figure:
    """A map for each plan: what is expected in each cell, the posts, and the circle that each reaches."""
    grid = asked.grid
    lat, lon = grid.corners()
    per_lat, per_lon = grid.metres_per_degree
    width = WIDTH / len(plans)
    height = width * grid.rows / grid.cols
    expected = np.where(asked.demand.has_history, asked.demand.expected, np.nan).reshape(grid.rows, grid.cols)
    with styled():
        figure = canvas(height + 1.2)
        panels = np.atleast_1d(figure.subplots(1, len(plans), sharex=True, sharey=True))
        for axes, plan in zip(panels, plans, strict=True):
            shown = axes.pcolormesh(lon, lat, expected, cmap="Greys", norm=LogNorm(vmin=_LEAST_SHOWN, clip=True))
            for post, units in Counter(plan.posts).items():
                _post(axes, plan, post, units)
                if not plan.times_sha256:
                    size = (2 * asked.drive.metres / per_lon, 2 * asked.drive.metres / per_lat)
                    at = (plan.places.lon_deg[post], plan.places.lat_deg[post])
                    axes.add_patch(Ellipse(at, *size, facecolor=f"{NETWORK}20", edgecolor=NETWORK, linewidth=1))
            axes.set(aspect=per_lat / per_lon, xticks=[], yticks=[], xlim=lon[[0, -1]], ylim=lat[[0, -1]])
            within, served = (f"{100 * share:.0f} %" for share in (plan.shares.within, plan.shares.served))
            axes.set_title(f"{plan.name}\n{within} within reach, {served} by a free unit", fontsize=8)
            axes.spines[:].set_visible(False)
        bar = figure.colorbar(
            shown, ax=panels.tolist(), orientation="horizontal", shrink=0.5, aspect=40, pad=0.03, format="%g"
        )
        bar.set_label(f"calls in a usual week ({', '.join(asked.demand.categories)}); a number: units at a post")
    return figure


def _post(axes: Axes, plan: Plan, post: int, units: int) -> None:
    lon, lat = plan.places.lon_deg[post], plan.places.lat_deg[post]
    axes.plot(lon, lat, "o", color=BASELINE, markersize=11 if units > 1 else 6, markeredgecolor="white", zorder=3)
    if units > 1:
        axes.text(lon, lat, str(units), color="white", fontsize=7, ha="center", va="center", zorder=4, weight="bold")
