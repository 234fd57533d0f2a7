"""The folder that Grafana reads at its start."""

import json
from collections.abc import Iterable, Mapping, Sequence
from gettext import NullTranslations
from pathlib import Path

from generator.alerts import ALERTS
from generator.alerts.alert import Alert, said_in
from generator.cell import cell
from generator.helps import helps
from generator.live import live
from generator.looks import Json
from generator.model import model
from generator.pipeline import pipeline
from generator.runbook import UID as RUNBOOK
from generator.runbook import runbook
from generator.trends import trends
from schemas.languages import ENGLISH, sentences_of

PROVISIONING = Path(__file__).parents[1]
LIVE_MAP = "live-map.json"  # `cells` completes it, and writes it where Grafana looks

BUILDERS = {
    LIVE_MAP: live,
    "dashboards/dispatch/cell.json": cell,
    "dashboards/analysis/trends.json": trends,
    "dashboards/analysis/does-it-help.json": helps,
    "dashboards/analysis/model.json": model,
    "dashboards/operations/pipeline.json": pipeline,
}


def provisioning(language: str = ENGLISH) -> dict[str, bytes]:
    """Path in the folder -> content: pages and rules, made here, beside the settings in YAML.

    language: of the alerts and their runbook; the other pages are in English. Raises SettingsError.
    """
    made = json_files(sentences_of("alerts", language))
    settings = {str(path.relative_to(PROVISIONING)): path.read_bytes() for path in sorted(PROVISIONING.rglob("*.yaml"))}
    return {**settings, **{name: json.dumps(content, ensure_ascii=False).encode() for name, content in made.items()}}


def json_files(sentences: NullTranslations) -> dict[str, Json]:
    alerts = [said_in(alert, sentences) for alert in ALERTS]
    pages = {name: build() for name, build in BUILDERS.items()}
    pages["dashboards/operations/runbook.json"] = runbook(alerts, sentences)
    return {**pages, "alerting/rules.json": rules(alerts, pages.values())}


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


def rules(alerts: Sequence[Alert], pages: Iterable[Json]) -> Json:
    """What Grafana evaluates every minute."""
    numbers: Mapping[tuple[str, str], int] = {
        (page["uid"], panel["title"]): panel["id"] for page in pages for panel in page["panels"]
    }
    made = [
        alert.rule(numbers[alert.panel], f"{RUNBOOK}?viewPanel={numbers[RUNBOOK, alert.title]}") for alert in alerts
    ]
    group = {"orgId": 1, "name": "incident-risk", "folder": "Incident risk", "interval": "1m", "rules": made}
    return {"apiVersion": 1, "groups": [group]}
