"""`python -m generator FOLDER`: writes the folder that Grafana reads, with alerts in the language RISK_LANGUAGE."""

import json
import os
import sys
from gettext import NullTranslations
from pathlib import Path

from generator.alerts import ALERTS, rules, runbook, said_in
from generator.analysis import helps, trends
from generator.build import Json
from generator.dispatch import cell, live
from generator.model import model
from generator.pipeline import pipeline
from schemas.errors import errors_in_one_line
from schemas.languages import ENGLISH, sentences_of

PROVISIONING = Path(__file__).parents[1]
LIVE_MAP = "live-map.json"  # `cells` completes it, and writes it where Grafana looks

PAGES = {
    LIVE_MAP: live,
    "dashboards/dispatch/cell.json": cell,
    "dashboards/analysis/trends.json": trends,
    "dashboards/analysis/does-it-help.json": helps,
    "dashboards/analysis/model.json": model,
    "dashboards/operations/pipeline.json": pipeline,
}


def json_files(sentences: NullTranslations) -> dict[str, Json]:
    """Path in the folder -> pages and rules; the alerts and their runbook in the language of these sentences."""
    alerts = [said_in(alert, sentences) for alert in ALERTS]
    pages = {name: build() for name, build in PAGES.items()}
    pages["dashboards/operations/runbook.json"] = runbook(alerts, sentences)
    return {**pages, "alerting/rules.json": rules(alerts, pages.values())}


def provisioning(language: str = ENGLISH) -> dict[str, bytes]:
    """The same as files, beside the settings in YAML. Raises SettingsError."""
    made = json_files(sentences_of("alerts", language))
    settings = {str(path.relative_to(PROVISIONING)): path.read_bytes() for path in sorted(PROVISIONING.rglob("*.yaml"))}
    return {**settings, **{name: json.dumps(content, ensure_ascii=False).encode() for name, content in made.items()}}


def write(folder: Path, language: str = ENGLISH) -> None:
    """Write the whole folder; a page that an older version has left there goes, any other file stays."""
    files = provisioning(language)
    for old in (folder / "dashboards").rglob("*.json"):
        if str(old.relative_to(folder)) not in files:
            old.unlink()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    with errors_in_one_line():
        write(Path(sys.argv[1]), os.environ.get("RISK_LANGUAGE") or ENGLISH)  # noqa: TID251 - as the other programs' `__main__`
