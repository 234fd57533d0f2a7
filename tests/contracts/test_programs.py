"""The program: its table of commands, what `--help` says, and that the environment's names hold in all of them."""

import re

import pytest
import typer
from typer.testing import CliRunner

from incident_risk import COMMANDS, HIDDEN, app
from schemas.errors import ArtifactError
from streaming.settings import Settings, environment_names
from tests.harness.processes import run_python

NAMES = {name for group in COMMANDS.values() for name in group}


def below(command, words):
    """Each command, with the words that call it."""
    for name, each in getattr(command, "commands", {}).items():
        yield from below(each, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


EVERY = [of for of in below(typer.main.get_command(app), ()) if of[0][0] not in HIDDEN]
MEANS = {("train", "out"): "RISK_ARTIFACTS"}  # an option of another name than its setting
# An option that has a setting's name, and why the environment is not its default.
OTHER = {("train", "master"): "training on several machines has nothing to do with where the job runs"}


def invoked(*words, **environment):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"} | environment)


def test_an_option_for_what_a_setting_says_takes_it_from_the_environment():
    named = {field: name for name, field in environment_names().items()}
    wanted, have = {}, {}
    for words, command in EVERY:
        for option in command.params:
            key = (*words, option.name)
            have[key], wanted[key] = option.envvar, MEANS.get(key) or (None if key in OTHER else named.get(option.name))
    assert have == wanted
    have = {key: name for key, name in have.items() if name}
    assert len(have) >= 8


def test_the_default_beside_the_environment_is_the_settings_own():
    for words, command in EVERY:
        for option in command.params:
            if option.envvar and words[0] != "simulate-feedback":  # which has a sample beside it
                assert option.default == Settings.model_fields[environment_names()[option.envvar]].default


@pytest.mark.parametrize(
    ("environment", "options", "looked_at"),
    [
        ({}, (), "data/artifacts"),
        ({"RISK_ARTIFACTS": ""}, (), "data/artifacts"),
        ({"RISK_ARTIFACTS": "elsewhere"}, (), "elsewhere"),
        ({"RISK_ARTIFACTS": "elsewhere"}, ("--artifacts", "here"), "here"),
    ],
)
@pytest.mark.parametrize("command", [("explain", "--cell", "r000c000"), ("posts", "--units", "3")])
def test_an_option_wins_over_the_environment(command, environment, options, looked_at, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = invoked(*command, "--region", "town", *options, **environment)
    assert isinstance(ran.exception, ArtifactError)
    assert str(ran.exception).startswith(f"{looked_at} is not a folder")


@pytest.mark.parametrize("asked", [[], ["--help"]], ids=["alone", "--help"])
def test_risk_shows_every_command_with_a_line_of_its_own_and_loads_none(asked):
    shown = invoked(*asked).output
    for group, commands in COMMANDS.items():
        assert re.search(rf"^ *{group} *$", shown, re.MULTILINE)
        for name, (does, _) in commands.items():
            assert re.search(rf"^ +{name} +{re.escape(does)} *$", shown, re.MULTILINE), name
    assert not any(re.search(rf"^ +{name} ", shown, re.MULTILINE) for name in HIDDEN)
    heavy = "{'torch', 'pyspark', 'numpy', 'kafka', 'fastapi'}"
    loaded = run_python("-c", f"import sys, incident_risk; print(sorted({heavy} & sys.modules.keys()))")
    assert loaded.stdout.strip() == "[]"


def test_an_unknown_word_names_the_nearest_command():
    for word, nearest in (("promot", "promote"), ("evalute", "evaluate"), ("dokument", "documents")):
        ran = invoked(word, "--any", "thing")
        assert ran.exit_code == 2
        assert f"No such command '{word}'." in ran.output
        assert f"'{nearest}'" in ran.output
    assert "Did you mean" not in invoked("nonsense").output


@pytest.mark.parametrize("words", [words for words, _ in EVERY], ids=" ".join)
def test_help_shows_every_word_of_every_option(words):
    (command,) = (each for of, each in EVERY if of == words)
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "400"}).output
    shown = " ".join(re.sub("[│╭╰─]", " ", shown).split())
    for option in command.params:
        assert " ".join((getattr(option, "help", "") or "").replace("[\\[", "[[").split()) in shown


def test_every_command_is_named_once():
    assert len(NAMES) == sum(map(len, COMMANDS.values())) <= 29
    assert not NAMES & HIDDEN.keys()
