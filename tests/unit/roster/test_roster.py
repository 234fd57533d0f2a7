"""The roster: which artifact is in force, and which one is refused."""

import shutil

import msgspec
import pytest

from streaming.roster.roster import read_roster, refresh_roster
from tests.harness.toy import toy_artifact, toy_spec


def spec(region="toyville", **changes):
    return toy_spec(region=region, categories=("ems", "fire"), **changes)


@pytest.fixture
def publish(tmp_path):
    def publish(of, *, day):
        created = f"202601{day:02d}T000000Z"
        return toy_artifact(tmp_path / "artifacts", of, cutoff_s=1_767_225_600, created=created)

    return publish


def test_the_newest_sound_artifact_of_each_region_is_in_force(publish, tmp_path):
    publish(spec(), day=1)
    newest, other = publish(spec(), day=2), publish(spec("elsewhere"), day=1)
    roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    assert {region: entry.folder for region, entry in roster.items()} == {
        "toyville": str(newest),
        "elsewhere": str(other),
    }
    assert refused == []
    assert read_roster(tmp_path / "roster.json") == roster


@pytest.mark.fault("F28")
def test_a_newer_artifact_takes_over_and_a_damaged_one_does_not(publish, tmp_path):
    first = publish(spec(), day=1)
    refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    damaged = publish(spec(), day=3)
    (damaged / "baseline.npz").write_bytes(b"not what it was")
    roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    assert roster["toyville"].folder == str(first)
    assert [one.folder for one in refused] == [str(damaged)]
    assert "damaged" in str(refused[0].error)
    second = publish(spec(), day=4)
    roster, _ = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    assert roster["toyville"].folder == str(second)


@pytest.mark.fault("F29")
def test_another_spec_is_refused_while_the_counts_of_the_old_one_are_kept(publish, tmp_path):
    first = publish(spec(), day=1)
    refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    publish(spec(tick_s=30), day=2)
    roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    assert roster["toyville"].folder == str(first)
    assert spec().fingerprint() in str(refused[0].error)
    assert "new checkpoint folder" in str(refused[0].error)
    assert "(tick_s was 60 and is 30)" in str(refused[0].error)
    fresh, _ = refresh_roster(tmp_path / "another.json", tmp_path / "artifacts")
    assert fresh["toyville"].fingerprint == spec(tick_s=30).fingerprint()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"categories": ("fire", "ems")}, "categories was ems, fire and is fire, ems"),
        ({"slide_s": 900, "late_limit_s": 3600}, "slide_s was 300 and is 900; late_limit_s was 86400 and is 3600"),
        ({"counted_origins": ("sensor",)}, "counted_origins was public_call, sensor, responder and is sensor"),
    ],
)
def test_a_refused_spec_says_which_fields_differ(publish, tmp_path, changes, said):
    publish(spec(), day=1)
    refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    publish(msgspec.structs.replace(spec(), **changes), day=2)
    _, [refused] = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    assert f"({said})" in str(refused.error)


@pytest.mark.fault("F28")
@pytest.mark.parametrize("name", ["manifest.json", "baseline.npz", "history.npz", "card.md"])
def test_no_bytes_in_a_newer_artifact_stop_the_job(publish, tmp_path, name):
    first = publish(spec(), day=1)
    refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    newer = publish(spec(), day=2)
    for content in (b"", b"\xff\xfe", b"[" * 50_000, b"PK\5\6" + bytes(18), b"\x80\x04N."):
        (newer / name).write_bytes(content)
        roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
        assert (roster["toyville"].folder, len(refused)) == (str(first), 1)


def test_a_region_keeps_its_spec_when_its_artifact_is_gone(publish, tmp_path):
    first = publish(spec(), day=1)
    refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    publish(spec(tick_s=30), day=2)
    shutil.rmtree(first)
    for _ in range(3):  # the second look is the one that must not have forgotten
        roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
        assert roster["toyville"].fingerprint == spec().fingerprint()
        assert len(refused) == 1
        assert spec().fingerprint() in str(refused[0].error)


def test_a_region_too_many_is_refused_and_the_others_stay(publish, tmp_path, monkeypatch):
    publish(spec("aston"), day=1)
    refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    publish(spec("bray"), day=1)
    series = spec().series
    for limit, value, said in (
        ("MAX_REGIONS", 1, "would be region 2, and a job can have 1"),
        ("MAX_SERIES", 2 * series - 1, f"from {series} to {2 * series} series, and {2 * series - 1} are"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(f"streaming.roster.roster.{limit}", value)
            roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
        assert list(roster) == ["aston"]
        assert said in str(refused[0].error)
    newer = publish(spec("aston"), day=2)  # one that takes an old one's place is none too many
    monkeypatch.setattr("streaming.roster.roster.MAX_REGIONS", 1)
    roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    assert (roster["aston"].folder, len(refused)) == (str(newer), 1)
    monkeypatch.undo()
    roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    assert (sorted(roster), refused) == (["aston", "bray"], [])


@pytest.mark.fault("F28")
def test_a_copy_that_has_not_come_to_its_end_waits_while_a_sound_artifact_is_in_force(publish, tmp_path):
    first = publish(spec(), day=1)
    refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    second = publish(spec(), day=2)
    weights = (second / "weights.safetensors").read_bytes()
    (second / "weights.safetensors").unlink()
    roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    assert roster["toyville"].folder == str(first)
    assert "missing" in str(refused[0].error)
    (second / "weights.safetensors").write_bytes(weights)
    roster, refused = refresh_roster(tmp_path / "roster.json", tmp_path / "artifacts")
    assert (roster["toyville"].folder, refused) == (str(second), [])
