"""A file's incidents in a mask are left out and told, as the stream counts; the artifact does not betray them."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from incident_risk import app
from lifecycle.archive import file_days
from models.evaluation.tasks import task_of
from models.files.data_report import read_past, row_counts
from models.files.incident_archive import Meaning
from models.files.layouts import parse_layout
from models.training.region_tasks import RegionTask, read_regions
from models.training.train_region import prepare, train_region
from schemas.areas import read_masks
from schemas.decode import decode_messages
from schemas.errors import ArtifactError, DataError
from schemas.incidents import COUNTED_ORIGIN
from tests.harness.masks import box, mask_file
from tests.harness.small_town import LAYOUT, START_S, write_town
from tests.harness.task_file import task_file
from tests.harness.toy import iso, toy_messages, toy_record

pytestmark = pytest.mark.usefixtures("quick_training")
RING = box(-86.9812347, 41.0112341, -86.9712343, 41.0187349)
ON_BORDERS = [*RING[:4], (-86.975, RING[0][1]), (-86.975, RING[2][1]), (RING[0][0], 41.0155), (RING[2][0], 41.0155)]
NOW_S = 1_700_000_000


@pytest.fixture(scope="module")
def town(tmp_path_factory):
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


def test_rows_in_a_mask_are_left_out_and_told(town):
    task, masks = town
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


def test_training_counts_what_the_stream_counts(town):
    """Also where the file's row lies on the border of the mask to the last digit."""
    task, masks = town
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


def test_no_artifact_holds_a_coordinate_of_a_mask_but_the_digest(town, tmp_path):
    task, masks = town
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


def test_a_training_like_an_artifact_of_other_masks_is_refused(town, tmp_path):
    task, masks = town
    folder, _ = train_region(prepare(task), tmp_path, report=lambda what, share: None)
    bare = msgspec.structs.replace(task, like=str(folder), masks="")
    with pytest.raises(DataError, match=f"digest of its masks is none, that of the artifact {masks.digest}"):
        prepare(bare)
    prepare(msgspec.structs.replace(task, like=str(folder)))
    words = ["disparity", "--region", "town", "--groups", tmp_path / "groups.csv", "--data", task.data]
    (tmp_path / "groups.csv").write_text("cell,group\nr000c000,a\nr000c001,b\n")
    words += ["--layout", LAYOUT, "--artifacts", tmp_path, "--out", tmp_path / "out"]
    refused = CliRunner().invoke(app, [str(word) for word in words])
    said = str(refused.exception or refused.output)
    assert "the data do not fit the artifact: digest of its masks" in said
    assert "--masks" in said


def test_an_archive_takes_a_file_with_the_masks_of_its_region_alone_and_says_them(town):
    task, masks = town
    spec = prepare(task).spec
    past = read_past(Path(task.data), parse_layout(LAYOUT), now_s=NOW_S, masks=masks)
    days = file_days(past, spec, set()).days
    assert sum(day.incidents for day in days) < len(past) < len(all_of(task))
    assert masks.digest in Meaning.of(spec).text()
    with pytest.raises(ArtifactError, match="it is given no masks"):
        file_days(all_of(task), spec, set())
    with pytest.raises(DataError, match="masks, and archive:days"):
        RegionTask(data="archive:days", region="town", masks=task.masks)


def test_a_file_of_tasks_names_its_masks_from_its_own_folder(tmp_path):
    path = task_file(tmp_path / "task.toml", data="a.csv", layout="sample", region="a", masks="masks.geojson")
    assert read_regions(path)[0].masks == str(tmp_path / "masks.geojson")


def test_masks_that_hold_everything_are_refused(town, tmp_path):
    task, _ = town
    path = mask_file(tmp_path / "all.geojson", box(-88, 40, -86, 42))
    with pytest.raises(DataError, match="incidents of the file are masked"):
        prepare(msgspec.structs.replace(task, masks=str(path)))


def test_masks_that_hold_no_incident_as_with_exchanged_coordinates_are_warned_of(town, tmp_path):
    task, _ = town
    path = mask_file(tmp_path / "exchanged.geojson", [[lat, lon] for lon, lat in RING])
    (warning,) = {*prepare(msgspec.structs.replace(task, masks=str(path))).warnings} - {*prepare(task).warnings}
    assert warning.startswith("no incident lies in a mask: ")
