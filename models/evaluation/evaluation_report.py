"""What is said of an evaluation: a table at the terminal, evaluation.json, and one page that needs nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from math import floor, isfinite, isnan, log10, nan
from operator import eq
from pathlib import Path
from statistics import stdev
from typing import Any

import matplotlib as mpl
import msgspec
import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy.stats import binomtest

from models.comparison import ADDS_NOTHING, BLOCK_DAYS, LEAST_BLOCKS, LEAST_JUDGED, Difference
from models.evaluation import inside_cells
from models.evaluation.judge import (
    AREA_SHARE,
    LEAST_SURGES,
    MOVED,
    OUR_BASELINE,
    SURGE,
    Evaluation,
    ModelResult,
    Origins,
    RollingResult,
    SurgeRow,
)
from models.local_time import minute
from models.measures import Sheet
from schemas.errors import DataError
from schemas.files import instant_text, replace_file, write_errors

# Okabe and Ito's palette, and greys
NETWORK, BASELINE = "#0072b2", "#d55e00"
INK, QUIET = "#1a1a1a", "#6b6b6b"
WIDTH = 8.0  # inches
_LOOK: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.6g} %")


def styled() -> AbstractContextManager[None]:
    return mpl.rc_context(_LOOK)


def canvas(height: float) -> Figure:
    """An empty figure, WIDTH x `height` inches. No window and no state of pyplot belongs to it."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def grid_lines(axes: Axes, axis: str = "both") -> None:
    axes.grid(visible=True, axis=axis, color="#ececec", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


_MARKS: tuple[dict[str, Any], ...] = (  # the network's lie on top and leave the baseline's to be seen
    {"color": NETWORK, "marker": "o", "markersize": 4.5, "zorder": 4},
    {"color": BASELINE, "marker": "s", "markersize": 7, "markerfacecolor": "white", "zorder": 3},
)
SMALL = 0.10  # a median probability below it asks for logarithmic axes
CAPTION = (
    "Forecasts are sorted into groups of equally many. Where 20 % was forecast, an incident should have happened in "
    "20 % of the cases: points on the dashed line are right; above it the forecast is too low. Bars are 95 % intervals "
    "as if all cases were independent, so they are too short; a point on the lower edge had no incident. Below: how "
    "many of the cases behind a point had one."
)


def description(evaluation: Evaluation) -> str:
    """What the diagram shows, for those who do not see it."""
    gaps = (100 * row.scores.sheet.ece for row in (evaluation.network, evaluation.row(evaluation.best_baseline)))
    return (
        "Reliability diagram. Mean gap between probability and frequency: network {:.2f}, best rival {:.2f} "
        "percentage points.".format(*gaps)
    )


def reliability_diagram(evaluation: Evaluation) -> Figure:
    """Forecast probability against observed frequency, and how many values with an incident are behind each point."""
    pair = evaluation.network, evaluation.row(evaluation.best_baseline)
    tables = [row.scores.reliability for row in pair]
    logarithmic = min(float(np.median(table.forecast)) for table in tables) < SMALL
    floor = min(float(table.forecast.min()) for table in tables) / 2 if logarithmic else 0.0
    top = 1.05 * max(max(float(table.forecast.max()), float(table.observed.max())) for table in tables)
    with styled():
        figure = canvas(6.6)
        main, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        main.plot((floor, top), (floor, top), color=QUIET, linestyle="--", linewidth=1, label="perfectly calibrated")
        for row, table, style in zip(pair, tables, _MARKS, strict=True):
            label = f"{row.model}: mean gap {100 * row.scores.sheet.ece:.2f} points"
            incidents = np.rint(table.observed * table.values).astype(int).tolist()
            each = zip(incidents, table.values.tolist(), strict=True)
            low, high = np.array([binomtest(hits, values).proportion_ci(0.95) for hits, values in each]).T
            shown = np.maximum(table.observed, floor)  # a frequency of zero lies on the floor of logarithmic axes
            main.errorbar(
                table.forecast,
                shown,
                yerr=np.maximum(np.stack([shown - np.maximum(low, floor), high - shown]), 0),
                linewidth=1.3,
                elinewidth=1,
                ecolor=f"{style['color']}80",
                label=label,
                clip_on=False,
                **style,
            )
            counts.plot(table.forecast, table.observed * table.values, **style)
        main.set_title("Probability of at least one incident: forecast and observed")
        main.set_ylabel("share of cells with an incident")
        counts.set_ylabel("number of them")
        counts.set_xlabel("forecast probability of at least one incident in a cell and step")
        if logarithmic:
            main.set(xscale="log", yscale="log")
            for axis in (main.xaxis, main.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 3)))
                axis.set_minor_formatter(NullFormatter())
        main.set(xlim=(floor, top), ylim=(floor, top))
        counts.set_ylim(0)
        main.xaxis.set_major_formatter(PERCENT)
        main.yaxis.set_major_formatter(PERCENT)
        main.legend(loc="upper left")
        for axes in (main, counts):
            grid_lines(axes)
    return figure


NONE = "–"  # in place of a figure that needs an incident
SPACE = "\N{NO-BREAK SPACE}"
MANY = 10  # from this value on, one digit after the point is enough
MOST_DIGITS = 7  # after the point; with more a number is no longer read


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """One figure of a sheet."""

    heading: str  # breaks at its space where it is narrow
    meaning: str
    value: Callable[[Sheet], float]
    digits: int | None = None  # after the point; None: four significant ones of the best value


LOG_SCORE = ReportColumn(
    f"NB{SPACE}log score",
    "How much the counts surprise the forecast, nats per cell, step and category; smaller is better. "
    "Rows are ordered by it.",
    lambda sheet: sheet.nb_log_score,
)
COLUMNS = (
    LOG_SCORE,
    ReportColumn(
        f"hit 10{SPACE}%",
        "Percent of the incidents in the 10 % of the cells with any history that the model puts first.",
        lambda sheet: 100 * next(at.hit_rate for at in sheet.ranking if at.area_share == 0.10),
        digits=1,
    ),
    ReportColumn(
        "f/a",
        "Forecast over actual: all expected over all observed incidents; 1 is right.",
        lambda sheet: sheet.forecast_over_actual,
        digits=3,
    ),
    ReportColumn(
        "cover 90",
        "Percent of the counts inside the 90 % interval (by the randomised PIT); 90 is right.",
        lambda sheet: 100 * sheet.coverage_90,
        digits=1,
    ),
)
OUR_LEVEL = "our level"
OUR_LEVEL_MEANING = (
    "our level: the log score of a rule with the network's total in each step and category, so that only places differ."
)
SERVED = " (served)"
SERVED_MEANING = "served: what an artifact made of this file scores as, before it follows what the last weeks showed."
SURGE_HEADINGS = (
    "model", "steps", "came", "forecast", "f/a", "region's score, %", "cells' score, %", "hits", "all: region, %",
    "all: cells, %", "moved",
)  # fmt: skip
SURGE_MEANING = (
    f"Steps that begin when the last hour had {SURGE:g} standard deviations more than is usual, over all origins; of "
    f"fewer than {LEAST_SURGES} nothing is said. Scores: against the network alone, below zero is better; in brackets "
    f"the 95 % interval. Hits: in the {AREA_SHARE:.0%} of the cells that are put first. The last three columns are of "
    f"all steps; moved: where the forecast differs by more than {MOVED:.0%}."
)


def texts(column: ReportColumn, sheets: Sequence[Sheet]) -> list[str]:
    """The column's figure of each sheet, all with the same digits."""
    values, digits = [column.value(sheet) for sheet in sheets], column.digits
    if digits is None:
        best = min((value for value in values if isfinite(value) and value > 0), default=1.0)
        digits = max(0, 3 - floor(log10(best)))
    shown = []
    for value in values:
        if not isfinite(value):
            shown.append(NONE)
        elif digits > MOST_DIGITS:
            shown.append(f"{value:.3g}")
        else:
            shown.append(f"{value:.{digits if value < MANY else 1}f}")
    return shown


def difference_text(row: ModelResult, evaluation: Evaluation) -> str:
    """Difference to the best rival and its 95 % interval, percent of the best rival's log score."""
    if row.versus_best_baseline is None:
        return "best rival"
    score = evaluation.row(evaluation.best_baseline).nb_log_score
    mean, low, high = percent_texts(row.versus_best_baseline, score)
    return f"{mean} ({low}, {high})"


def level_texts(evaluation: Evaluation) -> list[str]:
    """Under OUR_LEVEL, of each row; empty for what is no rule."""
    best = evaluation.rows[0].scores.sheet
    return [texts(LOG_SCORE, [best, row.levelled.sheet])[1] if row.levelled else "" for row in evaluation.rows]


def surge_texts(rows: Sequence[SurgeRow]) -> list[tuple[str, ...]]:
    """The texts under SURGE_HEADINGS of each model, the best score of the cells first."""
    few, lines = any(row.steps < LEAST_SURGES for row in rows), []
    for row in sorted(rows, key=lambda row: row.all_cells_percent if few else row.cells_percent):
        after = [
            f"{row.came:.1f}",
            f"{row.forecast:.1f}",
            f"{row.forecast_over_actual:.2f} ({row.low:.2f} to {row.high:.2f})",
            f"{row.region_percent:+.1f}",
            f"{row.cells_percent:+.2f} ({row.cells_low:+.2f} to {row.cells_high:+.2f})",
            f"{row.hits:.1%}",
        ]
        of_all = f"{row.all_region_percent:+.2f}", f"{row.all_cells_percent:+.3f}", f"{row.moved:.1%}"
        lines.append((row.model, str(row.steps), *([NONE] * len(after) if few else after), *of_all))
    return lines


def percents(difference: Difference, score: float) -> tuple[float, float, float]:
    """Mean, low and high of the 95 % interval, in percent of the rival's NB log score; below zero is better."""
    return 100 * difference.mean / score, 100 * difference.low / score, 100 * difference.high / score


def percent_texts(difference: Difference, score: float) -> tuple[str, str, str]:
    """What `percents` gives, in words: signed, with digits that fit the size."""
    shares = percents(difference, score)
    largest = max(map(abs, shares))
    digits = 0 if largest >= 100 else 1 if largest >= 10 else 2 if largest >= 0.1 else 3
    mean, low, high = (f"{share:+.{digits}f}" for share in shares)
    return mean, low, high


RATIO_BOUNDS = (0.95, 1.05)  # forecast over actual of a calibrated network
COVERAGE_BOUNDS = (0.88, 0.92)  # of its 90 % interval
LEAST_SEEDS = 5
_OWN = ("its own baseline", "use the baseline, which counts alone", "the baseline, which counts alone, is as good")
CATEGORY_BOUNDS, ENOUGH = (0.9, 1.1), 400  # forecast over actual of a category, where chance makes 5 %


def sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """What was found: what the network adds to its own baseline; the best rule and the best rival beside it.

    Over several origins the advice follows all of them, and the last block of time alone gives none.
    """
    origins = evaluation.origins
    if origins is None:
        return last_sentences(evaluation)
    rows = {row.model: row for row in origins.rows}
    network = rows[evaluation.network.model]
    times = ", ".join(minute(at_s) for at_s in origins.judged_from_s)
    rule, best, over_all = origins.best_rule, origins.best_baseline, f"over all {len(origins.judged_from_s)} origins"
    lines = [f"Judged on blocks of time that start at {times} (UTC); all models were fitted again for each:"]
    for versus, rival, words, when_worse, otherwise in (
        (network.versus_own_baseline, OUR_BASELINE, *_OWN),
        (network.versus_best_rule, rule, rule, f"use {rule}", "use it, it is simpler"),
        (network.versus_best_baseline, best, best, f"use {best}", f"{best} is as good"),
    ):
        if versus is not None:
            score = rows[rival].nb_log_score
            lines.append(_sentence(versus, score, f"{words} {over_all}", when_worse, otherwise))
        if rival == rule:
            lines += _apart(rows[rule])
    of_baseline = rows[OUR_BASELINE].nb_log_scores if OUR_BASELINE in rows else ()
    equal = sum(map(eq, network.nb_log_scores, of_baseline))
    if 0 < equal < len(of_baseline):
        lines.append(f"{ADDS_NOTHING}: so at {equal} of the {len(of_baseline)} origins.")
    return (*dict.fromkeys(lines), "On the last block of time alone:", *last_sentences(evaluation))


def last_sentences(evaluation: Evaluation) -> tuple[str, ...]:
    """The network on the last block of time: against all that it was compared with, its baseline first."""
    network, rule, best = evaluation.network, evaluation.best_rule, evaluation.best_baseline

    def against(rival: str, versus: Difference | None, words: str, *advice: str) -> list[str]:
        if versus is None:
            return []
        shown = advice if evaluation.origins is None else ("", "")
        return [_sentence(versus, evaluation.row(rival).nb_log_score, words, *shown)]

    lines = against(OUR_BASELINE, network.versus_own_baseline, *_OWN)
    if rule != best:
        rules = sum(row.kind == "rule" for row in evaluation.rows)
        counting = f"the best of {rules} simple rules that only count ({rule})"
        lines += against(rule, network.versus_best_rule, counting, f"use {rule}", f"use {rule}, it is simpler")
    instead = f"no gain over {best}, which uses the same features, was shown"
    if evaluation.row(best).kind == "rule":
        instead = f"use {best}, it is simpler"
    lines += against(best, network.versus_best_baseline, f"the best rival ({best})", f"use {best}", instead)
    lines += _apart(evaluation.row(rule))
    if network.seeds < LEAST_SEEDS:
        needs = f"It rests on {network.seeds} of the {LEAST_SEEDS} seeds that it needs: give --seeds {LEAST_SEEDS}."
        lines[-1] = f"{lines[-1]} {needs}"
    return tuple(dict.fromkeys(lines))


def _apart(rule: ModelResult | RollingResult) -> list[str]:
    """How much of the difference to a rule is the place, and how much the level."""
    if not (rule.place and rule.levelled_score):
        return []
    mean, low, high = percent_texts(rule.place, rule.levelled_score)
    by_level = 100 * (rule.levelled_score / rule.nb_log_score - 1)
    return [
        f"Apart, against {rule.model}: by place alone, with the network's totals in it, {mean} % ({low}, {high}): "
        f"{rule.place.verdict}; by level alone, how many in all, {by_level:+.2f} %."
    ]


def _sentence(difference: Difference, score: float, rival: str, when_worse: str, otherwise: str) -> str:
    """score: the rival's. when_worse, otherwise: the advice; empty where there is none to give."""
    if difference.is_none:
        return f"{ADDS_NOTHING}."
    mean, low, high = percent_texts(difference, score)
    size = mean.lstrip("+-")
    so_worse, so = (f": {advice}" if advice else "" for advice in (when_worse, otherwise))
    until = f" Until then {otherwise}." if otherwise else ""
    match difference.verdict:
        case "better":
            return (
                f"The network is better than {rival} by {size} % of its log score, 95 % interval "
                f"{high.lstrip('-')} % to {low.lstrip('-')} %."
            )
        case "worse":
            return (
                f"The network is worse than {rival} by {size} % of its log score, 95 % interval "
                f"{low.lstrip('+')} % to {high.lstrip('+')} %{so_worse}."
            )
        case "tie":
            return (
                f"A tie: the network's log score differs from that of {rival} by {mean} %, and the "
                f"95 % interval, {low} % to {high} %, contains zero{so}."
            )
        case "too few":
            return (
                f"Not known against {rival}: fewer than {LEAST_JUDGED} incidents happened in the judged time, and a "
                f"verdict needs as many: give a longer file.{until}"
            )
        case _:
            return (
                f"Not known against {rival}: the judged time has {difference.blocks} blocks of {BLOCK_DAYS} "
                f"days, and a verdict needs {LEAST_BLOCKS}: give a file whose judged part has at least "
                f"{LEAST_BLOCKS * BLOCK_DAYS} days.{until}"
            )


def warnings(evaluation: Evaluation) -> tuple[str, ...]:
    """Where the network's totals or intervals are wrong; empty when they are right."""
    sheet, broken = evaluation.network.scores.sheet, []
    if isnan(sheet.forecast_over_actual):
        broken.append("No incident happened in the judged time, so totals cannot be judged.")
    elif not RATIO_BOUNDS[0] <= sheet.forecast_over_actual <= RATIO_BOUNDS[1]:
        broken.append(
            f"The network expects too {'many' if sheet.forecast_over_actual > 1 else 'few'} incidents: forecast over "
            f"actual is {sheet.forecast_over_actual:.3f}, outside {RATIO_BOUNDS[0]} to {RATIO_BOUNDS[1]}."
        )
    for name, part in evaluation.network.scores.by_category.items():
        actual = sum(total.actual for total in evaluation.network.totals.by_category if total.name == name)
        if actual >= ENOUGH and not CATEGORY_BOUNDS[0] <= part.forecast_over_actual <= CATEGORY_BOUNDS[1]:
            broken.append(
                f"Of {name} it expects too {'many' if part.forecast_over_actual > 1 else 'few'}: forecast over actual "
                f"is {part.forecast_over_actual:.3f}, outside {CATEGORY_BOUNDS[0]} to {CATEGORY_BOUNDS[1]}."
            )
    if not COVERAGE_BOUNDS[0] <= sheet.coverage_90 <= COVERAGE_BOUNDS[1]:
        broken.append(
            f"The network's intervals are too {'wide' if sheet.coverage_90 > COVERAGE_BOUNDS[1] else 'narrow'}: those "
            f"of 90 % contain {100 * sheet.coverage_90:.1f} % of the counts, outside {100 * COVERAGE_BOUNDS[0]:.0f} % "
            f"to {100 * COVERAGE_BOUNDS[1]:.0f} %."
        )
    return tuple(broken)


Value = dict[str, Any]
AT_SHARE = ("cells", "hit_rate", "ideal_hit_rate", "pai", "pei")


def as_json(evaluation: Evaluation) -> Value:
    """The content of evaluation.json: strict JSON, the same keys in the same order always; nan is None.

    Units are those of the dataclasses; times are UTC.
    """
    task, cube, origins = evaluation.task, evaluation.task.cube, None
    if evaluation.origins:
        origins = {
            "judged_from": [instant_text(at_s) for at_s in evaluation.origins.judged_from_s],
            "best_baseline": evaluation.origins.best_baseline,
            "best_rule": evaluation.origins.best_rule,
            "rows": [
                {
                    "model": row.model,
                    "nb_log_scores": row.nb_log_scores,
                    "nb_log_score": row.nb_log_score,
                    **_versus(row, evaluation.origins),
                }
                for row in evaluation.origins.rows
            ],
        }
    value = {
        "task": task.name,
        "title": task.title,
        "data": {"file_name": task.data_file, "sha256": task.data_sha256},
        "also_known": task.also_known,
        "made_at": evaluation.made_at,
        "recipe": evaluation.recipe,
        "seeds": evaluation.seeds,
        "blocks": {
            "steps": len(cube),
            "first_judged_step": task.test,
            "judged_steps": len(cube) - task.test,
            "judged_from": instant_text(int(cube.starts_s[task.test])),
            "judged_until": instant_text(int(cube.starts_s[-1])),
            "purge_steps": evaluation.purge_steps,
            "delay_steps": evaluation.delay_steps,
        },
        "grid": {
            "rows": cube.rows,
            "cols": cube.cols,
            "cell_m": cube.cell_m,
            "scored_cells": int(task.scored.sum()),
            "judged_incidents_outside": task.outside,
        },
        "categories": cube.categories,
        "best_baseline": evaluation.best_baseline,
        "best_rule": evaluation.best_rule,
        "rows": [_model(row, evaluation) for row in evaluation.rows],
        "origins": origins,
        "nowcast": evaluation.nowcast
        and {name: getattr(evaluation.nowcast, name).tolist() for name in evaluation.nowcast.__slots__},
        "after_surges": [asdict(row) for row in evaluation.after_surges],
        "learning": evaluation.learning,
        "seconds": evaluation.seconds,
        "peak_gib": evaluation.peak_gib,
        "versions": dict(sorted(evaluation.versions.items())),
    }
    if evaluation.inside:
        value["inside_cells"] = results_inside(evaluation)
    # nan becomes None, a NumPy number a float
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=float), type=Value)


def results_inside(evaluation: Evaluation) -> list[Value]:
    starts = [instant_text(at_s) for at_s in evaluation.origins.judged_from_s] if evaluation.origins else [""]
    drawn = {"steps_per_week": evaluation.task.cube.steps_per_week, "seed": evaluation.seeds[0]}
    return inside_cells.inside_results(evaluation.inside, starts, **drawn)


def more_tables(evaluation: Evaluation) -> list[tuple[str, str, Sequence[str], list[tuple[str, ...]]]]:
    """Title, meaning, headings and rows of each table after the first."""
    tables: list[tuple[str, str, Sequence[str], list[tuple[str, ...]]]] = []
    if evaluation.after_surges:
        tables.append(("After a surge", SURGE_MEANING, SURGE_HEADINGS, surge_texts(evaluation.after_surges)))
    if evaluation.inside:
        rows = inside_cells.inside_texts(results_inside(evaluation))
        tables.append(("Where inside the cell", inside_cells.MEANING, inside_cells.HEADINGS, rows))
    return tables


def _model(row: ModelResult, evaluation: Evaluation) -> Value:
    best, categories = evaluation.row(evaluation.best_baseline).scores, evaluation.task.cube.categories
    return {
        "model": row.model,
        "kind": row.kind,
        "seeds": row.seeds,
        **_sheet(row.scores.sheet),
        **_versus(row, evaluation),
        "versus_best_baseline_by_category": {
            name: _difference(compared, best.by_category[name].nb_log_score)
            for name, compared in row.versus_by_category.items()
        },
        "spread": {
            "nb_log_score": row.log_scores_of_seeds,
            "standard_deviation": stdev(row.log_scores_of_seeds) if row.seeds > 1 else None,
        },
        "chosen": dict(sorted(row.chosen.items())),
        "dispersion": dict(zip(categories, row.dispersion.r.tolist(), strict=True)),
        "dispersion_power": dict(zip(categories, row.dispersion.power.tolist(), strict=True)),
        "seconds": row.seconds,
        "by_category": {name: _sheet(sheet) for name, sheet in row.scores.by_category.items()},
        "totals": asdict(row.totals),
    }


def _versus(row: ModelResult | RollingResult, best: Evaluation | Origins) -> Value:
    scores = {each.model: each.nb_log_score for each in best.rows}
    return {
        "versus_best_baseline": _difference(row.versus_best_baseline, scores[best.best_baseline]),
        "versus_best_rule": _difference(row.versus_best_rule, scores[best.best_rule]),
        "versus_own_baseline": _difference(row.versus_own_baseline, scores.get(OUR_BASELINE, nan)),
        "nb_log_score_with_our_level": row.levelled_score,
        "network_by_place": _difference(row.place, row.levelled_score or nan),
    }


def _sheet(sheet: Sheet) -> Value:
    plain = {field.name: getattr(sheet, field.name) for field in fields(Sheet) if field.name != "ranking"}
    ranked = {name: {f"{at.area_share:g}": getattr(at, name) for at in sheet.ranking} for name in AT_SHARE}
    return {**plain, "flagged_cells": ranked.pop("cells"), **ranked}


def _difference(difference: Difference | None, score: float) -> Value | None:
    """The difference in nats per value, and in percent of `score`, the rival's log score; None for the rival itself."""
    if difference is None:
        return None
    percent, low, high = percents(difference, score)
    return {
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "percent": percent,
        "percent_low": low,
        "percent_high": high,
        "blocks": difference.blocks,
        "block_correlation": difference.correlation,
        "verdict": difference.verdict,
    }


_COLOURS = {"better": "green", "worse": "red"}
_UNITS = (
    "Log score in nats, hits and cover in percent, f/a: forecast over actual. Difference: log score against the best "
    f"rival in percent of its own, 95 % interval; below zero is better. {OUR_LEVEL_MEANING} {SERVED_MEANING}"
)


def print_table(evaluation: Evaluation, console: Console) -> None:
    """Print the table, best model first, the findings in words, and warnings.

    Where it is narrow, the names of models are broken, never a figure.
    """
    table, sheets = Table(box=None, padding=(0, 0, 0, 1), pad_edge=False), [row.scores.sheet for row in evaluation.rows]
    table.add_column("model")
    for heading in [*(column.heading for column in COLUMNS), OUR_LEVEL, "difference, %"]:
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    columns = [*(texts(column, sheets) for column in COLUMNS), level_texts(evaluation)]
    for row, *figures in zip(evaluation.rows, *columns, strict=True):
        is_served = row.model == evaluation.served
        table.add_row(
            Text(f"{row.model}{SERVED}" if is_served else row.model),
            *map(Text, figures),
            Text(difference_text(row, evaluation)),
            Text(row.verdict, style=_COLOURS.get(row.verdict, "")),
            style="bold" if is_served else "",
        )
    console.print(Text(evaluation.task.title, style="bold"))
    console.print(table)
    console.print(Text(_UNITS, style="dim"))
    console.print()
    for sentence in sentences(evaluation):
        console.print(Text(sentence, style="bold"))
    for title, meaning, headings, rows in more_tables(evaluation):
        shown = Table(title=title, title_justify="left", box=None, padding=(0, 0, 0, 1), pad_edge=False)
        for name in headings:
            shown.add_column(name.replace(" ", "\n"), justify="left" if name == "model" else "right", no_wrap=True)
        for line in rows:
            shown.add_row(*map(Text, line))
        console.print(shown)
        console.print(Text(meaning, style="dim"))
    for warning in warnings(evaluation):
        console.print(Text(f"Warning: {warning}", style="yellow"))


PAGE, FIGURES, PICTURE = "index.html", "evaluation.json", "reliability.png"
DOTS_PER_INCH = 150
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write evaluation.json, reliability.png and index.html into `folder`; gives the page's path.

    Each file is replaced in one step, older ones of the same name are lost. Equal evaluations give equal bytes. Raises
    DataError when the folder cannot be written.
    """
    picture = BytesIO()
    reliability_diagram(evaluation).savefig(picture, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    content = json.dumps(as_json(evaluation), allow_nan=False, ensure_ascii=False, indent=1)
    page = render(evaluation, picture.getvalue())
    with write_errors(DataError, f"the report in {folder}", remedy="choose another --out"):
        for name, written in ((FIGURES, f"{content}\n".encode()), (PICTURE, picture.getvalue()), (PAGE, page.encode())):
            replace_file(folder / name, written)
    return folder / PAGE


def render(evaluation: Evaluation, picture: bytes) -> str:
    """The page as HTML: no script, no network, its picture inside. picture: a PNG file."""
    source = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    style = base64.b64encode(hashlib.sha256(_STYLE.findall(source)[0].encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    task, sheets = evaluation.task, [row.scores.sheet for row in evaluation.rows]
    figures = zip(*(texts(column, sheets) for column in COLUMNS), level_texts(evaluation), strict=True)
    return environment.from_string(source).render(
        policy=policy,
        evaluation=evaluation,
        judged=[minute(int(task.cube.starts_s[step])) for step in (task.test, -1)],
        sentences=(*sentences(evaluation), *warnings(evaluation)),
        tables=more_tables(evaluation),
        headings=[*(column.heading for column in COLUMNS), OUR_LEVEL],
        meanings=[*(f"{column.heading}: {column.meaning}" for column in COLUMNS), OUR_LEVEL_MEANING, SERVED_MEANING],
        served=SERVED,
        rows=[
            (row, cells, difference_text(row, evaluation), row.verdict)
            for row, cells in zip(evaluation.rows, figures, strict=True)
        ],
        picture=base64.b64encode(picture).decode(),
        description=description(evaluation),
        caption=CAPTION,
        figures=FIGURES,
    )
