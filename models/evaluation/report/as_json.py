"""An evaluation as plain values for a JSON file: every figure, nothing that only a picture needs."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from math import nan
from statistics import stdev
from typing import Any

from msgspec import json

from models.comparison import Difference
from models.evaluation.report.findings import Against
from models.evaluation.result import OUR_BASELINE, Evaluation, ModelResult, Origins, RollingResult
from models.measures import Sheet
from schemas.instants import instant_text

Value = dict[str, Any]
AT_SHARE = ("cells", "hit_rate", "ideal_hit_rate", "pai", "pei")


def as_json(evaluation: Evaluation) -> Value:
    """The content of evaluation.json: strict JSON, the same keys in the same order always; nan is None.

    Units are those of the dataclasses; times are UTC.
    """
    task, cube = evaluation.task, evaluation.task.cube
    value = {
        "task": task.name,
        "title": task.title,
        "data": {"file_name": task.data_file, "sha256": task.data_sha256},
        "also_known": task.also_known,
        "made_at": evaluation.made_at,
        "recipe": evaluation.recipe,
        "seeds": evaluation.seeds,
        "blocks": _blocks(evaluation),
        "grid": {
            "rows": cube.rows,
            "cols": cube.cols,
            "cell_m": cube.cell_m,
            "scored_cells": evaluation.scored_cells,
            "judged_incidents_outside": task.outside,
        },
        "categories": cube.categories,
        "best_baseline": evaluation.best_baseline,
        "best_rule": evaluation.best_rule,
        "rows": [_model(row, evaluation) for row in evaluation.rows],
        "origins": None if evaluation.origins is None else _origins(evaluation.origins),
        "nowcast": evaluation.nowcast
        and {name: getattr(evaluation.nowcast, name).tolist() for name in evaluation.nowcast.__slots__},
        "after_surges": [asdict(row) for row in evaluation.after_surges],
        "learning": evaluation.learning,
        "seconds": evaluation.seconds,
        "peak_gib": evaluation.peak_gib,
        "versions": dict(sorted(evaluation.versions.items())),
    }
    return json.decode(json.encode(value, enc_hook=float), type=Value)  # nan becomes None, a NumPy number a float


def _blocks(evaluation: Evaluation) -> Value:
    cube, first = evaluation.task.cube, evaluation.task.test
    return {
        "steps": len(cube),
        "first_judged_step": first,
        "judged_steps": len(cube) - first,
        "judged_from": instant_text(int(cube.starts_s[first])),
        "judged_until": instant_text(int(cube.starts_s[-1])),
        "purge_steps": evaluation.purge_steps,
        "delay_steps": evaluation.delay_steps,
    }


def _model(row: ModelResult, evaluation: Evaluation) -> Value:
    best, categories = evaluation.row(evaluation.best_baseline).scores, evaluation.task.cube.categories
    scores = {each.model: each.scores.sheet.nb_log_score for each in evaluation.rows}
    return {
        "model": row.model,
        "kind": row.kind,
        "seeds": row.seeds,
        **_sheet(row.scores.sheet),
        **_versus(row, evaluation, scores),
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


def _origins(origins: Origins) -> Value:
    scores = {row.model: row.nb_log_score for row in origins.rows}
    return {
        "judged_from": [instant_text(at_s) for at_s in origins.judged_from_s],
        "best_baseline": origins.best_baseline,
        "best_rule": origins.best_rule,
        "rows": [
            {
                "model": row.model,
                "nb_log_scores": row.nb_log_scores,
                "nb_log_score": row.nb_log_score,
                **_versus(row, origins, scores),
            }
            for row in origins.rows
        ],
    }


def _versus(row: ModelResult | RollingResult, best: Evaluation | Origins, scores: Mapping[str, float]) -> Value:
    """scores: of each model."""
    return {
        "versus_best_baseline": _difference(row.versus_best_baseline, scores[best.best_baseline]),
        "versus_best_rule": _difference(row.versus_best_rule, scores[best.best_rule]),
        "versus_own_baseline": _difference(row.versus_own_baseline, scores.get(OUR_BASELINE, nan)),
    }


def _sheet(sheet: Sheet) -> Value:
    plain = {field.name: getattr(sheet, field.name) for field in fields(Sheet) if field.name != "ranking"}
    ranked = {name: {f"{at.area_share:g}": getattr(at, name) for at in sheet.ranking} for name in AT_SHARE}
    return {**plain, "flagged_cells": ranked.pop("cells"), **ranked}


def _difference(difference: Difference | None, score: float) -> Value | None:
    """The difference in nats per value, and in percent of `score`, the rival's log score; None for the rival itself."""
    if difference is None:
        return None
    percent, low, high = Against(difference, score).percent
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
