"""Every command that README and tutorial show exists, with its arguments; every variable that it sets is a setting.

The other pages also name commands in passing, with placeholders: there the command and its options must exist.
"""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import kafka
import typer

from benchmarks.__main__ import app as benchmarks_app
from incident_risk import app
from schemas.decode import decode_messages
from streaming.artifacts_in_force import load_artifact, spec_of
from streaming.settings import environment_names
from tests.harness.toy import toy_messages

ROOT = Path(__file__).parents[2]
FIRST_EVENT = ROOT / "docs" / "tutorial" / "first-event.md"
WALKED = (ROOT / "README.md", FIRST_EVENT, ROOT / "docs" / "tutorial" / "storm.md")
APPS = {"risk": app, "python -m benchmarks": benchmarks_app}
PAGES = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "*/README.md", "docs/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
NAMING = {"README.md", "docs/reference/commands.md", "deploy/README.md", "models/README.md", "docs/explanation/load.md"}
NAMED = re.compile(
    r"(?:^|\s)((?:[A-Z][A-Z0-9_]*=\S+ )*)(?:\S*/)?(?<!--org )(" + "|".join(map(re.escape, APPS)) + r"|make)(?=\s|$)(.*)"
)
ENDS_A_COMMAND = {"&&", "||", "|", ";", "&", ">"}
USAGE_ERROR = typer.BadParameter.__base__  # the common base of all that can be wrong with arguments
FENCE = re.compile(r"^( *)```.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(?:console|bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands():
    """Commands in the console blocks of the README and the tutorial; prompts and comments removed, lines joined."""
    blocks = [block for page in WALKED for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    joined = "\n".join(blocks).replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def fault(line):
    """Why a command cannot be run as it stands; None when it can."""
    if line.startswith("export "):
        return next(filter(None, map(fault_in_variable, shlex.split(line)[1:])), None)
    if (command := command_in(line)) is None:
        return "not a command that this test knows"
    _, program, words = command
    return fault_in_name(*command) or (None if program == "make" else fault_in_arguments(APPS[program], words))


def fault_in_targets(words):
    """`words`: targets of make, and variables of the Makefile that are set."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    names = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE) + re.findall(r"^([A-Z_]+ \?=)", makefile, re.MULTILINE)
    unknown = [word for word in words if re.sub(r"^([A-Z_]+)=.*", r"\1 ?=", word) not in names]
    return f"Makefile has no target or variable {unknown}" if unknown else None


def fault_in_variable(assignment):
    name = assignment.partition("=")[0]
    names = environment_names()
    return None if name in names or name.removesuffix("_FILE") in names else f"{name} is not a setting"


def fault_in_arguments(app, words):
    command, name = typer.main.get_command(app), "app"
    while getattr(command, "commands", None):
        if not words or words[0] not in command.commands:
            return f"{name} has no command {words[:1]}"
        name, *words = words
        command = command.commands[name]
    try:
        command.make_context(name, list(words))
    except typer.Exit:  # --help
        return None
    except USAGE_ERROR as error:
        return f"{type(error).__name__}: {error}"
    return None


def code_in(text):
    """The lines of a page's fences, joined where they go on, and its inline code."""
    blocks = [block.replace("\\\n", " ") for _, block in FENCE.findall(text)]
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return lines + [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text))]


def named_commands(text):
    """Our commands that a page names, in fences of any language and in inline code: (variables, program, words)."""
    yield from filter(None, map(command_in, code_in(text)))


def command_in(line):
    """(variables, program, words) of our command in a line; None where there is none."""
    match = NAMED.search(line)
    if match is None or (match[2] == "make" and match.start(2)):
        return None
    words = shlex.split(match[3], comments=True)
    ends = [number for number, word in enumerate(words) if word in ENDS_A_COMMAND]
    return match[1].split(), match[2], words[: min(ends, default=len(words))]


def fault_in_name(variables, program, words):
    """Why nothing of that name exists; None where command and options do. Values are not looked at."""
    if said := next(filter(None, map(fault_in_variable, variables)), None):
        return said
    if program == "make":
        return fault_in_targets(words)
    return fault_in_options(typer.main.get_command(APPS[program]), program, words)


def fault_in_options(command, name, words):
    """A group's own options may stand before its command, and `start|stop` names two of its commands."""
    options = {"--help"}.union(*(parameter.opts + parameter.secondary_opts for parameter in command.params))
    for number, word in enumerate(words):
        if word.startswith("--"):
            if word.partition("=")[0] not in options:
                return f"{name} has no option {word}"
        elif getattr(command, "commands", None) and word != "...":
            for choice in word.split("|"):
                if choice not in command.commands:
                    return f"{name} has no command {choice}"
                if said := fault_in_options(command.commands[choice], f"{name} {choice}", words[number + 1 :]):
                    return said
            return None
    return None


def test_a_command_of_readme_and_tutorial_exists_and_takes_its_arguments():
    shown = commands()
    assert {"make demo", "make test", "risk run", "risk broker"} <= set(shown)
    assert {line: said for line in shown if (said := fault(line))} == {}


def test_the_check_finds_what_is_wrong():
    for line, word in {
        "make coffee": "coffee",
        "make load HOURS=3": "HOURS",
        "export RISK_SINKS=influxdb": "RISK_SINKS",
        "RISK_TOPICS=a risk run": "RISK_TOPICS",
        "risk fly": "fly",
        "risk feedback send|fly": "fly",
        "risk feedback": "feedback",
        "risk run --klock event": "klock",
        "risk replay some.csv --layout chicago --region chicago --speed fast": "number",
        "rm -rf /": "knows",
    }.items():
        assert word in fault(line)


def test_commands_and_options_that_a_page_names_exist():
    named = {page: list(named_commands((ROOT / page).read_text(encoding="utf-8"))) for page in PAGES}
    assert all(named[page] for page in NAMING)
    commands_of_pages = [(page, command) for page, names in named.items() for command in names]
    wrong = {(page, str(command)): fault_in_name(*command) for page, command in commands_of_pages}
    assert {place: said for place, said in wrong.items() if said} == {}


def test_the_event_that_the_tutorial_sends_is_counted(monkeypatch):
    """Its Python, word for word, with a stand-in for the client; decoded as the bundled region's job would."""
    (snippet,) = re.findall(r"^```python\n(.*?)^```", FIRST_EVENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    sent = []

    class Producer:
        def __init__(self, *, bootstrap_servers):
            assert bootstrap_servers == "127.0.0.1:9092"

        def send(self, topic, *, key, value):
            sent.append((topic, key, value))
            return SimpleNamespace(get=lambda timeout: None)

    monkeypatch.setattr(kafka, "KafkaProducer", Producer)
    exec(snippet, {})  # noqa: S102 - our own page
    ((topic, key, value),) = sent
    assert (topic, key.decode()) == ("incidents.v1", json.loads(value)["incident_id"])
    (folder,) = (ROOT / "streaming" / "sample" / "artifacts" / "chicago").iterdir()
    now_ms = 1_800_000_000_000
    decoded = decode_messages(toy_messages([value], now_ms), {"chicago": spec_of(str(folder))}, now_ms=now_ms)
    assert decoded.rejections == {}
    (occurred_s,) = decoded.incidents["chicago"].occurred_s
    assert occurred_s >= load_artifact(str(folder)).manifest.data.cutoff_s + 86_400  # after the day that is replayed
