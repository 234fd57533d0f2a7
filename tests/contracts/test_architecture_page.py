"""docs/explanation/architecture.md names every room, in the order of the layers that import-linter holds."""

import re
import tomllib

import pytest

from tests.contracts.test_readme import ROOT

PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


@pytest.mark.parametrize("package", ["streaming", "models"])
def test_the_rooms_on_the_page_are_the_layers_from_the_top_down(package):
    (layers,) = [contract["layers"] for contract in CONTRACTS if contract.get("containers") == [package]]
    rooms = [re.findall(r"\w+", layer) for layer in layers]
    folders = [[room for room in layer if (ROOT / package / room).is_dir()] for layer in rooms]
    text = PAGE.split(f"\n`{package}/`, ")[1]
    bullets = re.match(r".*?\n\n((?:- .+\n(?:  .+\n)*)+)", text)[1]
    shown = [re.findall(r"`(\w+)`", line) for line in re.findall(r"^- ([^:]+):", bullets, re.MULTILINE)]
    assert [sorted(layer) for layer in shown] == [sorted(layer) for layer in folders if layer]
