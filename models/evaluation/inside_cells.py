"""Where inside the cell: what shares of squares add to a forecast of cells, beside maps that are as fine.

A square's score is what is expected of its cell times its share, at each step. *Hits*: incidents in the squares that
are put first, until these make up a share of the area of all cells that ever had incidents; of squares with the same
score as the last one, a part counts. *Nats*: minus the logarithm of the share, in its cell, of the square in which an
incident was; even shares give log(squares). Intervals are drawn as those of the other tables.

Squares are judged here whatever the categories are: a study. No artifact has them unless units answer all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from models.comparison import day_blocks, ratio_of
from models.evaluation.tasks import Task
from models.fine_counts import fit_shares
from models.measures import AnyFloats, Floats
from schemas.fine import squares_of
from schemas.incidents import Incidents, in_degrees

AREA_SHARES = (0.005, 0.01, 0.02, 0.05)
CELLS, SHARES, STATIC = "cells alone", "forecast x shares", "static map x shares"
UNGUARDED, KERNEL = "static map, no guards", "kernel density, no guards"
BANDWIDTHS = (0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0)  # sides of a square; 0.1 smooths nothing
_UNSEEN = 0.5  # incidents of each square in a map without guards
Inside = Mapping[str, Floats]  # `of categories: model` -> (kept steps,) incidents, nats, hits at each of AREA_SHARES
HEADINGS = ("model", "nats", *(f"{100 * share:g}\N{NO-BREAK SPACE}%" for share in AREA_SHARES))
MEANING = (
    "Percent of the incidents in the squares that are put first, until they make up so much of the area of the cells "
    "that ever had incidents; nats an incident of the place in its cell; 95 % intervals. Shares are guarded: no single "
    "address shows. Static: by what came before alone; no guards: as if every address might show."
)


def judge_inside(
    task: Task, incidents: Incidents, forecast: Callable[[range], AnyFloats], runs: Sequence[range], *, purge: int
) -> tuple[Inside, dict[str, float]]:
    """Fit shares and maps on what is known before the judged steps, and judge them. Gives what was chosen, too.

    incidents: of the task, with their places. forecast: (steps, scored cells, categories) expected in one of `runs`,
    which are the judged steps.
    """
    grid, fine, squares, starts_s, names = task.grid, task.fine, task.fine**2, task.cube.starts_s, task.cube.categories
    step = np.searchsorted(starts_s, incidents.occurred_s, side="right") - 1
    is_known = task.scored[incidents.cell] & task.is_kept[step] & ((step < task.test - purge) | (step >= task.test))
    incidents, step = incidents.select(is_known), step[is_known]
    square = squares_of(grid, fine, incidents.cell, *in_degrees(incidents.place).T)
    past = step < task.test
    learn_until, choose_from = task.validation - purge, task.validation
    learned_until_s, chosen_from_s = starts_s[[learn_until, choose_from]].tolist()
    spans = {"learned_until_s": learned_until_s, "chosen_from_s": chosen_from_s}
    fitted, pseudo_count = fit_shares(incidents.select(past), grid, fine, **spans)

    def density(known: npt.NDArray[np.bool_], bandwidth: float) -> Floats:
        """(cells, squares) incidents, smoothed."""
        counts = np.bincount(incidents.cell[known] * squares + square[known], minlength=grid.cells * squares)
        in_rows = counts.astype(np.float64).reshape(grid.rows, grid.cols, fine, fine).swapaxes(1, 2)
        smooth = gaussian_filter(in_rows.reshape(grid.rows * fine, -1), sigma=bandwidth, mode="reflect")
        in_cells = smooth.reshape(grid.rows, fine, grid.cols, fine).swapaxes(1, 2)
        return np.asarray(in_cells.reshape(grid.cells, squares) + _UNSEEN)

    def likelihood(bandwidth: float) -> float:
        of_learned, later = density(step < learn_until, bandwidth), past & (step >= choose_from)
        return float(np.log(of_learned[incidents.cell[later], square[later]] / of_learned.sum()).sum())

    bandwidth = max(BANDWIDTHS, key=likelihood)
    usual = np.zeros((grid.cells, len(names)))
    np.add.at(usual, (incidents.cell[past], incidents.category[past]), 1)
    shares = np.stack([fitted.of_category(category) for category in range(len(names))], axis=2).astype(np.float64)
    maps = [density(past, of)[:, :, None] for of in (BANDWIDTHS[0], bandwidth)]
    plain, kernel = (np.broadcast_to(of / of.sum(axis=1, keepdims=True), shares.shape) for of in maps)
    # Shares (cells, squares, categories), and whether what was usual takes the place of the forecast.
    even = np.full_like(shares, 1 / squares)
    models = {CELLS: (even, False), SHARES: (shares, False), STATIC: (shares, True)}
    models |= {f"{SHARES}, no guards": (plain, False), UNGUARDED: (plain, True), KERNEL: (kernel, True)}
    groups = {"": np.ones(len(names))}  # all categories together, then each
    if len(names) > 1:
        groups |= dict(zip(names, np.eye(len(names)), strict=True))
    ever, scored = np.flatnonzero(usual.any(axis=1)), np.flatnonzero(task.scored)
    position = np.full(grid.cells, -1)
    position[ever] = np.arange(len(ever))
    in_ever, usual = {model: inside[ever] for model, (inside, _) in models.items()}, usual[ever]
    figures = {
        (group, model): np.zeros((len(task.cube) - task.test, 2 + len(AREA_SHARES)))
        for group, model in product(groups, models)
    }
    first_of = np.searchsorted(step, np.arange(len(task.cube) + 1))
    for run in runs:
        for at, expected in zip(run, forecast(run)[:, scored.searchsorted(ever)], strict=True):
            came = slice(*first_of[at : at + 2])
            cell, category = incidents.cell[came], incidents.category[came]
            place = position[cell] * squares + square[came]  # below 0 in a cell that never had incidents
            for (group, model), rows in figures.items():
                (inside, is_static), weight = models[model], groups[group]
                chosen = weight[category] > 0
                share = inside[cell, square[came], category][chosen]
                score = np.einsum("kc,ksc->ks", (usual if is_static else expected) * weight, in_ever[model])
                hits = hits_at(score.ravel(), place[chosen & (place >= 0)])
                rows[at - task.test] = (chosen.sum(), -np.log(share).sum(), *hits)
    named = {f"{group}: {model}" if group else model: rows for (group, model), rows in figures.items()}
    chosen_by = {"squares_pseudo_count": pseudo_count, "kernel_bandwidth_m": bandwidth * grid.cell_m / fine}
    return {name: rows[task.is_kept[task.test :]].T for name, rows in named.items()}, chosen_by


def hits_at(score: Floats, at: npt.NDArray[np.intp]) -> Floats:
    """(AREA_SHARES,) incidents in the squares with the highest scores. score: (squares,); at: (n,) their squares."""
    area = np.array(AREA_SHARES) * len(score)
    last = np.ceil(area).astype(np.intp) - 1
    least = -np.partition(-score, last)[last]
    above, equal = (score[:, None] > least).sum(axis=0), (score[:, None] == least).sum(axis=0)
    of_each = score[at, None]
    return np.asarray((of_each > least).sum(axis=0) + (of_each == least).sum(axis=0) * (area - above) / equal)


def inside_results(
    origins: Sequence[Inside], starts: Sequence[str], *, steps_per_week: int, seed: int
) -> list[dict[str, Any]]:
    """Of all origins together, and where there are several of each, a row for each model.

    Figures are lists of the value, low and high of its 95 % interval: nats an incident, shares of the incidents. Those
    `over_cells` are against cells alone. starts: from when each origin is judged. No block of days reaches over one.
    """
    parts = [("", origins), *((start, [of]) for start, of in zip(starts, origins, strict=True) if len(origins) > 1)]
    results = []
    for start, of_part in parts:
        block = day_blocks(*(next(iter(of.values())).shape[1] for of in of_part), steps_per_week=steps_per_week)
        joined = {model: np.concatenate([of[model] for of in of_part], axis=1) for model in of_part[0]}
        for model, (came, *figures) in joined.items():
            if not came.any():
                continue
            _, *cells = joined[model.rpartition(": ")[0] + (": " if ": " in model else "") + CELLS]
            of_each, over_cells = (
                [ratio_of(of, came, block, np.random.default_rng(seed), least=-np.inf) for of in rows]
                for rows in (figures, np.subtract(figures, cells))
            )
            row = {"judged_from": start, "model": model, "incidents": int(came.sum())}
            row |= {"nats": of_each[0], "nats_over_cells": over_cells[0]}
            results.append(row | {"hits": of_each[1:], "hits_over_cells": over_cells[1:]})
    return results


def inside_texts(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The texts under HEADINGS: all models, and of each category and origin cells alone, shares, and what they add."""
    lines = []
    for row in results:
        name, is_of_category = f"{row['judged_from']} {row['model']}".strip(), ": " in row["model"]
        is_shown = row["model"].endswith((CELLS, SHARES)) if row["judged_from"] or is_of_category else True
        if not is_shown or (row["judged_from"] and is_of_category):
            continue
        lines.append((name, _text("{:.3f}", row["nats"]), *(_text("{:.1f}", of, 100) for of in row["hits"])))
        if row["model"].endswith(SHARES):
            more = (_text("{:+.1f}", of, 100) for of in row["hits_over_cells"])
            lines.append((f"{name}: more", _text("{:+.3f}", row["nats_over_cells"]), *more))
    return lines


def _text(form: str, interval: Sequence[float], times: float = 1) -> str:
    value, low, high = (form.format(times * number) for number in interval)
    return f"{value} ({low} to {high})"
