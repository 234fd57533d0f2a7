"""What `retention` finds, what it deletes and puts on record, and what it never touches."""

import os
import re
import shutil
from pathlib import Path
from unittest.mock import Mock

import msgspec
import pytest
from typer.testing import CliRunner

from incident_risk import app
from schemas.audit import read_log, record, verify
from schemas.errors import ArtifactError, RegistryError
from schemas.records import STATE, Entry, Pointer, RegionState, write_pointer
from schemas.spec import DAY_S
from streaming.checkpoint import only_writer
from streaming.cli.accountability import TABLE, apply_to, gathered, region_state
from streaming.settings import Settings, environment_names
from streaming.spark import scratch_of
from tests.harness.killed_step import every_kill

NOW_S = 1_800_000_000
OLD, OLDER, OLDEST, NEW = (f"20250{month}01T000000Z-0000000{month}" for month in (1, 2, 3, 4))


@pytest.fixture
def settings(tmp_path):
    return Settings(
        artifacts=tmp_path / "artifacts",
        checkpoint=tmp_path / "checkpoint",
        audit=tmp_path / "audit.jsonl",
        frames=tmp_path / "frames",
        registry=str(tmp_path / "registry"),
        archive=str(tmp_path / "archive"),
        sink="influxdb",
    )


def put(path, *, days, content=b"x"):
    """A file that was last written so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (NOW_S - days * DAY_S,) * 2)
    return path


def over(settings, *back_ups):
    """Of the made folder, relative to it, what is over."""
    found = gathered(settings, back_ups, NOW_S)
    return {str(item.path.relative_to(settings.audit.parent)) for _, _, due in found for item in due}


def applied(settings, *back_ups):
    apply_to(settings, list(gathered(settings, back_ups, NOW_S)), NOW_S)
    return verify(read_log(settings.audit)).records


def version(folder, name, *, days=500):
    put(folder / "toyville" / name / "history.npz", days=days)
    return folder / "toyville" / name


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("checkpoint/old-20250101T000000Z/spark/state/1.zip", 14),
        ("checkpoint/outcomes/toyville/1700000000.npz", 14),
        ("checkpoint/shadow/forecasts/toyville/1700000000.npz", 14),
        ("checkpoint/shadow/closed/toyville/1700000000.counts", 14),
        ("checkpoint/shadow/toyville.jsonl", 90),
        ("checkpoint/spark.log", 35),
        (f"checkpoint/following/toyville/{OLD}/1700000000.npz", 60),
        ("frames/toyville.frame", 35),
        ("frames/hours/toyville/20250101T000000Z.frame", 2),
        (f"registry/toyville/{OLD}/history.npz", 400),
        ("audit.jsonl.20250101T000000Z.aside", 400),
    ],
)
def test_an_item_goes_when_its_limit_is_over_and_is_on_record(settings, name, limit):
    path = put(settings.audit.parent / name, days=limit - 0.1)
    assert over(settings) == set()
    put(path, days=limit + 0.1)
    (due,) = over(settings)
    assert name.startswith(due)
    before = applied(settings)
    assert not (settings.audit.parent / due).exists()
    assert [each.event for each in before] == ["retention_applied"]
    (said,) = before[0].details.values()
    assert f"{limit} days" in said
    assert str(settings.audit.parent / due) in said


def test_a_folder_is_as_old_as_the_newest_file_in_it(settings):
    put(settings.checkpoint / "old-a" / "spark" / "offsets" / "1", days=90)
    assert over(settings) == {"checkpoint/old-a"}
    put(settings.checkpoint / "old-a" / "spark" / "offsets" / "2", days=1)
    assert over(settings) == set()


def test_what_a_job_counts_with_is_never_over(settings):
    put(settings.checkpoint / "spark" / "offsets" / "1", days=5000)
    put(settings.checkpoint / "batches" / "2020-01-01" / "batches.jsonl", days=5000)
    put(settings.checkpoint / "roster.json", days=5000, content=b"{}")
    put(settings.checkpoint / "guard.json", days=5000)
    assert over(settings) == set()


def test_sparks_log_stays_while_a_job_writes_it_and_a_set_aside_checkpoint_while_it_is_read(settings):
    put(settings.checkpoint / "spark.log", days=500)
    put(settings.checkpoint / "old-a" / "spark" / "offsets" / "1", days=90)
    with only_writer(settings.checkpoint):
        assert over(settings) == {"checkpoint/old-a"}
    with only_writer(settings.checkpoint / "old-a"):
        os.utime(settings.checkpoint / "old-a" / "lock", (NOW_S - 90 * DAY_S,) * 2)
        assert over(settings) == {"checkpoint/spark.log"}
    assert over(settings) == {"checkpoint/spark.log", "checkpoint/old-a"}


def test_without_a_pointer_the_two_newest_artifacts_stay_and_with_one_its_champion_and_challenger(settings):
    for name in (OLD, OLDER, OLDEST):
        version(settings.artifacts, name)
    assert over(settings) == {f"artifacts/toyville/{OLD}"}
    version(settings.artifacts, NEW)
    write_pointer(settings.artifacts, "toyville", Pointer(champion=OLD, challenger=OLDEST))
    assert over(settings) == {f"artifacts/toyville/{name}" for name in (OLDER, NEW)}


@pytest.mark.parametrize(
    ("home", "name", "error"), [("artifacts", "pointer.json", ArtifactError), ("registry", STATE, RegistryError)]
)
def test_where_a_pointer_or_a_registrys_state_cannot_be_read_nothing_goes(settings, home, name, error):
    folder = Path(getattr(settings, home))
    version(folder, OLD)
    put(folder / "toyville" / name, days=0, content=b"{")
    with pytest.raises(error):
        over(settings)


def test_what_the_roster_names_stays_with_its_follower_and_its_frame(settings):
    folders = [version(settings.artifacts, name) for name in (OLD, OLDER, OLDEST, NEW)]
    put(settings.checkpoint / "following" / "toyville" / OLD / "1700000000.npz", days=90)
    put(settings.frames / "toyville.frame", days=90)
    put(settings.frames / "retired.frame", days=90)
    entry = Entry(folder=str(folders[0]), version=OLD, fingerprint="0" * 16, challenger=str(folders[1]))
    put(settings.checkpoint / "roster.json", days=0, content=msgspec.json.encode({"toyville": entry}))
    assert over(settings) == {"frames/retired.frame"}


def test_a_version_leaves_the_registry_with_its_state_and_those_with_a_role_stay(settings):
    home = Path(settings.registry) / "toyville"
    for name in (OLD, OLDER, OLDEST, NEW):
        version(home.parent, name)
    first, roles = "20240101T000000Z-00000000", {"champion": NEW, "before": (OLD, OLDER, OLDEST), "retired": (OLD,)}
    state = RegionState(manifests=dict.fromkeys((first, OLD, OLDER, OLDEST, NEW), "0" * 64), challenger=OLDER, **roles)
    put(home / STATE, days=0, content=msgspec.json.encode(state))
    assert over(settings) == {f"registry/toyville/{OLD}"}
    applied(settings)
    assert not (home / OLD).exists()
    after = region_state(home)
    assert (set(after.manifests), after.before, after.retired) == ({first, OLDER, OLDEST, NEW}, (OLDER, OLDEST), ())


def test_the_page_of_an_evaluation_goes_with_its_version_and_no_other(settings):
    for name in (OLD, OLDER):
        version(Path(settings.registry), name, days=500 if name == OLD else 1)
        put(Path(settings.registry) / "toyville" / f"{name}.evaluation" / "index.html", days=500)
    applied(settings)
    left = {path.name for path in (Path(settings.registry) / "toyville").glob("2*")}
    assert left == {OLDER, f"{OLDER}.evaluation"}


def test_a_version_that_was_promoted_meanwhile_stays(settings):
    home = Path(settings.registry) / "toyville"
    folder = version(home.parent, OLD)
    found = list(gathered(settings, [], NOW_S))
    put(home / STATE, days=0, content=msgspec.json.encode(RegionState(manifests={OLD: "0" * 64}, champion=OLD)))
    apply_to(settings, found, NOW_S)
    assert folder.exists()
    assert region_state(home).champion == OLD


def old_log(settings):
    settings.checkpoint.mkdir()
    record(settings.audit, "start", {}, at_s=NOW_S - 401 * DAY_S, checkpoint=settings.checkpoint)
    return record(settings.audit, "stop", {}, at_s=NOW_S - DAY_S, checkpoint=settings.checkpoint)


def test_the_audit_log_is_set_aside_whole_but_not_beside_a_job(settings):
    old_log(settings)
    with only_writer(settings.checkpoint):
        assert over(settings) == set()
    assert over(settings) == {"audit.jsonl"}
    assert [each.event for each in applied(settings)] == ["retention_applied"]
    assert [each.event for each in set_aside(settings).records] == ["start", "stop", "retention_applied"]
    assert over(settings) == set()


def set_aside(settings):
    """The log that was."""
    (aside,) = settings.audit.parent.glob("audit.jsonl.*.aside")
    return verify(read_log(aside))


def command(settings, *words):
    names = ("artifacts", "checkpoint", "audit", "frames", "registry", "archive")
    environment = {f"RISK_{name.upper()}": str(getattr(settings, name)) for name in names}
    environment["RISK_KAFKA_BOOTSTRAP"] = "127.0.0.1:1"  # nothing listens there
    return CliRunner().invoke(app, words, env=environment)


def test_the_log_after_one_that_was_set_aside_names_its_head_and_has_no_fault(settings):
    old_log(settings)
    applied(settings)
    old_head = set_aside(settings).head
    for _ in range(2):
        for words in ([], ["--head", old_head]):
            ran = command(settings, "audit", *words)
            assert "chain unbroken" in ran.output, ran.exception
        record(settings.audit, "start", {}, at_s=NOW_S + 1, checkpoint=settings.checkpoint)
    assert verify(read_log(settings.audit)).records[0].details["head_before"] == old_head
    settings.audit.unlink()
    record(settings.audit, "start", {}, at_s=NOW_S + 2, checkpoint=settings.checkpoint)
    assert "record 1 notes" in str(command(settings, "audit").exception)


def test_a_kill_while_the_log_is_set_aside_leaves_no_fault(settings):
    """Wherever it was killed; a second try ends it."""
    old_log(settings)
    kept = settings.audit.parent.with_name("kept")
    shutil.copytree(settings.audit.parent, kept)
    for _ in every_kill(lambda: applied(settings), below=settings.audit.parent):
        assert "chain unbroken" in command(settings, "audit").output
        record(settings.audit, "start", {}, at_s=NOW_S, checkpoint=settings.checkpoint)
        applied(settings)
        assert "chain unbroken" in command(settings, "audit").output
        shutil.rmtree(settings.audit.parent)
        shutil.copytree(kept, settings.audit.parent)


def test_a_log_that_lacks_lines_when_it_is_set_aside_stays_a_fault(settings):
    lost = old_log(settings)
    settings.audit.write_bytes(b"".join(settings.audit.read_bytes().splitlines(keepends=True)[:1]))
    applied(settings)
    assert f"record 1 notes that the lines up to hash {lost} were missing" in str(command(settings, "audit").exception)


def test_a_back_up_goes_but_never_a_folder_that_holds_what_is_in_use(settings):
    data = settings.audit.parent
    put(data / "backup" / "state.tgz", days=36)
    put(data / "notes" / "a.txt", days=900)
    assert over(settings, data / "backup", data / "notes") == {"backup"}
    put(data / "kafka.tgz", days=900)
    put(settings.checkpoint / "spark" / "offsets" / "1", days=900)
    assert over(settings, data) == set()


def test_counts_that_were_set_aside_go_from_the_folder_that_machines_share_too(settings):
    shared = put(settings.audit.parent / "shared" / "state-1" / "state" / "0" / "1.zip", days=90)
    other = put(settings.audit.parent / "shared" / "state-2" / "state" / "0" / "1.zip", days=90)
    put(settings.checkpoint / "old-a" / "guard.json", days=90)
    (settings.checkpoint / "old-a" / "spark").symlink_to(settings.audit.parent / "shared" / "state-1")
    assert over(settings) == {"checkpoint/old-a"}
    applied(settings)
    assert [path.exists() for path in (shared, other, settings.checkpoint / "old-a")] == [False, True, False]


def test_nothing_is_over_where_nothing_is_and_a_link_is_not_followed(settings):
    assert over(settings) == set()
    assert not any(settings.audit.parent.iterdir())
    other = put(settings.audit.parent / "elsewhere" / "file", days=900).parent
    settings.checkpoint.mkdir()
    (settings.checkpoint / "old-a").symlink_to(other)
    assert over(settings) == set()


def test_what_the_job_deletes_meanwhile_is_no_fault(settings):
    gone = put(settings.checkpoint / "outcomes" / "toyville" / "1700000000.npz", days=90)
    found = list(gathered(settings, [], NOW_S))
    gone.unlink()
    apply_to(settings, found, NOW_S)


def test_what_fails_is_named_and_the_rest_stays(settings, monkeypatch):
    put(settings.frames / "a.frame", days=91)
    put(settings.frames / "b.frame", days=90)
    monkeypatch.setattr(Path, "unlink", Mock(side_effect=PermissionError(13, "not allowed")))
    with pytest.raises(Exception, match=r"a\.frame cannot be written"):
        applied(settings)
    assert len(list(settings.frames.iterdir())) == 2


def test_every_setting_that_names_a_place_is_in_the_table_with_a_reason_readers_and_an_end():
    """But for those that name what is read only, or downloaded again."""
    assert all(kept.why and kept.readers and (kept.days or kept.ended_by != "retention") for kept in TABLE)
    named = {kept.setting for kept in TABLE}
    read_only = {"RISK_KAFKA_CA", "INFLUXDB_V2_SSL_CA_CERT", "RISK_GATE_PLAN", "RISK_MASKS", "RISK_CACHE"}
    paths = {
        name
        for name, field in environment_names().items()
        if "Path" in str(Settings.model_fields[field].annotation) or re.search("topic|archive$|registry", field)
    }
    assert paths - read_only <= named
    assert named - set(environment_names()) == {"--back-ups", "the supervisor", "TMPDIR"}
    (scratch,) = (kept.place.removeprefix("TMPDIR/") for kept in TABLE if kept.setting == "TMPDIR")
    assert scratch_of(Path("checkpoint")).match(scratch)


def test_the_command_shows_first_and_deletes_when_it_is_told(settings):
    put(settings.frames / "toyville.frame", days=1)
    os.utime(settings.frames / "toyville.frame", (1_700_000_000,) * 2)
    shown, told, again = (command(settings, "retention", *words) for words in ([], ["--apply"], ["--apply"]))
    assert "days old; 1 over" in shown.output
    assert "by Kafka; it does not answer" in shown.output
    assert shown.output.endswith("1 are over\n")
    assert f"1 are over, and gone, on record in {settings.audit}" in told.output
    assert again.output.endswith("0 are over\n")
    assert len(verify(read_log(settings.audit)).records) == 1
