"""A planted bias is found, and none where there is none; small groups are hidden, and no group's name gets out."""

import csv
import json

import numpy as np
import pytest

from models.artifact import read_artifact
from models.evaluation.disparity import (
    Figures,
    Groups,
    GroupTally,
    files_of,
    read_groups,
    rows_of,
    tables_of,
    tallies_of,
)
from models.training.replay import IncidentHistory, Replay
from schemas.errors import SettingsError
from schemas.frame import riskiest
from streaming.watchers import FrameWatch
from tests.harness.batch import MemorySink, Rows, publisher_to, scored_row
from tests.harness.gate_town import command
from tests.harness.small_town import DAYS, LAYOUT, START_S, write_town
from tests.harness.toy import CUTOFF_S, box, publish_artifact, toy_artifact, toy_grid, toy_network, toy_spec, toy_table

GRID, DAY_S, SEEDS, BIAS = toy_grid(9, 5), 86_400, 100, 1.5


def drawn(mean, *, days=42):
    return np.random.default_rng(0).poisson(mean, (days, *mean.shape)).astype(float)


def judged(groups, expected, counts, categories=("fire",)):
    """The rows of forecasts of a day. expected: (cells, series). counts: (days, cells, series)."""
    tally = GroupTally(groups=groups, top=5)
    for day, observed in enumerate(counts):
        tally.add(day * DAY_S, expected, observed)
    return rows_of({"24h": tally}, categories)


def groups_of(names, people=None):
    """A group for each letter, cell by cell in turn."""
    return Groups.of({cell: names[cell % len(names)] for cell in range(GRID.cells)}, GRID, people)


@pytest.fixture(scope="module")
def biased():
    """By (group, seed) the row of a city in which a forecast expects too few in group a alone."""
    halves, truth = groups_of("ab"), np.random.default_rng(1).gamma(4.0, 0.5, (GRID.cells, SEEDS))
    expected = truth / np.where(halves.of_cell == 0, BIAS, 1.0)[:, None]
    rows = judged(halves, expected, drawn(truth), [str(seed) for seed in range(SEEDS)])
    return {(row.group, row.category): row for row in rows if row.category.isdigit()}


def test_a_planted_bias_is_found_and_without_one_the_interval_covers_1(biased):
    rows = [biased["a", str(seed)] for seed in range(SEEDS)]
    values = np.array([row.figures.observed_over_expected.value for row in rows])
    assert (np.abs(values - BIAS) <= 0.1).sum() >= 95
    assert {row.verdict for row in rows} == {"too low"}
    rows = [biased["b", str(seed)] for seed in range(SEEDS)]
    ratios = [row.figures.observed_over_expected for row in rows]
    covers = [ratio.low <= 1 <= ratio.high for ratio in ratios]
    assert sum(covers) >= 93
    assert [row.verdict == "fits" for row in rows] == covers
    assert np.mean([ratio.high - ratio.low for ratio in ratios]) < 0.15


def test_each_figure_is_that_of_a_plain_count():
    random = np.random.default_rng(4)
    truth = random.gamma(2.0, 1.0, (GRID.cells, 1))
    people = dict(enumerate(random.integers(1, 100, GRID.cells).tolist()))
    counts = drawn(truth, days=30)
    row = judged(groups_of("abc", people), truth, counts)[1]
    first = set(riskiest(truth[:, 0], truth[:, 0], 5).tolist())
    group = set(range(1, GRID.cells, 3))
    share = sum(people[cell] for cell in group) / sum(people.values())
    incidents = {cell: counts[:, cell].sum() for cell in range(GRID.cells)}
    came = sum(incidents[cell] for cell in group)
    assert row.figures.exposure.value == pytest.approx(len(first & group) / 5 / share)
    assert row.figures.incidents.value == pytest.approx(came / counts.sum() / share)
    assert row.figures.observed_over_expected.value == pytest.approx(came / (30 * sum(truth[sorted(group), 0])))
    assert row.figures.missed.value == pytest.approx(sum(incidents[cell] for cell in group - first) / came)


def test_no_time_that_the_model_knows_is_judged_and_the_share_is_of_cells_with_history(tmp_path):
    spec = toy_spec()
    times_s = np.arange(CUTOFF_S - 9 * DAY_S, CUTOFF_S + 3 * DAY_S, 7200)
    lat, lon = (np.resize(of_cells[:10], len(times_s)) for of_cells in spec.grid.centres())
    past = IncidentHistory.of(toy_table(times_s, lat_deg=lat, lon_deg=lon), spec, CUTOFF_S + 3 * DAY_S)
    constants, history = read_artifact(toy_artifact(tmp_path, spec)).constants, Replay(past).lead_to(CUTOFF_S + 100)
    parts = {"constants": constants, "network": toy_network(spec), "history": history}
    artifact = read_artifact(publish_artifact(tmp_path / "learned", spec=spec, **parts))
    groups = Groups.of({cell: "ab"[cell % 2] for cell in range(spec.grid.cells)}, spec.grid)
    tallies = tallies_of(artifact, past, groups, 0.2, lambda share: None)
    assert {tally.moments_s[0] for tally in tallies.values()} == {(CUTOFF_S // 3600 + 1) * 3600}
    assert {tally.top for tally in tallies.values()} == {2}  # of ten


@pytest.mark.parametrize(("cells", "rate"), [(4, 5.0), (15, 0.1)], ids=["few cells", "few incidents"])
def test_a_small_group_is_too_few_and_no_remainder_gives_it_away(cells, rate):
    labels = {cell: "small" if cell < cells else "bc"[cell % 2] for cell in range(GRID.cells)}
    truth = np.where(np.arange(GRID.cells) < cells, rate, 3.0)[:, None]
    rows = judged(Groups.of(labels, GRID), truth, drawn(truth))
    (small,) = (row for row in rows if row.group == "small")
    assert (small.figures, small.verdict) == (None, "too few")
    shown = [row for row in rows if row.figures]
    for name in ("exposure", "incidents"):
        of_all = sum(getattr(row.figures, name).value * row.cells for row in shown)
        assert of_all == pytest.approx(sum(row.cells for row in shown))
    files = files_of(rows, ["about"])
    lines = list(csv.DictReader(files["disparity.csv"].decode().splitlines()))
    written = next(line for line in lines if line["group"] == "small")
    assert set(written.values()) == {"small", "fire", "24h", str(small.cells), "too few", ""}
    assert {"small", "too few", str(small.cells), ""} == set(tables_of(rows)[0][1][-1])


def test_of_a_group_where_nobody_lives_nothing_is_said():
    people, mean = {cell: float(cell % 3) for cell in range(GRID.cells)}, np.ones((GRID.cells, 1))  # none in group a
    rows = judged(groups_of("abc", people), mean, drawn(mean))
    assert [row.verdict == "too few" for row in rows] == [True, False, False]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("cell,group\nr000c000,a\n", "fewer than two"),
        ("cell,group\nr000c000,a\nr000c000,b\n", "twice"),
        ("cell,group\nr099c000,a\n", "line 2: no cell"),
        ("cell,group,people\nr000c000,a,-1\n", "line 2: .*people"),
        ("cell,group\nr000c000,\n", "line 2: .*group"),
        ("place,group\nr000c000,a\n", "cell"),
    ],
)
def test_a_wrong_file_of_groups_is_refused_with_its_line(tmp_path, content, fault):
    (tmp_path / "groups.csv").write_text(content)
    with pytest.raises(SettingsError, match=fault):
        read_groups(tmp_path / "groups.csv", GRID)


def areas_file(path, halves, name="group"):
    """halves: by group, the columns of cells where it begins and ends."""
    lat, lon = GRID.corners()
    features = [
        {
            "type": "Feature",
            "properties": {name: group},
            "geometry": {"type": "Polygon", "coordinates": [box(lon[west], lat[0], lon[east], lat[-1])]},
        }
        for group, (west, east) in halves.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_areas_are_groups_of_the_cells_whose_centres_they_hold_and_wrong_ones_are_refused(tmp_path):
    groups = read_groups(areas_file(tmp_path / "groups.geojson", {"west": (0, 2), "east": (2, -1)}), GRID)
    assert groups.names == ("east", "west")
    assert groups.of_cell.tolist() == [1, 1, 0, 0, 0] * GRID.rows
    with pytest.raises(SettingsError, match="has a cell twice"):
        read_groups(areas_file(tmp_path / "a.geojson", {"west": (0, 3), "east": (2, -1)}), GRID)
    with pytest.raises(SettingsError, match=r"area 1 has None as its name.*give .*a MultiPolygon for each") as refused:
        read_groups(areas_file(tmp_path / "b.geojson", {"west": (0, 2), "east": (2, -1)}, name="district"), GRID)
    assert "--area" not in str(refused.value)  # what the command takes


CANARY = "Canary-Quarter-93c1"


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A folder in which the command ran with a group called CANARY, and then the job's publisher; what it printed."""
    folder = tmp_path_factory.mktemp("town")
    spec = toy_spec(4, 4, region="town")
    artifact = toy_artifact(folder / "artifacts", spec, cutoff_s=START_S + (DAYS - 20) * DAY_S)
    ids = spec.grid.cell_ids()
    lines = ["cell,group", *(f"{cell},{CANARY if number % 2 else 'rest'}" for number, cell in enumerate(ids))]
    (folder / "groups.csv").write_text("\n".join(lines))
    before = {path: path.read_bytes() for path in sorted(artifact.rglob("*")) if path.is_file()}
    words = ["disparity", "--region", "town", "--groups", folder / "groups.csv", "--out", folder / "out"]
    words += ["--data", write_town(folder / "town.csv", seed=1), "--layout", LAYOUT, "--top", "0.2"]
    said = command(*words, "--artifacts", folder / "artifacts", COLUMNS="80")
    assert {path: path.read_bytes() for path in sorted(artifact.rglob("*")) if path.is_file()} == before
    store = MemorySink()
    watch = FrameWatch(folder=folder / "frames", clock="wall", artifacts=folder / "frames")
    publisher_to(store, folder / "checkpoint", watchers=[watch.show])(
        Rows(scored_row(artifact, START_S + DAYS * DAY_S)), 0
    )
    return folder, said, store


def test_the_command_prints_a_table_and_writes_csv_and_a_summary(town):
    folder, output, _ = town
    rows = [line.split() for line in output.splitlines()]
    assert max(map(len, (line for line in output.splitlines() if line.startswith((CANARY[:6], "rest"))))) <= 80
    assert sum(row[:1] == ["rest"] for row in rows) == 3
    assert {path.name for path in (folder / "out").iterdir()} == {"disparity.csv", "summary.md"}
    lines = list(csv.DictReader((folder / "out" / "disparity.csv").read_text().splitlines()))
    assert {(line["category"], line["horizon"]) for line in lines} == {
        (category, horizon) for category in ("all", "fire", "ems") for horizon in ("1h", "4h", "24h")
    }
    assert {line["verdict"] for line in lines} == {"too short"}
    assert set(lines[0]) > {*Figures.__struct_fields__, "exposure_low", "missed_high"}
    assert all(line["exposure"] and not line["exposure_low"] for line in lines)
    summary = (folder / "out" / "summary.md").read_text().splitlines()
    of_all = [line for line in summary if line.startswith(("| rest", f"| {CANARY[:6]}"))]
    assert [line.split(" | ")[1] for line in of_all] == [line["cells"] for line in lines if line["category"] == "all"]


def test_no_name_of_a_group_is_in_artifact_frame_or_line_protocol(town):
    folder, output, store = town
    may = {folder / "groups.csv", *(folder / "out").iterdir()}
    assert CANARY[:6] in output
    others = [path for path in folder.rglob("*") if path.is_file() and path not in may]
    assert {path.relative_to(folder).parts[0] for path in others} >= {"artifacts", "frames", "checkpoint"}
    for content in (*(path.read_bytes() for path in others), *store.writes):
        assert CANARY.encode() not in content
        assert b"rest," not in content
    assert any(b"risk," in lines for lines in store.writes)
    assert (folder / "out" / "disparity.csv").read_text().count(CANARY) == 9
