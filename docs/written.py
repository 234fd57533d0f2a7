"""What code knows of itself, as Markdown: `make docs` puts it in place of a page's `<!-- written: NAME -->`.

`make pages` writes the files that people copy, the settings in .env.example, the schemas of the contract and the
interface of the service, and the catalogues of translations.
"""

import html
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import typer
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from typer.cli import get_docs_for_click

from docs import catalogues
from docs.contract import documents
from docs.measurements import MEASUREMENTS
from docs.public_names import public_names
from lifecycle.__main__ import app as lifecycle_app
from models.__main__ import app as models_app
from models.feature_lists import feature_table
from schemas.dead_letter import DeadLetter
from schemas.errors import RiskError
from schemas.refusal import PERSON_STEMS, PERSON_WORDS
from service.__main__ import app as service_app
from service.app import document
from streaming.__main__ import app as streaming_app
from streaming.disk.retention import OURS, TABLE
from streaming.settings import Settings, environment_names
from streaming.watch.metrics import Metrics

ROOT = Path(__file__).parents[1]
ENV_EXAMPLE = ROOT / ".env.example"
OPENAPI = ROOT / "docs" / "reference" / "openapi.json"
ENV_HEAD_ENDS = "# What follows is written by `make pages`.\n"
PLACE = re.compile(r"^<!-- written: ([a-z ]+) -->$", re.MULTILINE)


def filled(page: str) -> str:
    """The page with each part in its place."""
    return PLACE.sub(lambda place: PARTS[place[1]](), page)


def commands_of(app: typer.Typer, program: str) -> str:
    """Commands with their arguments and options, one level below the heading of a page."""
    command = typer.main.get_group(app)
    command.commands = {name: each for name, each in command.commands.items() if not each.hidden}
    text = html.unescape(get_docs_for_click(obj=command, ctx=typer.Context(command), name=program)).replace(r"\[", "[")
    text = re.sub(r"^\* `--help`: .*\n|^\*\*Options\*\*:\n+(?=\* `--help`: .*\n\n)", "", text, flags=re.MULTILINE)
    return re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)


def targets() -> str:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"^([a-z-]+):.* ## (.*)$", makefile, re.MULTILINE)
    return bullets((f"`{name}`", words) for name, words in named)


def exit_codes() -> str:
    meanings = defaultdict(list, {0: ["done"], 1: ["a fault of this program, or a check that says no"]})
    for error in errors_below(RiskError):
        meanings[error.exit_code].append(f"`{error.__name__}`: {(error.__doc__ or '').strip()}")
    meanings[130].append("interrupted")
    return bullets((str(code), " ".join(meanings[code])) for code in sorted(meanings))


def errors_below(base: type[RiskError]) -> Iterator[type[RiskError]]:
    for error in base.__subclasses__():
        yield error
        yield from errors_below(error)


def settings() -> str:
    return bullets(
        (f"`{name}`", f"{description}{f' (default `{default}`)' if default else ''}")
        for name, default, description in settings_with_defaults()
    )


def settings_with_defaults() -> Iterator[tuple[str, str, str]]:
    for name, field in environment_names().items():
        setting = Settings.model_fields[field]
        default = setting.default
        value = default.get_secret_value() if isinstance(default, SecretStr) else default
        yield name, "" if value is None else str(value), setting.description or ""


def env_example() -> str:
    """.env.example: its head is written by hand, its settings by code."""
    head = ENV_EXAMPLE.read_text(encoding="utf-8").partition(ENV_HEAD_ENDS)[0]
    lines = (f"\n# {description}\n#{name}={default}\n" for name, default, description in settings_with_defaults())
    return head + ENV_HEAD_ENDS + "".join(lines)


def files() -> dict[Path, bytes]:
    """The files that code writes, with their contents."""
    interface = json.dumps(document(), indent=1) + "\n"
    texts = {ENV_EXAMPLE: env_example(), **documents(), OPENAPI: interface}
    return {**{path: text.encode() for path, text in texts.items()}, **catalogues.files()}


def metrics() -> str:
    return bullets(figures_of(Metrics(lambda: True, lambda: None).registry))


def figures_of(registry: CollectorRegistry) -> Iterator[tuple[str, str]]:
    for collector in registry._collector_to_names:
        if hasattr(collector, "_labelnames"):
            (figure,) = collector.describe()
            labels = f"{{{','.join(collector._labelnames)}}}" if collector._labelnames else ""
            ending = {"counter": "_total", "info": "_info"}.get(figure.type, "")
            yield f"`{figure.name}{ending}{labels}`", figure.documentation


def retention() -> str:
    def end(days: int, ended_by: str) -> str:
        limit = f"{days} days" if days else f"ended by {ended_by}"
        return limit if ended_by == OURS or not days else f"{limit}, by {ended_by}"

    return bullets(
        (
            f"**{kept.what}** (`{kept.place}`)",
            f"{end(kept.days, kept.ended_by)}. Why: {kept.why}. Read by {kept.readers}.",
        )
        for kept in TABLE
    )


def measurements() -> str:
    sections = []
    for name, measurement in MEASUREMENTS.items():
        columns = bullets(
            (", ".join(f"`{column}`" for column in names.split()) + (f" ({kind})" if kind else ""), meaning)
            for names, kind, meaning in measurement.columns
        )
        sections.append(f"### InfluxDB: `{name}`\n\n{measurement.about}\n\n{columns}")
    return "\n\n".join(sections)


def dead_letter() -> str:
    _, components = msgspec.json.schema_components([DeadLetter])
    return bullets(
        (f"`{name}` ({kind_of(rules)})", rules.get("description") or rules["anyOf"][0]["description"])
        for name, rules in components["DeadLetter"]["properties"].items()
    )


def alerts() -> str:
    from generator.alerts import ALERTS, guide  # of grafana-provisioning/, which is on the path by then

    return guide(ALERTS)


def kind_of(rules: dict[str, object]) -> str:
    options = rules.get("anyOf", [rules])
    kinds = [", ".join(f"`{value}`" for value in option.get("enum", [])) or option["type"] for option in options]
    return " or ".join(kinds)


def bullets(entries: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {words}" for name, words in entries)


def personal_names() -> str:
    stems, words = (", ".join(f"`{name}`" for name in sorted(names)) for names in (PERSON_STEMS, PERSON_WORDS))
    return f"- Anywhere in the name: {stems}, `plate` (not `template`)\n- As a word of it: {words}"


PARTS: dict[str, Callable[[], str]] = {
    "commands of streaming": lambda: commands_of(streaming_app, "python -m streaming"),
    "commands of lifecycle": lambda: commands_of(lifecycle_app, "python -m lifecycle"),
    "commands of models": lambda: commands_of(models_app, "python -m models"),
    "commands of service": lambda: commands_of(service_app, "python -m service"),
    "targets of make": targets,
    "exit codes": exit_codes,
    "settings": settings,
    "metrics": metrics,
    "features": feature_table,
    "names for python": public_names,
    "measurements": measurements,
    "retention": retention,
    "dead letter": dead_letter,
    "personal names": personal_names,
    "alerts": alerts,
}


if __name__ == "__main__":
    sys.path.append(str(ROOT / "grafana-provisioning"))
    for path, content in files().items():
        path.write_bytes(content)
        sys.stdout.write(f"{path.name} written\n")
