"""The roster: which artifact is in force, and which is refused."""

import shutil
from contextlib import nullcontext
from math import inf
from pathlib import Path

import pytest

from models.artifact import read_artifact
from schemas.errors import ArtifactError
from schemas.records import Pointer, pointer_path, read_roster, write_pointer
from streaming.artifacts_in_force import ArtifactScan, refresh_roster, refuse_unfit
from tests.harness.toy import toy_spec

FINGERPRINT = toy_spec().fingerprint()


@pytest.fixture
def refresh(tmp_path):
    """refresh(): the folder in force by region, and the reasons of the refused artifacts by folder."""

    def refresh(name="roster.json"):
        roster, refused = refresh_roster(tmp_path / name, tmp_path / "artifacts")
        assert read_roster(tmp_path / name) == roster
        return {region: entry.folder for region, entry in roster.items()}, {
            each.folder: str(each.error) for each in refused
        }

    return refresh


def fingerprint(tmp_path, name="roster.json"):
    return read_roster(tmp_path / name)["toyville"].fingerprint


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    ("name", "copied", "reason"),
    [
        ("baseline.npz", 0.5, "baseline.npz is damaged, its sha256 or size is not the manifest's"),
        ("weights.safetensors", 0.5, "weights.safetensors is damaged, its sha256 or size is not the manifest's"),
        ("weights.safetensors", None, "weights.safetensors is missing"),
    ],
)
def test_a_newer_artifact_takes_over_and_one_that_is_half_copied_does_not(publish, refresh, name, copied, reason):
    first = publish(1)
    refresh()
    half = publish(3)
    content = (half / name).read_bytes()
    (half / name).unlink()
    if copied:
        (half / name).write_bytes(content[: int(copied * len(content))])
    in_force, refused = refresh()
    assert in_force == {"toyville": str(first)}
    assert list(refused) == [str(half)]
    assert reason in refused[str(half)]
    assert f"{first.name} stays in force" in refused[str(half)] or name == "baseline.npz"
    second = publish(4)
    assert refresh()[0] == {"toyville": str(second)}


@pytest.mark.parametrize("name", ["baseline.npz", "weights.safetensors"])
def test_what_is_kept_of_a_refused_artifact_is_its_reason_and_remedy_alone(publish, tmp_path, name):
    """A traceback, also a cause's, would hold the artifact's content in memory for as long as it lies there."""
    publish(1)
    refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    (publish(3) / name).write_bytes(b"damaged")
    scan = ArtifactScan()
    for _ in range(2):
        _, [refused] = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts", scan=scan)
        assert (refused.error.__cause__, refused.error.__context__, refused.error.__traceback__) == (None,) * 3
        assert refused.error.remedy
        assert refused.error.remedy not in refused.error.message


@pytest.mark.fault("F29")
def test_another_spec_is_refused_while_the_counts_of_the_old_one_are_kept(publish, refresh, tmp_path):
    first = publish(1)
    refresh()
    publish(2, tick_s=30)
    in_force, refused = refresh()
    assert in_force == {"toyville": str(first)}
    [reason] = refused.values()
    for text in (FINGERPRINT, "checkpoint --reset", "(tick_s was 60 and is 30)"):
        assert text in reason
    refresh("another.json")
    assert fingerprint(tmp_path, "another.json") == toy_spec(tick_s=30).fingerprint()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"categories": ("ems", "fire")}, "categories was fire, ems and is ems, fire"),
        ({"slide_s": 900, "late_limit_s": 3600}, "slide_s was 300 and is 900; late_limit_s was 86400 and is 3600"),
        ({"counted_origins": ("sensor",)}, "counted_origins was public_call, sensor, responder and is sensor"),
    ],
)
def test_a_refused_spec_says_which_fields_differ(publish, refresh, changes, text):
    publish(1)
    refresh()
    publish(2, **changes)
    [reason] = refresh()[1].values()
    assert f"({text})" in reason


def test_a_region_keeps_its_spec_when_its_artifact_is_gone(publish, refresh, tmp_path):
    first = publish(1)
    refresh()
    publish(2, tick_s=30)
    shutil.rmtree(first)
    for _ in range(3):  # the second look must still know it
        [reason] = refresh()[1].values()
        assert FINGERPRINT in reason
        assert fingerprint(tmp_path) == FINGERPRINT


def test_a_region_too_many_is_refused_and_the_others_stay(publish, refresh, monkeypatch, tmp_path):
    first = publish(1, "aston")
    refresh()
    other = publish(1, "bray")
    series = toy_spec().series
    for limit, value, text in (
        ("MAX_REGIONS", 1, "would be region 2, and a job can have 1"),
        ("MAX_SERIES", 2 * series - 1, f"from {series} to {2 * series} series; {2 * series - 1} are"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(f"streaming.artifacts_in_force.{limit}", value)
            in_force, refused = refresh()
        assert in_force == {"aston": str(first)}
        assert text in refused[str(other)]
    newer = publish(2, "aston")  # it replaces one, so it is not too many
    with monkeypatch.context() as patched:
        patched.setattr("streaming.artifacts_in_force.MAX_REGIONS", 1)
        in_force, refused = refresh()
        roster = read_roster(tmp_path / "roster.json")
        for folder in (newer, other):
            name, artifact = Path(*folder.parts[-2:]), read_artifact(folder)
            with nullcontext() if folder == newer else pytest.raises(ArtifactError, match="would be region 2"):
                refuse_unfit(roster, name, artifact, latest_s=inf, masked="")
    assert (in_force, list(refused)) == ({"aston": str(newer)}, [str(other)])
    assert refresh() == ({"aston": str(newer), "bray": str(other)}, {})


GONE = "20260109T000000Z-00000000"


def point_at(tmp_path, version, region="toyville"):
    write_pointer(tmp_path / "artifacts", region, Pointer(champion=version))


def damage(folder):
    (folder / "baseline.npz").write_bytes(b"damaged")
    return folder.name


@pytest.mark.parametrize(
    ("champion", "reason", "remedy"),
    [
        (lambda publish: GONE, "is missing, and ", "run `risk promote REGION`"),
        (lambda publish: damage(publish(3)), "baseline.npz is damaged", "or run `risk promote REGION`"),
        (lambda publish: publish(3, tick_s=30).name, "tick_s was 60 and is 30", "train with `--like"),
    ],
)
def test_a_champion_that_cannot_score_leaves_in_force_what_is(publish, refresh, tmp_path, champion, reason, remedy):
    first = publish(1)
    refresh()
    publish(2)
    version = champion(publish)
    point_at(tmp_path, version)
    in_force, refused = refresh()
    assert (in_force, list(refused)) == ({"toyville": str(first)}, [str(first.with_name(version))])
    for text in (reason, remedy, "pointer.json names it"):
        assert text in refused[str(first.with_name(version))]


def test_a_damaged_pointer_leaves_in_force_what_is_and_does_not_touch_other_regions(publish, refresh, tmp_path):
    first = publish(1)
    refresh()
    publish(2)
    other = publish(2, "elsewhere")
    path = pointer_path(tmp_path / "artifacts", "toyville")
    path.write_bytes(b"{")
    in_force, refused = refresh()
    assert (in_force, list(refused)) == ({"toyville": str(first), "elsewhere": str(other)}, [str(path)])
    assert "lifecycle promote REGION" in refused[str(path)]
