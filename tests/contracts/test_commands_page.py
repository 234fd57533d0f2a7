"""docs/reference/commands.md has every command, every target of make and every exit code, and no other."""

import re
import shlex

import pytest
import typer

from schemas.errors import RiskError
from tests.contracts.test_readme import APPS, ROOT, fault_in_options

PAGE = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")


def shown_below(program):
    """What stands before the colon of each list item, below the heading that names the program."""
    sections = [text for text in PAGE.split("\n## ") if f"`{program}`" in text.partition("\n")[0]]
    heads = re.findall(r"^- ((?:`[^`]+`(?:, )?)+):", "\n".join(sections), re.MULTILINE)
    return [span for head in heads for span in re.findall(r"`([^`]+)`", head)]


def names_of(command):
    """Names of a program's commands; those of a group begin with the group's."""
    for name, one in command.commands.items():
        yield from ([f"{name} {inner}" for inner in names_of(one)] if hasattr(one, "commands") else [name])


def words_of(line):
    """`broker start|stop` as two names, `rebuild --from TIME` as one."""
    words = line.split(" --")[0].split()
    lower = [word for word in words if word.islower()]
    return [" ".join((*lower[:-1], one)) for one in lower[-1].split("|")]


@pytest.mark.parametrize("program", ["python -m streaming", "python -m models"])
def test_every_command_is_on_the_page_and_no_other(program):
    command = typer.main.get_command(APPS[program])
    shown = shown_below(program)
    assert {line: why for line in shown if (why := fault_in_options(command, program, shlex.split(line)))} == {}
    assert sorted(name for line in shown for name in words_of(line)) == sorted(names_of(command))


def test_every_target_of_make_is_on_the_page_and_no_other():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert sorted(shown_below("make")) == sorted(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def errors(base=RiskError):
    for one in base.__subclasses__():
        yield one
        yield from errors(one)


def test_every_exit_code_is_on_the_page_and_no_other():
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert codes == {0, 1, 130, *(error.exit_code for error in errors())}
