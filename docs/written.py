"""What code knows of itself, as Markdown: `make docs` puts it in place of a page's `<!-- written: NAME -->`.

`make pages` writes the files that people copy, the settings in .env.example, the schemas of the contract and the
interface of the service, and the catalogues of translations.
"""

import html
import io
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import partial
from gettext import NullTranslations
from pathlib import Path
from typing import Any

import msgspec
import typer
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from typer.cli import get_docs_for_click

from docs.measurements import ARCHIVE, MEASUREMENTS
from incident_risk import COMMANDS, app
from models.feature_lists import feature_table
from models.readiness import ASSUMES
from schemas.decode import PERSON_STEMS, PERSON_WORDS, Feedback
from schemas.errors import RiskError
from schemas.event import Event
from schemas.frame import ATTRIBUTION_GROUPS
from schemas.incidents import DeadLetter
from schemas.languages import FOLDER as LANGUAGES
from schemas.limits import MAX_EVENT_BYTES
from schemas.spec import SLUG
from service.app import document
from service.page import FOLDER as MAP_FOLDER
from service.page import LIBRARY, PAGES
from service.page import filled as page_filled
from streaming.cli.accountability import OURS, TABLE
from streaming.settings import Settings, environment_names
from streaming.watchers import Metrics

Json = dict[str, Any]

ROOT = Path(__file__).parents[1]
ENV_EXAMPLE = ROOT / ".env.example"
OPENAPI = ROOT / "docs" / "reference" / "openapi.json"
# Every time that the decoder accepts: RFC 3339, and the space and `+0500` that common libraries write. Code generators
# need `format`, but in draft 2020-12 it checks nothing, so this pattern does.
TIME_PATTERN = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])$"
)
SLUGS = ("region", "category")  # properties
ENV_HEAD_ENDS = "# What follows is written by `make pages`.\n"
CONTRACT = ROOT / "schemas"
PLACE = re.compile(r"^<!-- written: ([a-z ]+) -->$", re.MULTILINE)


def filled(page: str) -> str:
    """The page with each part in its place."""
    return PLACE.sub(lambda place: PARTS[place[1]](), page)


def commands_of(group: str) -> str:
    """A group of commands with their arguments and options, one level below the heading of a page."""
    program = typer.main.get_group(app)
    context = typer.Context(program, info_name="risk")
    texts = []
    for name in COMMANDS[group]:
        command = program.get_command(context, name)
        texts.append(get_docs_for_click(obj=command, ctx=context, indent=1, name=name, call_prefix="risk"))
    text = html.unescape("\n".join(texts)).replace(r"\[", "[")
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
    texts = {ENV_EXAMPLE: env_example(), **contract_documents(), OPENAPI: interface}
    return {**{path: text.encode() for path, text in texts.items()}, **catalogues()}


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


def archive() -> str:
    return bullets((f"`{column.names}` ({column.kind})", column.meaning) for column in ARCHIVE)


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


# The public names for Python, by heading and module. Any other name may change at any time

PUBLIC = {
    "Events and incidents": {
        "schemas.event": "Event(...)",
        "schemas.decode": "Messages Decoded decode_messages",
        "schemas.incidents": "Incidents Rejection DeadLetter(...) encode_dead_letter",
    },
    "Places, meaning and scores": {
        "schemas.grid": "Grid",
        "schemas.spec": "Spec Level differences",
        "schemas.frame": "RiskFrame riskiest",
    },
    "Sinks": {
        "streaming.sinks.sink": "Sink() WriteReport count_lines open_sink",
        "streaming.settings": "Settings()",
    },
    "Features": {
        "models.feature_lists": "Feature RecentCounts LongMemory RegionLevels declare",
        "models.features": "FeatureEngine Features feature_names",
    },
    "Networks": {"models.network": "RiskNetwork() NetworkShape", "models.network_kinds": "kind_of_network"},
    "Scores and artifacts": {
        "models.scoring": "CellScores score",
        "models.counting.count_state": "CountState Applied",
        "schemas.records": "Pointer(...)",
        "models.artifact": "Artifact read_artifact champion_of challenger_of",
    },
    "Rivals": {"models.evaluation.rival_contract": "Rival() Forecaster() Regression() Regressor() least_mean"},
    "Incident files": {"models.files.layouts": "Layout parse_layout"},
}
ERRORS = """## Errors

```{eval-rst}
.. automodule:: schemas.errors
   :show-inheritance:
   :exclude-members: errors_in_one_line
```"""


def public_names() -> str:
    """Sections of directives for Sphinx, which shows each name with its docstring.

    A signature that would say nothing is written shorter.
    """
    sections = []
    for heading, modules in PUBLIC.items():
        lines = []
        for module, names in modules.items():
            kinds = [("class" if name[0].isupper() else "function", name) for name in names.split()]
            lines += [f".. currentmodule:: {module}", *(f".. auto{kind}:: {name}" for kind, name in kinds)]
        sections.append("\n".join([f"## {heading}", "", "```{eval-rst}", *lines, "```"]))
    return "\n\n".join([*sections, ERRORS])


PARTS: dict[str, Callable[[], str]] = {
    **{f"{group} commands": partial(commands_of, group) for group in COMMANDS},
    "targets of make": targets,
    "exit codes": exit_codes,
    "settings": settings,
    "metrics": metrics,
    "features": feature_table,
    "names for python": public_names,
    "measurements": measurements,
    "archive": archive,
    "retention": retention,
    "dead letter": dead_letter,
    "personal names": personal_names,
    "alerts": alerts,
}


# The documents of the contract: JSON Schema of what is sent, and the schemas in the AsyncAPI of all topics


def contract_documents() -> dict[Path, str]:
    """Path -> text of every generated document. AsyncAPI is written by hand, except for schemas and examples."""
    names = ("new_incident", "correction_moved_and_reclassified", "cancellation")
    examples = [json.loads((CONTRACT / "examples" / "good" / f"{name}.json").read_text()) for name in names]
    asyncapi: Json = json.loads((CONTRACT / "asyncapi.json").read_text(encoding="utf-8"))
    parts = asyncapi["components"]
    parts["schemas"] = {message.__name__: object_schema(message) for message in (Event, DeadLetter, Feedback)}
    numbered = [{"name": f"example{number}", "payload": example} for number, example in enumerate(examples, start=1)]
    parts["messages"]["event"]["examples"] = numbered

    def of_one(message: type[msgspec.Struct], name: str) -> Json:
        """JSON Schema (draft 2020-12)."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:incident-risk-scorer:{name}:v1",
            "$comment": f"Generated by `make pages`. A message has at most {MAX_EVENT_BYTES} bytes of UTF-8.",
            **object_schema(message),
        }

    generated = {
        "event.schema.json": {**of_one(Event, "incidents"), "examples": examples},
        "feedback.schema.json": of_one(Feedback, "feedback"),
        "asyncapi.json": asyncapi,
    }
    return {CONTRACT / name: json.dumps(it, indent=2, ensure_ascii=False) + "\n" for name, it in generated.items()}


def object_schema(struct: type[msgspec.Struct]) -> Json:
    """JSON Schema of a struct, with the rules that its Python types cannot express."""
    _, components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    schema: Json = components[struct.__name__]
    told = schema["description"].partition("\n\n    >>> ")[0]  # an example in Python is not for every producer
    properties = {name: _property(name, it) for name, it in schema["properties"].items()}
    return {**schema, "description": told, "properties": properties}


def _property(name: str, schema: Json) -> Json:
    options = [_property(name, option) for option in schema.get("anyOf", [])]
    described = [option.pop("description") for option in options if "description" in option]
    if options:
        schema = {**schema, "anyOf": options}
    if described:
        schema["description"] = described[0]
    if schema.get("type") == "string" and name in SLUGS:
        return {**schema, "pattern": SLUG}
    if schema.get("format") == "date-time":
        return {**schema, "pattern": TIME_PATTERN}
    return schema


# The catalogues of schemas/languages: what the service's pages say, each sentence with its translation. One that is new
# gets an entry without a translation, and one that is gone loses it

Sentence = tuple[str | tuple[str, str], str | None]  # or its forms for one and for many; its context
MARKS: dict[str, tuple[int, ...] | None] = {"say": None, "sayMany": (1, 2), "written": None}  # in code


class _Asked(NullTranslations):
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: dict[Sentence, None] = {}

    def gettext(self, message: str) -> str:
        self.sentences[message, None] = None
        return message


def sentences() -> Iterator[Sentence]:
    """All that the pages say."""
    asked = _Asked()
    for page in PAGES:
        page_filled(page.read_text(encoding="utf-8"), asked, lang="", head="", title="", hidden="")
    yield from asked.sentences
    yield "Incident risk", None
    for script in sorted(set(MAP_FOLDER.glob("*.js")) - {MAP_FOLDER / LIBRARY}):
        with script.open("rb") as file:
            for _, message, _, context in extract("javascript", file, MARKS, options={"parse_template_string": True}):
                yield message, context
    yield from ((text, None) for text in (*ATTRIBUTION_GROUPS.values(), ASSUMES))


def catalogue(language: str) -> Catalog:
    """What the pages say, with the translations that the language's file has."""
    path, written = LANGUAGES / language / "map.po", _Bare(locale=language)
    before = read_po(io.BytesIO(path.read_bytes())) if path.exists() else Catalog(locale=language)
    for message, context in dict.fromkeys(sentences()):
        entry = before.get(message, context)
        written.add(message, entry.string if entry else None, context=context).flags.clear()  # guesses of formats
    return written


class _Bare(Catalog):
    """Without the dates and the program's version in its head, so that the same sentences are the same bytes."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        kind = "text/plain; charset=utf-8"
        return [("Language", str(self.locale)), ("Content-Type", kind), ("Plural-Forms", self.plural_forms)]


def catalogues() -> dict[Path, bytes]:
    """Of every language: sources, and what gettext reads."""
    written = {}
    for language in sorted(path.name for path in LANGUAGES.iterdir() if any(path.glob("*.po"))):
        for name, write in (("map.po", partial(write_po, width=120)), ("map.mo", write_mo)):
            content, of_language = io.BytesIO(), catalogue(language)
            of_language.header_comment, of_language.fuzzy = "#", False
            write(content, of_language)
            written[LANGUAGES / language / name] = content.getvalue()
    return written


# How old the runs are that a page rests on: a page whose run is older than a week says so at its head

WEEK_DAYS = 7
_DAY = r"(\d{4}-\d{2}-\d{2})"
_RUN = re.compile(rf"\b(?:[Ww]ritten|[Mm]easured|ran)\s+(?:by `[^`]+`\s+)?on\s+{_DAY}")
_OF_COMMIT = re.compile(rf"\bcommit\s+[0-9a-f]{{7,40}}\W{{1,3}}(?:of\s+)?{_DAY}")
_AND_COMMIT = re.compile(rf"{_DAY}\W{{1,3}}(?:and\W\d\d\W{{1,3}})?commits?\s+[0-9a-f]{{7}}")
_NOTE = """
```{{note}}
The oldest run that this page rests on is of {run}, {days} days before this site was built. It does not cover what
changed since.
```
"""


def run_days(text: str) -> Iterator[date]:
    """The days of the runs that a page names, as "written by `make faults` on DAY", "commit abc1234 of DAY" or
    "DAY (commit abc1234)"."""
    for form in (_RUN, _OF_COMMIT, _AND_COMMIT):
        yield from map(date.fromisoformat, form.findall(text))


def with_age(text: str, today: date) -> str:
    """The page with a note below its heading when a run that it rests on is older than a week."""
    run = min(run_days(text), default=None)
    if run is None or (today - run).days <= WEEK_DAYS:
        return text
    heading, end, rest = text.partition("\n")
    return heading + end + _NOTE.format(run=run, days=(today - run).days) + rest


if __name__ == "__main__":
    sys.path.append(str(ROOT / "grafana-provisioning"))
    for path, content in files().items():
        path.write_bytes(content)
        sys.stdout.write(f"{path.name} written\n")
