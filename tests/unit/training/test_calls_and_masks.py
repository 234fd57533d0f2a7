"""What of a file is counted: repeated calls are merged and masked places left out, by the rule of the stream."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from incident_risk import app
from lifecycle.archive import ArchiveTable, file_days
from models.artifact import newest_artifacts, pack_history, read_artifact, unpack_history
from models.counting.count_state import CountState
from models.evaluation.tasks import task_of
from models.files.data_report import read_past, row_counts
from models.files.incident_archive import Meaning, read_archive
from models.files.incident_files import merge_repeated, merged_as_in_the_stream, read_incidents
from models.files.layouts import parse_layout
from models.fine_counts import PSEUDO_COUNTS, fine_counts, shrunk
from models.training import train_region as module
from models.training.region_tasks import RegionTask
from models.training.replay import IncidentHistory, Replay
from models.training.train_region import prepare, train_region
from schemas.areas import read_masks
from schemas.decode import decode_messages
from schemas.errors import ArtifactError, DataError
from schemas.fine import FINE_FILE
from schemas.incidents import COUNTED_ORIGIN
from schemas.spec import DAY_S, HOUR_S
from tests.harness.small_town import LAYOUT, START_S, task_file, write_town
from tests.harness.toy import box, iso, mask_file, toy_artifact, toy_messages, toy_record, toy_spec, toy_table
from tests.unit.counting.test_count_state import assert_same_rings

pytestmark = pytest.mark.usefixtures("quick_training")
FIRST_S = 1_700_006_400  # a midnight
CUTOFF_S = FIRST_S + 5 * DAY_S
SPEC = toy_spec(4, 4, merge="repeated_calls", categories=("ems", "fire"))
KINDS = ("one second", "seconds")


def busy_table(kind):
    """Six days of calls, each reported up to four times within a quarter of an hour and some 300 m."""
    draw = np.random.default_rng(11)
    first = np.repeat(np.sort(draw.integers(FIRST_S, FIRST_S + 6 * DAY_S, 400)), 4)
    count = len(first)
    again_s = draw.integers(0, 1000, count) if kind == "seconds" else np.zeros(count, np.int64)
    place = np.repeat(draw.uniform(0.002, 0.03, (400, 2)), 4, axis=0) + draw.normal(0, 0.0012, (count, 2))
    at_s = first + again_s
    order = np.argsort(at_s, kind="stable")
    return toy_table(
        at_s[order],
        lat_deg=41.0 + place[order, 0],
        lon_deg=-87.0 + place[order, 1],
        category=np.repeat(draw.integers(0, 2, 400), 4)[order].astype(np.int16),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learned_is_what_the_counts_hold(kind):
    table = busy_table(kind)
    past = IncidentHistory.of(table, SPEC, CUTOFF_S)
    assert len(past.calls) > 1.5 * len(past.incidents)
    state = Replay(past).lead_to(CUTOFF_S)
    np.testing.assert_array_equal(state.shape(state.levels["day"].sum_of_newest(6)), past.counts(FIRST_S, CUTOFF_S))
    every = IncidentHistory.of(table, msgspec.structs.replace(SPEC, merge="none"), CUTOFF_S)
    assert every.incidents is every.calls
    assert len(every.calls) == len(past.calls)


def test_it_is_the_rule_of_the_files():
    """Of calls of one second the key decides and not the row: each is another one, but as many are left."""
    table = busy_table("seconds")
    inside = SPEC.grid.locate(table.lat_deg, table.lon_deg)[1]
    past = IncidentHistory.of(table, SPEC, FIRST_S + 7 * DAY_S)
    merged, in_stream = merge_repeated(table.select(inside)), merged_as_in_the_stream(table, inside, SPEC)
    assert abs(len(merged) - len(past.incidents)) <= 2
    assert len(in_stream) - np.count_nonzero(~inside) == len(past.incidents)
    assert in_stream.repeated_calls == len(table) - len(in_stream)
    assert merged_as_in_the_stream(table, inside, msgspec.structs.replace(SPEC, merge="none")) is table


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cutoff_s", [CUTOFF_S, CUTOFF_S + 137, CUTOFF_S + 3 * HOUR_S])
def test_a_cold_start_goes_on_as_if_it_had_run_since_the_first_call(kind, cutoff_s):
    whole = IncidentHistory.of(busy_table(kind), SPEC, FIRST_S + 7 * DAY_S).calls
    until = IncidentHistory.of(busy_table(kind), SPEC, cutoff_s)
    packed = pack_history(Replay(until).lead_to(cutoff_s))
    cold = unpack_history(packed, Path("history.npz"), SPEC, first_day=1, cutoff_s=cutoff_s)
    warm = CountState(SPEC)
    warm.advance(FIRST_S)
    for state, since_s in ((warm, FIRST_S), (cold, cutoff_s)):
        for day_s in range(FIRST_S, FIRST_S + 7 * DAY_S, DAY_S):
            chosen = (whole.occurred_s >= max(since_s, day_s)) & (whole.occurred_s < day_s + DAY_S)
            if chosen.any():
                state.apply(whole.select(np.flatnonzero(chosen)), max(day_s + DAY_S, state.as_of_s))
    assert_same_rings(warm, cold)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A town's file in which each incident was reported a second time, a minute later."""
    folder = tmp_path_factory.mktemp("town")
    file = write_town(folder / "once.csv", seed=1)
    header, *rows = file.read_text(encoding="utf-8").splitlines()
    return folder, file, header, rows


def a_minute_later(row):
    time, rest = row.split(",", 1)
    return f"{iso(datetime.fromisoformat(time).timestamp() + 60)},{rest}"


def train(out, file, **fields):
    quick = {"epochs": 1, "step_minutes": 1440}
    task = task_file(file.with_suffix(".toml"), data=file, layout=LAYOUT, region="town", **quick, **fields)
    return CliRunner().invoke(app, ["train", str(task), "--out", str(out)])


def test_train_writes_the_rule_into_the_spec_and_says_how_many_were_merged(town, tmp_path):
    _, _, header, rows = town
    twice = tmp_path / "twice.csv"
    twice.write_text("\n".join([header, *sorted([*rows, *map(a_minute_later, rows)])]) + "\n", encoding="utf-8")
    out = tmp_path / "artifacts"
    ran = train(out, twice, merge="repeated_calls")
    assert ran.exit_code == 0, ran.output
    assert "repeated calls: left out" in ran.output
    [folder] = newest_artifacts(out)["town"]
    artifact = read_artifact(folder)
    assert artifact.spec.merge == "repeated_calls"
    assert "repeated calls | left out |" in artifact.card
    assert artifact.manifest.data.incidents == artifact.history().levels["day"].sum_of_newest(400).sum() <= len(rows)
    like = RegionTask(data=str(twice), layout=LAYOUT, region="town", like=str(folder))
    assert prepare(like).spec == artifact.spec
    counting_all = msgspec.structs.replace(artifact.spec, merge="none")
    other = toy_artifact(tmp_path / "plain", counting_all)
    with pytest.raises(DataError, match="counts every call"):
        prepare(msgspec.structs.replace(like, like=str(other), merge="repeated_calls"))


def test_an_archive_of_merged_counts_is_not_merged_again_and_one_of_all_calls_is_refused(town, tmp_path):
    file = town[1]
    table = read_incidents(file, parse_layout(LAYOUT))
    task = RegionTask(data=str(file), layout=LAYOUT, region="town", merge="repeated_calls")
    merging = prepare(task).spec
    counted = {}
    for merge in ("none", "repeated_calls"):
        spec = msgspec.structs.replace(merging, merge=merge)
        place = f"{tmp_path}/{merge}"
        ArchiveTable(place, {}).append(spec, file_days(table, spec, set()).days, "file")
        archived = read_archive(f"archive:{place}")
        assert archived.meaning == Meaning.of(spec)
        past = IncidentHistory.of(archived.table, spec, archived.until_s)
        assert len(past.incidents) == len(archived.table)
        assert Replay(past).lead_to(archived.until_s).levels["day"].sum_of_newest(400).sum() == len(archived.table)
        counted[merge] = len(archived.table)
        ready = prepare(RegionTask(data=f"archive:{place}", region="town"))
        assert ready.spec.merge == merge
        other = msgspec.structs.replace(merging, merge="none" if merge == "repeated_calls" else "repeated_calls")
        with pytest.raises(DataError, match="has no counts of town"):
            read_archive(f"archive:{place}", region="town", like=other)
    assert counted["repeated_calls"] < counted["none"]
    with pytest.raises(DataError, match="no calls to merge"):
        prepare(RegionTask(data=f"archive:{tmp_path}/none", region="town", merge="repeated_calls"))
    assert "merge" not in Meaning.of(msgspec.structs.replace(merging, merge="none")).text()


RING = box(-86.9812347, 41.0112341, -86.9712343, 41.0187349)
ON_BORDERS = [*RING[:4], (-86.975, RING[0][1]), (-86.975, RING[2][1]), (RING[0][0], 41.0155), (RING[2][0], 41.0155)]
NOW_S = 1_700_000_000


@pytest.fixture(scope="module")
def masked_town(tmp_path_factory):
    """The task of a town with masks, and its masks."""
    folder = tmp_path_factory.mktemp("town")
    path = mask_file(folder / "masks.geojson", RING)
    data = write_town(folder / "town.csv", seed=3)
    with data.open("a", encoding="utf-8") as file:
        file.writelines(f"{iso(START_S + 86_400)},{lat},{lon},fire\n" for lon, lat in ON_BORDERS)
    task = RegionTask(
        data=str(data), layout=LAYOUT, region="town", masks=str(path), epochs=1, step_minutes=1440, cell_m=1000
    )
    return task, read_masks(path)


def all_of(task):
    return read_past(Path(task.data), parse_layout(LAYOUT), now_s=NOW_S)


def hidden_in(table):
    """By comparison with the box, without the code of masks."""
    (west, south), (east, north) = RING[0], RING[2]
    return (table.lat_deg >= south) & (table.lat_deg < north) & (table.lon_deg >= west) & (table.lon_deg < east)


def test_rows_in_a_mask_are_left_out_and_told(masked_town):
    task, masks = masked_town
    ready, table = prepare(task), all_of(task)
    hidden = hidden_in(table)
    assert 50 < hidden.sum() < len(table) / 2
    assert ready.incidents.row.tolist() == table.row[~hidden].tolist()
    lines = {line.what: (line.rows, line.decision) for line in row_counts(ready.counted, ready.spec.grid)}
    assert lines["masked"] == (hidden.sum(), "left out")
    assert lines["rows in the file"] == (len(table), "read")
    assert ready.spec.masked == masks.digest
    judged = task_of(task, step="hour", now_s=NOW_S)
    assert {line.what: line.rows for line in judged.row_counts}["masked"] == hidden.sum()


def test_training_counts_what_the_stream_counts(masked_town):
    """Also where the file's row lies on the border of the mask to the last digit."""
    task, masks = masked_town
    ready, table = prepare(task), all_of(task)
    events = [
        json.dumps(
            toy_record(
                region="town",
                incident_id=table.incident_id(row),
                occurred_at=iso(int(table.occurred_s[row])),
                received_at=iso(int(table.occurred_s[row])),
                category=table.categories[table.category[row]],
                lat=float(table.lat_deg[row]),
                lon=float(table.lon_deg[row]),
            )
        ).encode()
        for row in range(len(table))
    ]
    messages = toy_messages(events, table.occurred_s * 1000)
    incidents = decode_messages(messages, {"town": ready.spec}, masks=masks).incidents["town"]
    counted = incidents.select((incidents.flags & COUNTED_ORIGIN) == COUNTED_ORIGIN)
    learned = ready.history().incidents
    columns = ("occurred_s", "cell", "category")
    streamed, trained = (
        sorted(zip(*(getattr(part, name).tolist() for name in columns), strict=True)) for part in (counted, learned)
    )
    assert streamed == trained
    assert 1000 < len(trained) < len(incidents)


def test_no_artifact_holds_a_coordinate_of_a_mask_but_the_digest(masked_town, tmp_path):
    task, masks = masked_town
    folder, _ = train_region(prepare(task), tmp_path, report=lambda what, share: None)
    cold = ["train", "--region", "c", "--timezone", "UTC", "--bounds", "40.99,-87.01,41.05,-86.94"]
    cold += ["--per-day", "fire=3", "--masks", task.masks, "--out", str(tmp_path)]
    assert CliRunner().invoke(app, cold, catch_exceptions=False).exit_code == 0
    contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(f'"masked":"{masks.digest}"'.encode() in content.replace(b" ", b"") for content in contents) == 2
    for number in {number for place in RING for number in place}:
        text = f"{abs(number):.7f}"[:-1].encode()
        assert not any(text in content or np.float64(number).tobytes() in content for content in contents)
    assert b"masked" in (folder / "card.md").read_bytes()


def test_squares_hold_what_is_known_at_the_cut_off_and_not_masked_and_an_archive_keeps_those_that_there_are(
    masked_town, tmp_path, monkeypatch
):
    task, _ = masked_town
    task = msgspec.structs.replace(task, fine=4, answered_by=("ems", "fire"), until="2020-11-05")
    ready, table = prepare(task), all_of(task)
    train, trained = module.train, []

    def train_once(*args, **options):
        trained[:] = trained or [train(*args, **options)]
        return trained[0]

    monkeypatch.setattr(module, "train", train_once)
    folder, _ = train_region(ready, tmp_path, report=lambda what, share: None)
    artifact = read_artifact(folder)
    known = ~hidden_in(table) & (table.occurred_s < ready.cutoff_s)
    assert 0 < (~known).sum() < known.sum()
    history = IncidentHistory.of(table.select(known), ready.spec, ready.cutoff_s)
    counts = fine_counts(history.incidents, ready.spec.grid, 4)
    assert len(counts.cell) > 12
    possible = [shrunk(counts, pseudo_count).pack() for pseudo_count in PSEUDO_COUNTS]
    assert (folder / FINE_FILE).read_bytes() in possible
    assert "4 x 4 squares of 250 m" in artifact.card
    assert "a patrol map" in artifact.card
    assert "squares" not in read_artifact(toy_artifact(tmp_path, toy_spec(fine=1))).card
    like = msgspec.structs.replace(task, like=str(folder))
    monkeypatch.setattr(module.time, "time", lambda: 2_000_000_000.0)
    archived = replace(prepare(like), archived=SimpleNamespace(version=1, sha256="0"))
    again, _ = train_region(archived, tmp_path, report=lambda what, share: None)
    assert (again / FINE_FILE).read_bytes() == (folder / FINE_FILE).read_bytes()
    assert folder.name in read_artifact(again).card


def test_a_training_like_an_artifact_of_other_masks_is_refused(masked_town, tmp_path):
    task, masks = masked_town
    like = msgspec.structs.replace(task, like=str(toy_artifact(tmp_path, prepare(task).spec)))
    assert prepare(like).spec.masked == masks.digest
    with pytest.raises(DataError, match=f"digest of its masks is none, that of the artifact {masks.digest}"):
        prepare(msgspec.structs.replace(like, masks=""))
    words = ["disparity", "--region", "town", "--groups", tmp_path / "groups.csv", "--data", task.data]
    (tmp_path / "groups.csv").write_text("cell,group\nr000c000,a\nr000c001,b\n")
    words += ["--layout", LAYOUT, "--artifacts", tmp_path, "--out", tmp_path / "out"]
    with pytest.raises(DataError, match=r"the data do not fit the artifact: digest of its masks.*--masks"):
        CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_an_archive_takes_a_file_with_the_masks_of_its_region_alone_and_says_them(masked_town):
    task, masks = masked_town
    spec = prepare(task).spec
    past = read_past(Path(task.data), parse_layout(LAYOUT), now_s=NOW_S, masks=masks)
    days = file_days(past, spec, set()).days
    assert sum(day.incidents for day in days) < len(past) < len(all_of(task))
    assert masks.digest in Meaning.of(spec).text()
    with pytest.raises(ArtifactError, match="it is given no masks"):
        file_days(all_of(task), spec, set())
    with pytest.raises(DataError, match="masks, and archive:days"):
        RegionTask(data="archive:days", region="town", masks=task.masks)


def test_masks_that_hold_everything_are_refused_and_exchanged_coordinates_are_warned_of(masked_town, tmp_path):
    task, _ = masked_town
    every = mask_file(tmp_path / "all.geojson", box(-88, 40, -86, 42))
    with pytest.raises(DataError, match="incidents of the file are masked"):
        prepare(msgspec.structs.replace(task, masks=str(every)))
    exchanged = mask_file(tmp_path / "exchanged.geojson", [[lat, lon] for lon, lat in RING])
    (warning,) = {*prepare(msgspec.structs.replace(task, masks=str(exchanged))).warnings} - {*prepare(task).warnings}
    assert warning.startswith("no incident lies in a mask: ")
