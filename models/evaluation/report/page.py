"""The report of an evaluation: a file for machines, a picture, and one page that needs nothing else."""

import base64
import hashlib
import json
import re
from functools import cache
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from matplotlib.figure import Figure

from models.evaluation.report.as_json import as_json
from models.evaluation.report.columns import COLUMNS, SURGE_HEADINGS, SURGE_MEANING, difference_text, surge_texts, texts
from models.evaluation.report.drawing.reliability import CAPTION, description, reliability_diagram
from models.evaluation.report.wording import sentences, warnings
from models.evaluation.result import Evaluation
from models.local_time import minute
from schemas.errors import DataError
from schemas.files import replace_file, write_errors

PAGE, FIGURES, PICTURE = "index.html", "evaluation.json", "reliability.png"
DOTS_PER_INCH = 150
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def write_report(evaluation: Evaluation, folder: Path) -> Path:
    """Write evaluation.json, reliability.png and index.html into `folder`; gives the page's path.

    Each file is replaced in one step, older ones of the same name are lost. Raises DataError when the folder cannot
    be written.
    """
    picture = png_of(reliability_diagram(evaluation))
    content = json.dumps(as_json(evaluation), allow_nan=False, ensure_ascii=False, indent=1)
    files = {FIGURES: f"{content}\n".encode(), PICTURE: picture, PAGE: render(evaluation, picture).encode()}
    with write_errors(DataError, f"the report in {folder}", remedy="choose another --out"):
        for name, written in files.items():
            replace_file(folder / name, written)
    return folder / PAGE


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG file; equal figures give equal bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def render(evaluation: Evaluation, picture: bytes) -> str:
    """The page as HTML: no script, no network, its picture inside. picture: a PNG file."""
    template, policy = template_of("page.html.j2")
    task, sheets = evaluation.task, [row.scores.sheet for row in evaluation.rows]
    figures = [texts(column, sheets) for column in COLUMNS]
    return template.render(
        policy=policy,
        evaluation=evaluation,
        judged=[minute(int(task.cube.starts_s[step])) for step in (task.test, -1)],
        sentences=(*sentences(evaluation), *warnings(evaluation)),
        surges=surge_texts(evaluation.after_surges),
        surge_headings=SURGE_HEADINGS,
        surge_meaning=SURGE_MEANING,
        columns=COLUMNS,
        rows=[
            (row, cells, difference_text(row, evaluation), row.verdict)
            for row, cells in zip(evaluation.rows, zip(*figures, strict=True), strict=True)
        ],
        picture=base64.b64encode(picture).decode(),
        description=description(evaluation),
        caption=CAPTION,
        figures=FIGURES,
    )


@cache
def template_of(name: str) -> tuple[Template, str]:
    """A template of this folder, and the content security policy that fits its style."""
    source = Path(__file__).with_name(name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(_STYLE.findall(source)[0].encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source), policy
