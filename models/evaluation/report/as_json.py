"""An evaluation as plain values for a JSON file: every figure, nothing that only a picture needs."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from math import isfinite
from statistics import stdev
from typing import Any

from msgspec import json

from models.evaluation.report.findings import best_baseline, best_rule, n_test, percents
from models.evaluation.result import Evaluation, ModelResult, Origins
from models.measures.paired import Difference
from models.measures.sheet import Sheet
from models.measures.totals import Total, Totals

Value = dict[str, Any]
AT_SHARE = ("cells", "hit_rate", "ideal_hit_rate", "pai", "pei")


def as_json(evaluation: Evaluation) -> Value:
    """The content of evaluation.json: strict JSON, the same keys in the same order always; nan is None.

    Units are those of the dataclasses; times are UTC.
    """
    cube = evaluation.cube
    steps = len(cube) - evaluation.first
    return {
        "task": evaluation.task,
        "title": evaluation.title,
        "data": {"file_name": evaluation.data_file, "sha256": evaluation.data_sha256},
        "made_at": evaluation.made_at,
        "recipe": json.decode(json.encode(evaluation.recipe)),
        "seeds": list(evaluation.seeds),
        "blocks": {
            "steps": len(cube),
            "first_judged_step": evaluation.first,
            "judged_steps": steps,
            "judged_from": utc(int(cube.starts_s[evaluation.first])),
            "judged_until": utc(int(cube.starts_s[-1])),
            "purge_steps": evaluation.purge_steps,
            "delay_steps": evaluation.delay_steps,
        },
        "grid": {
            "rows": cube.rows,
            "cols": cube.cols,
            "cell_m": cube.cell_m,
            "scored_cells": evaluation.scored_cells,
            "judged_incidents_outside": evaluation.outside,
        },
        "categories": list(cube.categories),
        "best_baseline": evaluation.best_baseline,
        "best_rule": evaluation.best_rule,
        "rows": [_row(row, evaluation) for row in evaluation.rows],
        "origins": None if evaluation.origins is None else _origins(evaluation.origins),
        "learning": [_numbers(losses) for losses in evaluation.learning.seeds],
        "seconds": _number(evaluation.seconds),
        "peak_gib": _number(evaluation.peak_gib),
        "versions": dict(sorted(evaluation.versions.items())),
    }


def utc(at_s: int) -> str:
    """ISO 8601, to the second."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _row(row: ModelResult, evaluation: Evaluation) -> Value:
    return {
        "model": row.model,
        "kind": row.kind,
        "seeds": row.seeds,
        **_sheet(row.scores.sheet),
        "versus_best_baseline": _difference(row.versus_best_baseline, best_baseline(evaluation).scores.sheet),
        "versus_best_rule": _difference(row.versus_best_rule, best_rule(evaluation).scores.sheet),
        "versus_best_baseline_by_category": {
            name: _difference(found, best_baseline(evaluation).scores.by_category[name])
            for name, found in row.versus_by_category.items()
        },
        "spread": {
            "nb_log_score": _numbers(row.log_scores_of_seeds),
            "standard_deviation": _number(stdev(row.log_scores_of_seeds)) if row.seeds > 1 else None,
        },
        "chosen": {name: _number(value) for name, value in sorted(row.chosen.items())},
        "dispersion": dict(zip(evaluation.cube.categories, _numbers(row.dispersion), strict=True)),
        "seconds": _number(row.seconds),
        "by_category": {name: _sheet(sheet) for name, sheet in row.scores.by_category.items()},
        "totals": _totals(row.totals),
    }


def _origins(origins: Origins) -> Value:
    scores = {row.model: row.nb_log_score for row in origins.rows}

    def against(difference: Difference | None, rival: str) -> Value | None:
        return None if difference is None else _in_figures(difference, scores[rival])

    return {
        "judged_from": [utc(at_s) for at_s in origins.judged_from_s],
        "best_baseline": origins.best_baseline,
        "best_rule": origins.best_rule,
        "rows": [
            {
                "model": row.model,
                "nb_log_scores": _numbers(row.nb_log_scores),
                "nb_log_score": _number(row.nb_log_score),
                "versus_best_baseline": against(row.versus_best_baseline, origins.best_baseline),
                "versus_best_rule": against(row.versus_best_rule, origins.best_rule),
            }
            for row in origins.rows
        ],
    }


def _sheet(sheet: Sheet) -> Value:
    plain = {field.name: _number(getattr(sheet, field.name)) for field in fields(Sheet) if field.name != "ranking"}
    ranked = {name: {f"{one.area_share:g}": _number(getattr(one, name)) for one in sheet.ranking} for name in AT_SHARE}
    return {**plain, "flagged_cells": ranked.pop("cells"), **ranked}


def _difference(difference: Difference | None, rival: Sheet) -> Value | None:
    """None for the rival itself."""
    return None if difference is None else _in_figures(difference, rival.nb_log_score)


def _in_figures(difference: Difference, score: float) -> Value:
    """In nats per value, and in percent of `score`, the rival's log score."""
    percent, low, high = percents(difference, score)
    return {
        "difference": _number(difference.mean),
        "low": _number(difference.low),
        "high": _number(difference.high),
        "percent": _number(percent),
        "percent_low": _number(low),
        "percent_high": _number(high),
        "blocks": difference.blocks,
        "block_correlation": _number(difference.correlation),
        "verdict": difference.verdict,
    }


def _totals(totals: Totals) -> Value:
    return {
        "city": _total(totals.city),
        **{
            field.name: [_total(total) for total in getattr(totals, field.name)]
            for field in fields(Totals)
            if field.name != "city"
        },
    }


def _total(total: Total) -> Value:
    return {
        "name": total.name,
        "forecast": _number(total.forecast),
        "actual": total.actual,
        "ratio": _number(total.ratio),
        "n_test": _number(n_test(total)),
    }


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
