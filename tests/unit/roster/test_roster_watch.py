"""A job that runs looks for artifacts: it outlives their absence, and reads what it refused once, until it changes."""

import errno
import logging
import shutil

import pytest

import models.artifact
import streaming.artifacts_in_force
from models.artifact import read_artifact
from schemas.audit import records
from schemas.errors import ArtifactError
from schemas.records import Pointer, pointer_path, read_roster, roster_path, write_pointer
from streaming.artifacts_in_force import ArtifactCache, ArtifactScan, RosterWatch, load_artifact, next_roster
from tests.unit.roster.conftest import CUTOFF_S


@pytest.fixture
def looks(settings):
    """looks(times): a job that has started looks again, so many times."""
    watch, now_s = RosterWatch.of(settings), [0]

    def look(times=1):
        for _ in range(times):
            now_s[0] += 10
            watch.look(now_s[0])

    return look


@pytest.fixture
def reads(monkeypatch):
    """The names of the folders whose artifacts were read, in their order."""
    seen = []

    def counted(folder):
        seen.append(folder.name)
        return read_artifact(folder)

    monkeypatch.setattr(streaming.artifacts_in_force, "read_artifact", counted)
    return seen


def in_force(settings):
    return {region: entry.folder for region, entry in read_roster(roster_path(settings.checkpoint)).items()}


def unmount(settings, monkeypatch):
    settings.artifacts.rename(settings.artifacts.with_name("away"))
    settings.artifacts.mkdir()  # the mount point


def move_away(settings, monkeypatch):
    settings.artifacts.rename(settings.artifacts.with_name("away"))


def make_stale(settings, monkeypatch):
    def fail(artifacts):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(models.artifact, "_folders_in", fail)


def bring_back(settings, monkeypatch):
    monkeypatch.undo()
    if (away := settings.artifacts.with_name("away")).exists():
        shutil.rmtree(settings.artifacts, ignore_errors=True)
        away.rename(settings.artifacts)


@pytest.mark.parametrize("take_away", [move_away, unmount, make_stale])
def test_a_job_that_runs_outlives_the_absence_of_its_artifacts_and_says_so_once(
    settings, publish, looks, monkeypatch, caplog, take_away
):
    caplog.set_level(logging.INFO, "streaming.artifacts_in_force")
    first = publish(1)
    looks(2)
    for _ in range(2):
        caplog.clear()
        take_away(settings, monkeypatch)
        looks(3)
        assert in_force(settings) == {"toyville": str(first)}
        with pytest.raises(ArtifactError, match=str(settings.artifacts)):
            RosterWatch.of(settings).look(1)
        bring_back(settings, monkeypatch)
        looks(3)
        gone, back = caplog.messages
        assert str(settings.artifacts) in gone
        assert "this job continues with the artifacts in memory" in gone
        assert back == f"artifacts={settings.artifacts} is there again"
    second = publish(2)
    looks()
    assert in_force(settings) == {"toyville": str(second)}


def test_a_start_without_the_artifact_in_force_says_why_the_newer_one_is_refused_before_anything_reads_it(
    settings, publish, looks
):
    first = publish(1)
    looks()
    first.rename(settings.artifacts / "put aside")
    publish(2, tick_s=30)
    taken = []
    with pytest.raises(ArtifactError, match=rf"{first}, in force for this checkpoint, is gone.*checkpoint --reset"):
        RosterWatch.of(settings, take=taken.append).look(1)
    assert taken == []


def spoilt(folder, name):
    (folder / name).write_bytes(b"not what it was")
    return folder


@pytest.mark.parametrize(
    "make",
    [
        lambda publish: spoilt(publish(2), "baseline.npz"),
        lambda publish: spoilt(publish(2), "weights.safetensors"),
        lambda publish: publish(2, tick_s=30),
        lambda publish: publish(2, "elsewhere", cutoff_s=4_000_000_000),
    ],
    ids=["baseline", "weights", "other spec", "of the future"],
)
def test_what_was_refused_is_read_again_only_when_its_files_have_changed(settings, publish, looks, reads, make):
    first = publish(1)
    looks(3)
    newer = make(publish)
    looks(5)
    assert reads == [first.name, newer.name]
    (newer / "card.md").touch()
    looks(3)
    (newer / "card.md").chmod(0o600)  # what could not be read for its mode may be read now
    looks(3)
    assert reads == [first.name, *[newer.name] * 3]
    assert in_force(settings) == {"toyville": str(first)}


@pytest.mark.fault("F28")
def test_an_artifact_that_is_copied_file_by_file_is_taken_when_it_is_whole(settings, publish, looks, caplog):
    first, second = publish(1), publish(2)
    whole = settings.artifacts.with_name("whole")
    second.rename(whole)
    looks()
    second.mkdir()
    for name in ("manifest.json", "baseline.npz", "history.npz", "card.md", "weights.safetensors"):
        content = (whole / name).read_bytes()
        for part in (content[: len(content) // 2], content):
            looks()
            assert in_force(settings) == {"toyville": str(first)}
            (second / name).write_bytes(part)
    assert "lacks ['baseline.npz', 'card.md', 'history.npz', 'manifest.json']" in caplog.text
    looks()
    assert in_force(settings) == {"toyville": str(second)}


def test_refused_artifacts_push_none_out_that_is_in_force_in_any_region(settings, publish, looks, reads):
    folders = [publish(1, region) for region in ("toyville", "aston", "bray")]
    looks()
    kept = [load_artifact(str(folder)) for folder in folders]
    for day in (2, 3, 4):
        spoilt(publish(day), "weights.safetensors")
    looks(3)
    reads.clear()
    assert [load_artifact(str(folder)) for folder in folders] == kept
    assert reads == []


def test_what_takes_over_is_read_once(settings, publish, looks, reads):
    folders = [publish(1)]
    looks(2)
    folders.append(publish(2))
    looks(2)
    assert load_artifact(str(folders[1])).version == folders[1].name
    assert reads == [folder.name for folder in folders]


def test_a_history_of_the_future_is_taken_when_its_time_has_come(settings, publish, monkeypatch):
    monkeypatch.setattr(streaming.artifacts_in_force, "load_artifact", ArtifactCache(lambda folder: folder))
    folder, scan = publish(1), ArtifactScan()
    for latest_s, taken in ((CUTOFF_S - 1, []), (CUTOFF_S - 1, []), (CUTOFF_S, [str(folder)])):
        roster, _ = next_roster({}, settings.artifacts, latest_s=latest_s, scan=scan)
        assert [entry.folder for entry in roster.values()] == taken


def test_of_a_refused_artifact_that_is_gone_nothing_is_remembered(settings, publish):
    scan, folder = ArtifactScan(), publish(1, cutoff_s=4_000_000_000)
    publish(1, "aston")
    next_roster({}, settings.artifacts, latest_s=CUTOFF_S, scan=scan)
    assert list(scan._found) == [folder]
    shutil.rmtree(folder)
    next_roster({}, settings.artifacts, latest_s=CUTOFF_S, scan=scan)
    assert scan._found == {}


GONE = "20260109T000000Z-00000000"


def events(settings):
    return [(record.event, record.details.get("version")) for record in records(settings.audit.read_bytes())]


def test_a_pointer_steers_a_running_job_there_and_back_and_its_fault_is_recorded_once(settings, publish, looks):
    older, newer = publish(1), publish(2)
    looks(2)
    for version in (older.name, GONE, newer.name):
        write_pointer(settings.artifacts, "toyville", Pointer(champion=version))
        looks(3)
    assert in_force(settings) == {"toyville": str(newer)}
    taken = [("artifact_in_force", one.name) for one in (newer, older, newer)]
    assert events(settings) == [*taken[:2], ("artifact_refused", None), taken[2]]


def test_each_damage_of_a_pointer_is_recorded_once(settings, publish, looks):
    publish(1)
    looks(2)
    for content in ("{", "[]", "[]\n", "{"):
        pointer_path(settings.artifacts, "toyville").write_text(content)
        looks(3)
    refused = [
        record.details["reason"]
        for record in records(settings.audit.read_bytes())
        if record.event == "artifact_refused"
    ]
    assert len(refused) == 3  # a line's end makes no other damage
    assert (refused[0], refused[0] != refused[1]) == (refused[2], True)


@pytest.mark.parametrize("content", [f'{{"champion":"{GONE}"}}', "damaged"])
def test_a_start_with_nothing_in_force_fails_when_its_pointer_names_nothing_usable(settings, publish, looks, content):
    publish(1)
    pointer_path(settings.artifacts, "toyville").write_text(content)
    with pytest.raises(ArtifactError, match=r"no usable artifact in .*pointer\.json.*") as failed:
        looks()
    assert "lifecycle promote REGION" in str(failed.value)


def test_a_pointer_is_followed_at_once_and_a_folder_at_the_next_look(settings, publish):
    older, newer = publish(1), publish(2)
    watch = RosterWatch.of(settings)
    for now_s in (0, 2, 4):  # two looks at least: the first learns of the regions
        watch.look(now_s)
    for version in (older, newer, older):
        write_pointer(settings.artifacts, "toyville", Pointer(champion=version.name))
        watch.look(4.1)
        assert in_force(settings) == {"toyville": str(version)}
    pointer_path(settings.artifacts, "toyville").unlink()
    watch.look(4.1)
    assert in_force(settings) == {"toyville": str(newer)}
    newest = publish(3)
    watch.look(4.2)
    assert in_force(settings) == {"toyville": str(newer)}
    watch.look(6.2)
    assert in_force(settings) == {"toyville": str(newest)}


def test_a_challenger_is_named_while_it_can_be_read_and_no_longer(settings, publish):
    challenger, champion = publish(1), publish(2)
    watch = RosterWatch.of(settings)
    write_pointer(settings.artifacts, "toyville", Pointer(champion=champion.name))
    watch.look(0)
    assert watch.challenger("toyville") is None
    write_pointer(settings.artifacts, "toyville", Pointer(champion=champion.name, challenger=challenger.name))
    watch.look(10)
    assert watch.challenger("toyville") == challenger.name
    shutil.rmtree(challenger)
    watch.look(20)
    assert watch.challenger("toyville") is None
    assert in_force(settings)["toyville"] == str(champion)
