"""`python -m streaming cells` on artifacts."""

import json

import pytest
from typer.testing import CliRunner

from schemas.errors import ArtifactError
from streaming.__main__ import app
from tests.harness.region import make_region


def cells(*arguments):
    return CliRunner().invoke(app, ["cells", *map(str, arguments)], env={"RISK_ARTIFACTS": "nowhere"})


def test_it_writes_a_file_per_region_and_one_of_all(tmp_path):
    for name, south_deg in (("north", 42.0), ("south", 38.0)):
        make_region(name, south_deg=south_deg).publish(tmp_path / "artifacts")
    result = cells("--artifacts", tmp_path / "artifacts", "--out", tmp_path / "cells")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "cells").iterdir()} == {"north.geojson", "south.geojson", "_all.geojson"}
    north = json.loads((tmp_path / "cells" / "north.geojson").read_text(encoding="utf-8"))
    assert north == json.loads(json.dumps(make_region("north", south_deg=42.0).spec.grid.geojson()))


def test_without_an_artifact_it_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="train"):
        CliRunner().invoke(app, ["cells", "--artifacts", str(tmp_path), "--out", str(tmp_path)], catch_exceptions=False)
