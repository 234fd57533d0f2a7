"""The report of an evaluation: a file for machines, pictures, and one page that needs nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from matplotlib.figure import Figure

from models.evaluation.report.as_json import as_json
from models.evaluation.report.columns import COLUMNS, difference_text, texts
from models.evaluation.report.findings import minute
from models.evaluation.report.plots import PLOTS, Plot
from models.evaluation.report.posts import HEADINGS, MEANING, posts_sentences, posts_tables
from models.evaluation.report.wording import sentences, warnings
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
    return png_of(plot.draw(evaluation))


def png_of(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def render(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    """The page as HTML: no script, no network, its pictures inside. pictures: PNG files by the plot's name."""
    template, policy = template_of("page.html.j2")
    cube, sheets = evaluation.cube, [row.scores.sheet for row in evaluation.rows]
    figures = [texts(column, sheets) for column in COLUMNS]
    return template.render(
        policy=policy,
        evaluation=evaluation,
        judged=[minute(int(cube.starts_s[step])) for step in (evaluation.first, -1)],
        sentences=(*posts_sentences(evaluation), *sentences(evaluation), *warnings(evaluation)),
        posts=posts_tables(evaluation),
        posts_headings=HEADINGS,
        posts_meaning=MEANING,
        columns=COLUMNS,
        rows=[
            (row, cells, difference_text(row, evaluation), row.verdict)
            for row, cells in zip(evaluation.rows, zip(*figures, strict=True), strict=True)
        ],
        plots=[(plot, plot.describe(evaluation), base64.b64encode(pictures[plot.name]).decode()) for plot in PLOTS],
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
