"""docs/how-to/map.md: what an operator writes beside compose.yaml is taken by Compose and by the command."""

import re

import typer
import yaml

from incident_risk import app
from tests.harness.compose_file import ROOT, SERVICES

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
