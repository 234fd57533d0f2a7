"""Every command that the README shows exists, with the arguments it is given; every variable it sets is a setting."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from models.__main__ import app as models_app
from streaming.__main__ import app as streaming_app
from streaming.settings import environment_names

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PROGRAMS = (
    ("python -m streaming", streaming_app),
    ("python -m models", models_app),
    ("incident-scorer", streaming_app),
)
USAGE_ERROR = typer.BadParameter.__base__  # the common base of all that can be wrong with arguments
BLOCK = re.compile(r"^```(?:console|bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands():
    """Commands in the README's console blocks, prompts and comments taken off, continued lines joined."""
    if not README.exists():
        return []
    joined = "\n".join(BLOCK.findall(README.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def fault(line):
    """Why a command cannot be run as it stands; None when it can."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0]):
        if said := fault_in_variable(words.pop(0)):
            return said
    line = shlex.join(words)
    if words[:1] == ["export"]:
        return next(filter(None, map(fault_in_variable, words[1:])), None)
    if words[:1] == ["make"]:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        unknown = [word for word in words[1:] if word not in targets]
        return f"Makefile has no target {unknown}" if unknown else None
    for start, app in PROGRAMS:
        if line == start or line.startswith(start + " "):
            return fault_in_arguments(app, words[len(start.split()) :])
    return "not a command that this test knows"


def fault_in_variable(assignment):
    name = assignment.partition("=")[0]
    known = environment_names()
    return None if name in known or name.removesuffix("_FILE") in known else f"{name} is not a setting"


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


def test_the_check_itself_finds_what_is_wrong():
    assert fault("make demo test") is None
    assert fault("RISK_SINK=influxdb python -m streaming run --clock event") is None
    assert fault("incident-scorer replay some.csv --layout chicago --region chicago --speed 60") is None
    for line, word in {
        "make coffee": "coffee",
        "export RISK_SINKS=influxdb": "RISK_SINKS",
        "python -m streaming fly": "fly",
        "python -m streaming broker": "broker",
        "python -m streaming run --klock event": "klock",
        "python -m streaming replay some.csv --layout chicago --region chicago --speed fast": "number",
        "python -m models train": "data",
        "rm -rf /": "knows",
    }.items():
        assert word in fault(line)


def test_the_readme_shows_the_commands_that_a_newcomer_needs():
    shown = commands()
    for needed in ("make demo", "make test", "python -m streaming run", "python -m streaming broker start"):
        assert needed in shown
    assert any(line.startswith("python -m models train ") for line in shown)
    assert any(line.startswith("python -m streaming replay ") for line in shown)


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_readme_exists_and_takes_its_arguments(line):
    assert fault(line) is None
