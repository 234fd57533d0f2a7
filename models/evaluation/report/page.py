"""The report of an evaluation: a file for machines, pictures, and one page that needs nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from models.evaluation.report.as_json import Value, as_json
from models.evaluation.report.columns import MAIN, MORE, ReportColumn, against_text, texts, verdict_text
from models.evaluation.report.findings import best_baseline, minute
from models.evaluation.report.plots import PLOTS, Plot
from models.evaluation.report.provenance import facts, how_made
from models.evaluation.report.wording import answers, origins_sentences
from models.evaluation.result import Evaluation
from schemas.errors import DataError

PAGE, FIGURES = "index.html", "evaluation.json"
DOTS_PER_INCH = 150
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write evaluation.json, a PNG for each plot and index.html into `folder`; gives the page's path.

    Each file is replaced in one step, older ones of the same name are lost. Raises DataError when the folder cannot
    be written.
    """
    pictures = {plot.name: png(plot, evaluation) for plot in PLOTS}
    content = json.dumps(as_json(evaluation), allow_nan=False, ensure_ascii=False, indent=1)
    files = {
        FIGURES: f"{content}\n".encode(),
        **{f"{name}.png": picture for name, picture in pictures.items()},
        PAGE: render(evaluation, pictures).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, written in files.items():
            temporary = folder / f".{name}.new"
            temporary.write_bytes(written)
            temporary.replace(folder / name)
    except OSError as error:
        raise DataError(
            f"the report cannot be written to {folder} ({error.strerror})", "choose another --out"
        ) from error
    return folder / PAGE


def png(plot: Plot, evaluation: Evaluation) -> bytes:
    """The figure as a PNG file; equal evaluations give equal bytes."""
    buffer = BytesIO()
    plot.draw(evaluation).savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def render(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    """The page as HTML: no script, no network, its pictures inside. pictures: PNG files by the plot's name."""
    template, policy = _template()
    every, categories = (*MAIN, *MORE), evaluation.cube.categories
    return template.render(
        policy=policy,
        evaluation=evaluation,
        answers=answers(evaluation),
        columns=MAIN,
        rows=_rows(evaluation, MAIN),
        plots=[
            {
                "alt": plot.describe(evaluation),
                "caption": plot.caption,
                "data": base64.b64encode(pictures[plot.name]).decode(),
            }
            for plot in PLOTS
        ],
        how_made=how_made(evaluation),
        facts=[facts(row, evaluation) for row in evaluation.rows],
        all_columns=every,
        groups={
            "all categories": _rows(evaluation, every),
            **{name: _rows(evaluation, every, name) for name in categories if len(categories) > 1},
        },
        origins=_at_origins(evaluation),
        figures=FIGURES,
    )


def _at_origins(evaluation: Evaluation) -> Value | None:
    """The table of several origins: headings and rows."""
    origins = evaluation.origins
    if origins is None:
        return None
    scores = {row.model: row.nb_log_score for row in origins.rows}
    kinds = {row.model: row.kind for row in evaluation.rows}
    return {
        "from": [minute(at_s) for at_s in origins.judged_from_s],
        "sentences": origins_sentences(evaluation),
        "rows": [
            {
                "model": row.model,
                "kind": kinds[row.model],
                "texts": [f"{score:.5f}" for score in (*row.nb_log_scores, row.nb_log_score)],
                "difference": against_text(row.versus_best_baseline, scores[origins.best_baseline]),
                "verdict": verdict_text(row.versus_best_baseline),
                "difference_rule": against_text(row.versus_best_rule, scores[origins.best_rule], "best rule"),
                "verdict_rule": verdict_text(row.versus_best_rule),
            }
            for row in origins.rows
        ],
    }


def _rows(evaluation: Evaluation, columns: Sequence[ReportColumn], category: str | None = None) -> list[Value]:
    """Name, kind, figures and difference to the best rival of each model, over all categories or in one."""
    rows, best = evaluation.rows, best_baseline(evaluation).scores
    sheets = [row.scores.by_category[category] if category else row.scores.sheet for row in rows]
    found = [row.versus_by_category.get(category) if category else row.versus_best_baseline for row in rows]
    score = (best.by_category[category] if category else best.sheet).nb_log_score
    figures = zip(*(texts(column, sheets) for column in columns), strict=True)
    return [
        {
            "model": row.model,
            "kind": row.kind,
            "texts": cells,
            "difference": against_text(difference, score),
            "verdict": verdict_text(difference),
        }
        for row, cells, difference in zip(rows, figures, found, strict=True)
    ]


@cache
def _template() -> tuple[Template, str]:
    """The template, and the content security policy that fits its style."""
    source = Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(_STYLE.findall(source)[0].encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["together"] = lambda words: words.replace(" %", "\N{NO-BREAK SPACE}%")
    return environment.from_string(source), policy
