"""The pointer of a region is read strictly, and decides what may score it."""

import pytest

from models.artifact import candidates_by_region, challenger_of, champion_of
from schemas.errors import ArtifactError
from schemas.records import Pointer, pointer_path, read_pointer, write_pointer
from tests.harness.toy import toy_artifact, toy_spec

GONE = "20260109T000000Z-00000000"


@pytest.fixture
def versions(tmp_path):
    """Two versions of toyville, older first."""
    return [toy_artifact(tmp_path, toy_spec(), created=f"2026010{day}T000000Z").name for day in (1, 2)]


def test_without_a_pointer_the_newest_may_score_and_with_one_its_champion_alone(tmp_path, versions):
    older, newer = versions
    assert [path.name for path in candidates_by_region(tmp_path)["toyville"].folders] == [newer, older]
    assert champion_of(tmp_path, "toyville").version == newer
    assert challenger_of(tmp_path, "toyville") is None
    write_pointer(tmp_path, "toyville", Pointer(champion=older, challenger=newer))
    assert [path.name for path in candidates_by_region(tmp_path)["toyville"].folders] == [older]
    assert champion_of(tmp_path, "toyville").version == older
    assert challenger_of(tmp_path, "toyville") == tmp_path / "toyville" / newer
    pointer_path(tmp_path, "toyville").unlink()
    assert champion_of(tmp_path, "toyville").version == newer


def test_a_region_that_has_only_a_pointer_waits_for_its_champion(tmp_path):
    write_pointer(tmp_path, "toyville", Pointer(champion=GONE))
    assert [path.name for path in candidates_by_region(tmp_path)["toyville"].folders] == [GONE]
    with pytest.raises(ArtifactError, match="is no folder"):
        champion_of(tmp_path, "toyville")


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'{"champion":null}',
        b'{"champion":"../../elsewhere"}',
        b'{"champion":"%s/.."}' % GONE.encode(),
        b'{"champion":"%s\\n"}' % GONE.encode(),
        b'{"champion":"%s","challenger":"x"}' % GONE.encode(),
        b'{"champion":"%s","champoin":"x"}' % GONE.encode(),
    ],
)
def test_a_damaged_pointer_is_a_fault_of_its_region_alone(tmp_path, versions, content):
    toy_artifact(tmp_path, toy_spec(region="aston"))
    pointer_path(tmp_path, "toyville").write_bytes(content)
    by_region = candidates_by_region(tmp_path)
    assert "pointer.json" in by_region["toyville"].fault.message
    assert "lifecycle promote REGION" in by_region["toyville"].fault.remedy
    assert (list(by_region["toyville"].folders), by_region["aston"].fault) == ([], None)
    for read in (read_pointer, champion_of, challenger_of):
        with pytest.raises(ArtifactError, match=r"pointer\.json"):
            read(tmp_path, "toyville")


@pytest.mark.parametrize("leads_somewhere", [True, False])
def test_a_pointer_that_is_a_link_is_refused(tmp_path, versions, leads_somewhere):
    if leads_somewhere:
        write_pointer(tmp_path, "elsewhere", Pointer(champion=versions[0]))
    pointer_path(tmp_path, "toyville").symlink_to(pointer_path(tmp_path, "elsewhere"))
    assert candidates_by_region(tmp_path)["toyville"].fault
