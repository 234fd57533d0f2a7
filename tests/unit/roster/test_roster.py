"""The roster: which artifact is in force, which is refused, and how a job that runs follows it."""

import errno
import logging
import pickle
import shutil
import sys
import time
from contextlib import nullcontext
from math import inf
from pathlib import Path
from subprocess import run

import pytest
from hypothesis import given
from hypothesis import strategies as st

import models.artifact
import streaming.artifacts_in_force
from models.artifact import read_artifact
from schemas.areas import read_masks
from schemas.audit import records
from schemas.errors import ArtifactError
from schemas.records import Pointer, pointer_path, read_roster, roster_path, write_pointer
from streaming.artifacts_in_force import (
    KEPT_VERSIONS,
    ArtifactCache,
    ArtifactScan,
    RosterWatch,
    load_artifact,
    next_roster,
    refresh_roster,
    refuse_unfit,
    spec_of,
)
from streaming.cli.doctor import examine
from streaming.settings import Settings
from tests.harness.forged_artifact import forge
from tests.harness.toy import box, mask_file, toy_artifact, toy_spec

CUTOFF_S = 1_767_225_600


@pytest.fixture
def publish(tmp_path):
    """publish(day, region, field of the spec=...): its folder. The artifact of the last day is the newest."""

    def publish(day, region="toyville", *, cutoff_s=CUTOFF_S, **changes):
        spec = toy_spec(region=region, **changes)
        return toy_artifact(tmp_path / "artifacts", spec, cutoff_s=cutoff_s, created=f"202601{day:02d}T000000Z")

    return publish


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
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tick_s": 30}, "tick_s was 60 and is 30"),
        ({"categories": ("ems", "fire")}, "categories was fire, ems and is ems, fire"),
        ({"slide_s": 900, "late_limit_s": 3600}, "slide_s was 300 and is 900; late_limit_s was 86400 and is 3600"),
        ({"counted_origins": ("sensor",)}, "counted_origins was public_call, sensor, responder and is sensor"),
    ],
)
def test_another_spec_is_refused_with_the_fields_that_differ_while_the_counts_of_the_old_one_are_kept(
    publish, refresh, tmp_path, changes, text
):
    first = publish(1)
    refresh()
    publish(2, **changes)
    in_force, refused = refresh()
    assert in_force == {"toyville": str(first)}
    [reason] = refused.values()
    assert all(part in reason for part in (FINGERPRINT, "checkpoint --reset", f"({text})"))
    refresh("another.json")
    assert fingerprint(tmp_path, "another.json") == toy_spec(**changes).fingerprint()


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
    assert "risk promote REGION" in refused[str(path)]


@pytest.fixture
def looks(settings):
    """looks(times): a job that has started looks again, so many times."""
    watch, now_s = RosterWatch(settings), [0]

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
            RosterWatch(settings).look(1)
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
        RosterWatch(settings, take=taken.append).look(1)
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
    assert list(scan._scanned) == [folder]
    shutil.rmtree(folder)
    next_roster({}, settings.artifacts, latest_s=CUTOFF_S, scan=scan)
    assert scan._scanned == {}


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
    assert "risk promote REGION" in str(failed.value)


def test_a_pointer_is_followed_at_once_and_a_folder_at_the_next_look(settings, publish):
    older, newer = publish(1), publish(2)
    watch = RosterWatch(settings)
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
    watch = RosterWatch(settings)
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
        RosterWatch(settings).look(1)


def test_a_start_with_other_masks_than_those_in_force_is_refused_and_leaves_the_roster(publish, settings):
    path = settings.checkpoint / "roster.json"
    in_force = publish(1, masked="0123456789abcdef")
    refresh_roster(path, settings.artifacts, masked="0123456789abcdef")
    before = path.read_bytes()
    publish(2, masked=read_masks(settings.masks).digest)  # its spec does not fit the stored counts
    watch = RosterWatch(settings, masked=read_masks(settings.masks).digest)
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


def counting():
    reads = []

    def read(folder):
        reads.append(folder)
        return [folder]

    return ArtifactCache(read), reads


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4))))
def test_it_gives_what_reading_gives_and_the_last_asked_for_are_not_read_again(asked):
    kept, reads = counting()
    by_region = {}
    for region, version in asked:
        folder = f"/artifacts/{region}/{version}"
        latest = by_region.setdefault(region, [])
        before = len(reads)
        assert kept(folder) == [folder]
        assert len(reads) == before + (folder not in latest[-KEPT_VERSIONS:])
        by_region[region] = [other for other in latest if other != folder] + [folder]


def test_a_failure_is_not_remembered(tmp_path):
    kept = ArtifactCache(lambda folder: Path(folder).read_bytes())
    with pytest.raises(FileNotFoundError):
        kept(str(tmp_path / "v1"))
    (tmp_path / "v1").write_bytes(b"there")
    assert kept(str(tmp_path / "v1")) == b"there"


def test_what_was_read_by_other_means_is_not_read_again_and_takes_the_place_of_what_was_kept():
    kept, reads = counting()
    kept("/a/r/1")
    kept.keep("/a/r/1", ["newer"])
    kept.keep("/a/r/2", ["other"])
    assert (kept("/a/r/1"), kept("/a/r/2"), reads) == (["newer"], ["other"], ["/a/r/1"])
    kept.keep("/a/r/3", [])
    kept.keep("/a/r/4", [])
    assert list(kept._values["/a/r"]) == ["/a/r/2", "/a/r/3", "/a/r/4"]


@pytest.mark.parametrize("kept", [load_artifact, spec_of])
def test_what_is_sent_to_workers_is_its_name_not_what_it_keeps(kept):
    assert pickle.loads(pickle.dumps(kept)) is kept  # noqa: S301


LOOKS = """
import os, sys
from concurrent.futures import ProcessPoolExecutor
from streaming.artifacts_in_force import RosterWatch
from streaming.settings import Settings

killed = sys.argv[1] == "killed"
submit, processes = ProcessPoolExecutor.submit, []

def submit_or_kill(pool, *call):
    processes.append(pool)
    return submit(pool, os.abort) if killed else submit(pool, *call)  # as by the system, when memory runs out

ProcessPoolExecutor.submit = submit_or_kill
watch = RosterWatch(Settings.from_environment(dict(line.split("=", 1) for line in sys.argv[2:])))
watch.look(1)
ProcessPoolExecutor.submit = None  # what was tried is not tried again
watch.look(4)
assert ("torch" in sys.modules) == killed
assert len(processes) == 2
assert len(set(processes)) == (2 if killed else 1)  # a killed one is replaced
"""


@pytest.mark.parametrize("child", ["lives", "killed"])
def test_a_job_tries_networks_in_a_process_that_ends_and_if_it_is_killed_in_its_own(publish, tmp_path, child):
    """torch would stay in the driver with 250 MiB."""
    publish(1)
    broken = forge(publish(1, "otherville"), weights__safetensors=b"{}")
    settings = [
        f"RISK_ARTIFACTS={tmp_path / 'artifacts'}",
        f"RISK_CHECKPOINT={tmp_path}",
        f"RISK_AUDIT={tmp_path / 'a'}",
    ]
    ran = run([sys.executable, "-c", LOOKS, child, *settings], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    in_force = [entry.details for entry in records((tmp_path / "a").read_bytes()) if entry.event == "artifact_in_force"]
    fault = read_artifact(broken).network_fault
    assert fault
    assert {each["region"]: each["network_fault"] for each in in_force} == {"otherville": fault, "toyville": None}
