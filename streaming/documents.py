"""Documents for officials, from the artifact, the settings and the table of what is kept.

What only the agency knows is marked, and counted.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from models.artifact import Manifest, champion_of
from models.files.layouts import LAYOUTS, OWNERS_TERMS
from models.training.card import VERDICTS
from schemas import product_version
from schemas.errors import SettingsError, needs_extra
from schemas.event import ORIGINS
from schemas.files import replace_file, write_errors
from schemas.limits import OLDEST_SCORES_S
from schemas.spec import DAY_S, HOUR_S
from streaming.disk.retention import TABLE
from streaming.settings import Settings

TEMPLATES = Path(__file__).with_name("templates")
SUFFIX = ".md.j2"
_SPACES: Mapping[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
_MINUTE_S = 60
_AREA_KM2 = 1e-6  # of a square metre


@dataclass(slots=True)
class AgencysPart:
    """Marks what the agency has to write. asked: what was asked of it, in one document."""

    asked: list[str] = field(default_factory=list)

    def __call__(self, what: str) -> str:
        self.asked.append(what)
        return f"**[the agency: {what}]**"


def facts_of(manifest: Manifest, now_s: float) -> Mapping[str, Any]:
    """By the names that the templates use."""
    spec, data = manifest.spec, manifest.data
    hidden = [origin for origin in ORIGINS if origin not in spec.counted_origins]
    return {
        "region": spec.region,
        "cell_m": spec.grid.cell_m,
        "cells": spec.grid.cells,
        "area_km2": spec.grid.cells * spec.grid.cell_m**2 * _AREA_KM2,
        "categories": _words(spec.categories),
        "purpose": spec.purpose,
        "masked": spec.masked,
        "counted": _words(spec.counted_origins),
        "not_counted": _words(hidden),
        "answered_by": _words(spec.answered_by),
        "horizons": _words(spec.horizon_names),
        "late_h": spec.late_limit_s / HOUR_S,
        "stale_min": OLDEST_SCORES_S // 60,
        "incidents": data.incidents,
        "first": _date(data.first_s),
        "cutoff": _date(data.cutoff_s),
        "data_age_days": int((now_s - data.cutoff_s) // DAY_S),
        "tick": "minute" if spec.tick_s == _MINUTE_S else f"{spec.tick_s} s",
        "file": data.file_name,
        "sha256": data.sha256,
        "terms": LAYOUTS[data.layout].notice if data.layout in LAYOUTS else OWNERS_TERMS,
        "version": manifest.version,
        "network": manifest.network,
        "product": product_version(),
        "results": [(row["horizon"], VERDICTS[str(row["verdict"])], row) for row in manifest.evaluation],
        "kept": [kept for kept in TABLE if kept.ended_by != "you"],
        "made": _date(now_s),
    }


def documents_of(facts: Mapping[str, Any]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Each document: its file's name, its text in Markdown, and what it asks of the agency.

    Raises SettingsError without Jinja.
    """
    with needs_extra("evaluate"):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    environment = Environment(  # noqa: S701 - it writes Markdown, of texts that are checked
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, **_SPACES
    )
    for name in sorted(path.name for path in TEMPLATES.glob(f"*{SUFFIX}")):
        agency = AgencysPart()
        text = environment.get_template(name).render(facts, agency=agency, plain=_plain)
        yield f"{name.removesuffix(SUFFIX)}.md", text, agency.asked


def _plain(row: Mapping[str, str | float]) -> str:
    """For a reader who knows no score. row: of the manifest's evaluation."""
    if row["verdict"] == "tie":
        return "as good as that count, and no better"
    if row["verdict"] not in ("better", "worse"):
        return "not known"
    gain = abs(100 * float(row["difference"]) / float(row["baseline_log_score"]))
    return f"{row['verdict']} than that count, by {gain:.2f}% of the score that is measured"


def _words(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def _date(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def documents(
    context: typer.Context,
    region: Annotated[str, typer.Option(help="Whose documents")],
    out: Annotated[Path, typer.Option(help="Folder for them")] = Path("out/documents"),
) -> None:
    """Write a guide for the public, a datasheet, drafts of both impact assessments, and a transparency record.

    What only the agency knows is marked, and nothing claims compliance. The model card lies beside the artifact.
    """
    settings: Settings = context.obj()
    artifact = champion_of(settings.artifacts, region)
    for name, text, asked in documents_of(facts_of(artifact.manifest, time.time())):
        with write_errors(SettingsError, out / name, remedy="name another folder with --out"):
            out.mkdir(parents=True, exist_ok=True)
            replace_file(out / name, text.encode())
        typer.echo(f"{out / name}: {len(asked)} answers are left to the agency")
