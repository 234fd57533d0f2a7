"""Where inside the cell: what shares of squares add to a forecast of cells, beside maps that are as fine.

A square's score is what is expected of its cell times its share, at each step. *Hits*: incidents in the squares that
are put first, until these make up a share of the area of all cells that ever had incidents; of squares with the same
score as the last one, a part counts. *Nats*: minus the logarithm of the share, in its cell, of the square in which an
incident was; even shares give log(squares). Intervals are drawn as those of the other tables.

Here squares are judged whatever the categories are: a study. No artifact has squares unless units answer all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from models.comparison import day_blocks, ratio_of
from models.evaluation.tasks import Task
from models.fine_counts import FittedFine
from models.measures import AnyFloats, Floats
from schemas.fine import squares_of
from schemas.incidents import Incidents, in_degrees

AREA_SHARES = (0.005, 0.01, 0.02, 0.05)
CELLS, SHARES, STATIC = "cells alone", "forecast x shares", "static map x shares"
UNGUARDED, STATIC_UNGUARDED, KERNEL = "forecast x shares, no guards", "static map, no guards", "kernel density"
BANDWIDTHS = (0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0)  # sides of a square; 0.1 smooths nothing
_UNSEEN = 0.5  # incidents of each square in a map without guards
Interval = tuple[float, float, float]  # value, low and high of its 95 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideRow:
    """A model in the judged steps that are kept. category: empty for all of them together."""

    model: str
    category: str
    came: Floats  # (steps,) incidents
    hits: Floats  # (steps, AREA_SHARES) of them
    nats: Floats  # (steps,) sum over them


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideFigures:
    """One origin."""

    rows: tuple[InsideRow, ...]
    pseudo_count: float
    bandwidth_m: float


def inside_figures(
    task: Task,
    incidents: Incidents,
    forecast: Callable[[range], AnyFloats],
    runs: Sequence[range],
    *,
    purge: int,
) -> InsideFigures:
    """Fit shares and maps on what is known before the judged steps, and judge them.

    incidents: of the task, with their places. forecast: (steps, scored cells, categories) expected in one of `runs`,
    which are the judged steps.
    """
    grid, fine, squares, starts_s = task.grid, task.fine, task.fine**2, task.cube.starts_s
    names = task.cube.categories
    square = squares_of(grid, fine, incidents.cell, *in_degrees(incidents.place).T)
    step = np.searchsorted(starts_s, incidents.occurred_s, side="right") - 1
    is_known = task.scored[incidents.cell] & task.is_kept[step]
    learned, later, past, judged = (
        np.flatnonzero(is_known & (step >= first) & (step < stop))
        for first, stop in (
            (0, task.validation - purge),
            (task.validation, task.test - purge),
            (0, task.test - purge),
            (task.test, len(task.cube)),
        )
    )
    fitted = FittedFine.of(incidents.select(learned), incidents.select(later), incidents.select(past), grid, fine)

    def map_of(part: npt.NDArray[np.intp], bandwidth: float) -> Floats:
        """(cells, squares) a kernel density of incidents, not normed."""
        counts = np.bincount(incidents.cell[part] * squares + square[part], minlength=grid.cells * squares)
        in_rows = counts.astype(np.float64).reshape(grid.rows, grid.cols, fine, fine).swapaxes(1, 2)
        smooth = gaussian_filter(in_rows.reshape(grid.rows * fine, -1), sigma=bandwidth, mode="reflect")
        in_cells = smooth.reshape(grid.rows, fine, grid.cols, fine).swapaxes(1, 2)
        return np.asarray(in_cells.reshape(grid.cells, squares) + _UNSEEN)

    def surprise(bandwidth: float) -> float:
        density = map_of(learned, bandwidth)
        return -float(np.log(density[incidents.cell[later], square[later]] / density.sum()).sum())

    bandwidth = min(BANDWIDTHS, key=surprise)
    ever = np.unique(incidents.cell[past])
    kernel, plain = map_of(past, bandwidth)[ever], map_of(past, BANDWIDTHS[0])[ever]
    shares = np.stack([fitted.shares.of_category(c)[ever] for c in range(len(names))], axis=2).astype(np.float64)
    even = np.full_like(shares, 1 / squares)
    usual = np.zeros((grid.cells, len(names)))
    np.add.at(usual, (incidents.cell[past], incidents.category[past]), 1)
    static = (usual[ever, None] * shares).sum(axis=2)
    of_kernel, of_plain = (
        np.repeat((of / of.sum(axis=1, keepdims=True))[:, :, None], len(names), axis=2) for of in (kernel, plain)
    )
    # (model, category or None) -> shares of each category inside the cells, and a map in place of the forecast.
    models: dict[tuple[str, int | None], tuple[Floats, Floats | None]] = {
        (CELLS, None): (even, None),
        (SHARES, None): (shares, None),
        (STATIC, None): (shares, static),
        (UNGUARDED, None): (of_plain, None),
        (STATIC_UNGUARDED, None): (of_plain, plain),
        (KERNEL, None): (of_kernel, kernel),
    }
    if len(names) > 1:
        models |= {(name, c): models[name, None] for c in range(len(names)) for name in (CELLS, SHARES)}

    position = np.full(grid.cells, -1)
    position[ever] = np.arange(len(ever))
    of_cell, of_square, category = position[incidents.cell[judged]], square[judged], incidents.category[judged]
    at_step, steps = step[judged] - task.test, len(task.cube) - task.test
    first_of = np.searchsorted(at_step, np.arange(steps + 1))
    hits = {key: np.zeros((steps, len(AREA_SHARES))) for key in models}
    scored_ever = np.flatnonzero(task.scored).searchsorted(ever)
    for run in runs:
        for at, expected in zip(run, forecast(run)[:, scored_ever], strict=True):
            came = slice(*first_of[at - task.test : at - task.test + 2])
            flat = of_cell[came] * squares + of_square[came]  # below 0 in a cell that never had incidents
            for (name, only), (inside, fixed) in models.items():
                if only is None:
                    score = (expected[:, None] * inside).sum(axis=2) if fixed is None else fixed
                else:
                    score = expected[:, None, only] * inside[:, :, only]
                chosen = flat[(flat >= 0) & ((only is None) | (category[came] == only))]
                hits[name, only][at - task.test] = hits_at(score.ravel(), chosen)
    rows, is_kept = [], task.is_kept[task.test :]
    for (name, only), (inside, _) in models.items():
        here = np.flatnonzero((only is None) | (category == only))
        share = np.where(of_cell < 0, 1 / squares, inside[of_cell, of_square, category])[here]
        rows.append(
            InsideRow(
                model=name,
                category="" if only is None else names[only],
                came=np.bincount(at_step[here], minlength=steps)[is_kept].astype(np.float64),
                hits=hits[name, only][is_kept],
                nats=np.bincount(at_step[here], weights=-np.log(share), minlength=steps)[is_kept].astype(np.float64),
            )
        )
    return InsideFigures(rows=tuple(rows), pseudo_count=fitted.pseudo_count, bandwidth_m=bandwidth * grid.cell_m / fine)


def hits_at(score: Floats, at: npt.NDArray[np.intp]) -> Floats:
    """(AREA_SHARES,) incidents in the squares with the highest scores. score: (squares,); at: (n,) their squares."""
    area = np.array(AREA_SHARES) * len(score)
    last = np.ceil(area).astype(np.intp) - 1
    least = -np.partition(-score, last)[last]
    above, equal = (score[:, None] > least).sum(axis=0), (score[:, None] == least).sum(axis=0)
    of_each = score[at, None]
    return np.asarray((of_each > least).sum(axis=0) + (of_each == least).sum(axis=0) * (area - above) / equal)


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideResult:
    """A model over one origin or more; differences are in favour of it where they are above zero."""

    model: str
    category: str
    incidents: int
    nats: Interval  # of the place inside the cell, an incident
    nats_over_even: Interval  # that it gains
    nats_over_static: Interval | None  # None for a category
    hits: tuple[Interval, ...]  # share of the incidents, at each of AREA_SHARES
    hits_over_cells: tuple[Interval, ...]


def inside_results(origins: Sequence[InsideFigures], *, steps_per_week: int, seed: int) -> tuple[InsideResult, ...]:
    """The table over these origins. No block of days reaches over an origin."""
    joined = dict[tuple[str, str], InsideRow]()
    for same in zip(*(of.rows for of in origins), strict=True):
        came, hits, nats = (np.concatenate([getattr(row, name) for row in same]) for name in ("came", "hits", "nats"))
        joined[same[0].model, same[0].category] = replace(same[0], came=came, hits=hits, nats=nats)
    block = day_blocks(*(len(of.rows[0].came) for of in origins), steps_per_week=steps_per_week)
    results = []
    for (model, category), row in joined.items():
        if not row.came.any():
            continue
        cells, static = joined[CELLS, category], joined.get((STATIC_UNGUARDED, category))

        def of_each(part: Floats, came: Floats = row.came) -> Interval:
            return ratio_of(part, came, block, np.random.default_rng(seed), least=-np.inf)

        results.append(
            InsideResult(
                model=model,
                category=category,
                incidents=int(row.came.sum()),
                nats=of_each(row.nats),
                nats_over_even=of_each(cells.nats - row.nats),
                nats_over_static=of_each(static.nats - row.nats) if static else None,
                hits=tuple(map(of_each, row.hits.T)),
                hits_over_cells=tuple(map(of_each, (row.hits - cells.hits).T)),
            )
        )
    return tuple(results)


MEANING = (
    "Percent of the incidents in the squares that are put first, until they make up so much of the area of the cells "
    "that ever had incidents; nats an incident of the place inside its cell; 95 % intervals. Shares are guarded: no "
    "single address shows. Static maps and the kernel density are of what came before; no guards: any address may show."
)
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # title, headings, rows


def inside_tables(
    origins: Sequence[InsideFigures], starts: Sequence[str], *, steps_per_week: int, seed: int
) -> list[Table]:
    """The tables in words. starts: from when each origin is judged."""
    areas = tuple(f"{100 * share:g} % of the area" for share in AREA_SHARES)
    hits, nats, of_origins = list[tuple[str, ...]](), list[tuple[str, ...]](), list[tuple[str, ...]]()
    for result in inside_results(origins, steps_per_week=steps_per_week, seed=seed):
        name = f"{result.category}: {result.model}" if result.category else result.model
        hits.append((name, *(_text(of, "{:.1f}", 100) for of in result.hits)))
        if result.model == SHARES:
            hits.append((f"{name}, more than cells", *(_text(of, "{:+.1f}", 100) for of in result.hits_over_cells)))
        if result.nats_over_static and result.model not in (CELLS, STATIC, UNGUARDED):
            gains = (_text(of, "{:+.3f}") for of in (result.nats_over_even, result.nats_over_static))
            nats.append((name, _text(result.nats, "{:.3f}"), *gains))
    tables: list[Table] = [
        ("Where inside the cell: hits, %", ("model", *areas), hits),
        ("Where inside the cell: nats", ("model", "nats", "less than even", "less than the static map"), nats),
    ]
    if len(origins) > 1:
        for of, start in zip(origins, starts, strict=True):
            for result in inside_results([of], steps_per_week=steps_per_week, seed=seed):
                if not result.category and result.model in (CELLS, SHARES):
                    of_origins.append((f"{start}: {result.model}", *(_text(hit, "{:.1f}", 100) for hit in result.hits)))
        tables.append(("Where inside the cell, by origin: hits, %", ("judged from", *areas), of_origins))
    return tables


def _text(of: Interval, form: str, times: float = 1) -> str:
    value, low, high = (form.format(times * number) for number in of)
    return f"{value} ({low} to {high})"


def inside_json(origins: Sequence[InsideFigures], *, steps_per_week: int, seed: int) -> dict[str, Any]:
    """What evaluation.json has of it; the origins in their order."""
    drawn = {"steps_per_week": steps_per_week, "seed": seed}
    return {
        "area_shares": AREA_SHARES,
        "rows": [asdict(result) for result in inside_results(origins, **drawn)],
        "origins": [
            {
                "pseudo_count": of.pseudo_count,
                "bandwidth_m": of.bandwidth_m,
                "rows": [asdict(result) for result in inside_results([of], **drawn)],
            }
            for of in origins
        ],
    }
