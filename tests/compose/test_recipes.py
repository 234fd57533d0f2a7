"""What the pages tell an operator to type and write: the commands name what there is. `make stack` runs the recipes."""

import re
import shlex
import subprocess
import sys

import pytest
import typer
import yaml

from incident_risk import app
from schemas.incidents import Rejection, encode_dead_letter
from tests.contracts.test_readme import FENCE, code_in, fault_in_name
from tests.harness import processes
from tests.harness.compose_file import ROOT, SERVICES, read_compose, tool

PAGES = (
    "README.md",
    "docs/how-to/operations.md",
    "docs/how-to/secrets.md",
    "deploy/README.md",
    "docs/how-to/containers.md",
    "deploy/demo.env",
)
TAKE_A_VALUE = {"--env", "--entrypoint", "--volume", "--since", "--env-file"}
OF_A_SERVICE = {"run", "exec", "logs", "start", "stop", "restart", "up"}
EVERY_SERVICE = {*SERVICES, *read_compose("deploy/registry.yaml")["services"]}
VERBS = OF_A_SERVICE | {"build", "config", "create", "down", "ps"}


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def compose_commands(text):
    """The words after each `docker compose` in fences, inline code and comments of a page."""
    for line in [*code_in(text), *re.findall(r"^# .*?(docker compose .*)$", text, re.MULTILINE)]:
        if found := re.search(r"\bdocker compose (.+)", line):
            yield shlex.split(re.split(r" (?:\||&&|<|>) ", found[1])[0].rstrip(" .;,)"), comments=True)


def fault(words):
    """Why a command after `docker compose` cannot be meant; None when it can."""
    options, rest = [], list(words)

    def take_options():
        while rest and rest[0].startswith("-"):
            options.append(rest.pop(0))
            if options[-1] in TAKE_A_VALUE:
                options.append(rest.pop(0))

    take_options()
    if "-f" in options:
        return "every later command would need -f as well: name the files in .env"
    if "--env-file" in options and not (ROOT / options[options.index("--env-file") + 1]).is_file():
        return "no such --env-file"
    verb = rest.pop(0) if rest else ""
    take_options()
    if verb not in VERBS:
        return f"no command {verb!r}"
    if rest and verb in OF_A_SERVICE and rest[0] not in EVERY_SERVICE:
        return f"no service {rest[0]}"
    if verb == "run" and rest[0] in ("scorer", "watch", "registry", "serve"):
        return fault_in_name([], "risk", rest[1:])
    return None


@pytest.mark.parametrize("name", PAGES)
def test_a_page_tells_compose_what_it_knows(name):
    found = list(compose_commands(page(name)))
    assert found
    assert {" ".join(words): said for words in found if (said := fault(words))} == {}


def test_the_image_that_is_kept_for_going_back_is_the_scorers():
    tagged = re.findall(r"docker tag ([^\s`]+) ([^\s`]+)", page("docs/how-to/operations.md"))
    image, kept = SERVICES["scorer"]["image"], "incident-risk-scorer:before"
    assert tagged == [(image, kept), (kept, image)]


def recipe(word):
    """The fenced block of docs/how-to/operations.md that holds `word`."""
    (block,) = (block for _, block in FENCE.findall(page("docs/how-to/operations.md")) if word in block)
    return block


def test_a_back_up_is_in_no_commit():
    git = tool("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    ran = processes.run(git, "check-ignore", "backup/secrets", cwd=ROOT)
    assert ran.stdout == "backup/secrets\n"


def test_dead_letters_are_shown_with_their_payload_and_nothing_that_a_terminal_obeys():
    (program,) = re.findall(r"python3 -c '\n(.*?)'$", recipe("kafka-console-consumer"), re.MULTILINE | re.DOTALL)
    letters = [
        encode_dead_letter(
            Rejection(reason, "why", 0, offset, 1_800_000_000_000, payload), source_topic="incidents.v1", region=None
        )
        for offset, reason, payload in ((1, "schema", b'{"a": "\x1b[2J"}'), (2, "too_large", None))
    ]
    ran = subprocess.run(
        [sys.executable, "-c", program], input=b"\n".join(letters) + b"\n", capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    first, payload, second, nothing = ran.stdout.decode().splitlines()
    assert "schema why" in first
    assert payload.strip() == repr(b'{"a": "\x1b[2J"}')
    assert "\x1b" not in ran.stdout.decode()
    assert "too_large why" in second
    assert nothing.strip() == "b''"


PAGE = (ROOT / "docs" / "how-to" / "map.md").read_text(encoding="utf-8")


def test_the_override_adds_options_to_the_command_of_cells_and_a_folder():
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    ((name, override),) = yaml.safe_load(block)["services"].items()
    theirs, ours = override["command"], SERVICES[name]["command"]
    assert theirs[: len(ours)] == ours
    chosen = typer.main.get_command(app).commands["cells"].make_context("cells", theirs[1:]).params
    (mount,) = override["volumes"]
    source, target, mode = mount.split(":")
    assert (source, mode) == ("./map", "ro")
    for option in ("areas", "streets"):
        assert str(chosen[option]).startswith(f"{target}/"), option
    assert set(override) == {"command", "volumes"}, "all else stays as it is in compose.yaml"
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/map/", "/compose.override.yaml"} <= set(ignored)
