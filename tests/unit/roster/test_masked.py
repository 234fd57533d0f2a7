"""An artifact that counts with other masks than the job's is refused, and the doctor says so."""

import time

import pytest

from schemas.areas import read_masks
from schemas.errors import ArtifactError
from streaming.artifacts_in_force import RosterWatch, next_roster, refresh_roster
from streaming.cli.doctor import examine
from streaming.settings import Settings
from tests.harness.masks import box, mask_file


@pytest.fixture
def settings(tmp_path):
    return Settings(
        kafka_bootstrap="127.0.0.1:1",  # nothing listens there
        artifacts=tmp_path / "artifacts",
        checkpoint=tmp_path / "checkpoint",
        audit=tmp_path / "audit.jsonl",
        sink=f"file:{tmp_path / 'scores.lp'}",
        cache=tmp_path / "cache",
        masks=mask_file(tmp_path / "masks.geojson", box(-88, 41, -87, 42)),
    )


@pytest.mark.parametrize("masked", ["", "0123456789abcdef"])
def test_a_region_with_other_masks_is_refused_and_the_others_are_scored(publish, settings, masked):
    mine = read_masks(settings.masks).digest
    good, other = publish(1, masked=mine), publish(1, "lakeside", masked=masked)
    roster, [refused] = refresh_roster(settings.checkpoint / "roster.json", settings.artifacts, masked=mine)
    assert {entry.folder for entry in roster.values()} == {str(good)}
    assert refused.folder == str(other)
    asked = f"masks {masked}" if masked else "no masks"
    assert f"{other} counts with {asked}, and it is given masks {mine}: give the file" in str(refused.error)


def test_a_job_without_masks_refuses_an_artifact_that_has_some(publish, settings):
    publish(1, masked=read_masks(settings.masks).digest)
    with pytest.raises(ArtifactError, match="and it is given no masks"):
        RosterWatch.of(settings).look(1)


def test_a_start_with_other_masks_than_those_in_force_is_refused_and_leaves_the_roster(publish, settings):
    path = settings.checkpoint / "roster.json"
    in_force = publish(1, masked="0123456789abcdef")
    refresh_roster(path, settings.artifacts, masked="0123456789abcdef")
    before = path.read_bytes()
    publish(2, masked=read_masks(settings.masks).digest)  # its spec does not fit the stored counts
    watch = RosterWatch.of(settings, masked=read_masks(settings.masks).digest)
    with pytest.raises(ArtifactError, match=f"{in_force} counts with masks 0123456789abcdef.*checkpoint --reset"):
        watch.look(1)
    assert path.read_bytes() == before
    roster, _ = next_roster({}, settings.artifacts, masked=read_masks(settings.masks).digest)
    assert roster["toyville"].version.startswith("20260102")


def test_the_doctor_names_the_artifact_and_both_masks(publish, settings, monkeypatch):
    monkeypatch.setattr("streaming.cli.doctor._java", lambda: iter(()))
    publish(1)
    findings = {finding.what: finding for finding in examine(settings, now_s=time.time())}
    found = findings["artifact toyville"]
    assert (found.grade, "counts with no masks" in found.seen, "RISK_MASKS" in found.remedy) == ("fail", True, True)
    missing = settings.model_copy(update={"masks": settings.artifacts / "none.geojson"})
    findings = {finding.what: finding for finding in examine(missing, now_s=time.time())}
    assert (findings["artifacts"].grade, "none.geojson cannot be read" in findings["artifacts"].seen) == ("fail", True)
