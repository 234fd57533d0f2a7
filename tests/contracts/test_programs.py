"""The four programs: their commands, what `--help` says, and that the environment's names hold in all of them."""

import re

import pytest
import typer
from typer.testing import CliRunner

import lifecycle.__main__
import models.__main__
import service.__main__
import streaming.__main__
from models.cli.program import COMMANDS
from schemas.errors import ArtifactError
from streaming.settings import Settings, environment_names

PROGRAMS = {
    "streaming": streaming.__main__.app,
    "lifecycle": lifecycle.__main__.app,
    "models": models.__main__.app,
    "service": service.__main__.app,
}


def below(command, words):
    """Each command, with the words that call it."""
    for name, each in getattr(command, "commands", {}).items():
        yield from below(each, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


EVERY = [each for name, app in PROGRAMS.items() for each in below(typer.main.get_command(app), (name,))]
# An option of another name than its setting.
MEANS = {
    ("models", "train", "out"): "RISK_ARTIFACTS",
    ("models", "cold-start", "out"): "RISK_ARTIFACTS",
}
# An option that has a setting's name, and why the environment is not its default.
OTHER = {
    ("models", "evaluate", "artifacts"): "it asks for figures to be left there",
    ("models", "train", "master"): "training on several machines has nothing to do with where the job runs",
}


def test_an_option_for_what_a_setting_says_takes_it_from_the_environment():
    named = {field: name for name, field in environment_names().items()}
    wanted, have = {}, {}
    for words, command in EVERY:
        for option in command.params:
            key = (*words, option.name)
            have[key], wanted[key] = option.envvar, MEANS.get(key) or (None if key in OTHER else named.get(option.name))
    assert have == wanted
    have = {key: name for key, name in have.items() if name}
    assert len(have) >= 9


def test_the_default_beside_the_environment_is_the_settings_own():
    for words, command in EVERY:
        for option in command.params:
            if option.envvar and words[1] != "simulate-feedback":  # which has a sample beside it
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
    ran = CliRunner().invoke(models.__main__.app, [*command, "--region", "town", *options], env=environment)
    assert isinstance(ran.exception, ArtifactError)
    assert str(ran.exception).startswith(f"{looked_at} is not a folder")


def test_the_table_of_commands_is_what_the_programs_have():
    for name, app in PROGRAMS.items():
        have = {word for word, each in typer.main.get_group(app).commands.items() if not each.hidden}
        assert have == set(COMMANDS[name].split())


@pytest.mark.parametrize("asked", PROGRAMS)
def test_a_program_says_which_other_has_a_command(asked):
    of_others = [(name, word) for name, words in COMMANDS.items() if name != asked for word in words.split()]
    for program, command in of_others:
        ran = CliRunner().invoke(PROGRAMS[asked], [command, "--any", "thing"], env={"COLUMNS": "200"})
        assert ran.exit_code == 2
        assert f"`python -m {program} {command}`" in ran.output
    ran = CliRunner().invoke(PROGRAMS[asked], ["nonsense"], env={"COLUMNS": "200"})
    assert "No such command 'nonsense'." in ran.output


@pytest.mark.parametrize("words", [words for words, _ in EVERY], ids=" ".join)
def test_help_shows_every_word_of_every_option(words):
    (command,) = (each for of, each in EVERY if of == words)
    shown = CliRunner().invoke(PROGRAMS[words[0]], [*words[1:], "--help"], env={"COLUMNS": "400"}).output
    shown = " ".join(re.sub("[│╭╰─]", " ", shown).split())
    for option in command.params:
        assert " ".join((getattr(option, "help", "") or "").replace("[\\[", "[[").split()) in shown
