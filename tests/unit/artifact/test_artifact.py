"""Artifacts: read back to the last bit, refused where changed, chosen by a pointer, and explained."""

import re
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from incident_risk import app
from models.artifact import (
    FILES,
    DataSource,
    Training,
    candidates_by_region,
    challenger_of,
    champion_of,
    newest_artifacts,
    read_artifact,
    read_spec,
)
from models.counting.blobs import export_state
from models.counting.count_state import CountState
from models.features import FeatureEngine
from models.network_kinds import Hyperparameters, RecipeFile
from models.scoring import score
from schemas.errors import ArtifactError, DataError
from schemas.records import Pointer, pointer_path, read_pointer, write_pointer
from schemas.spec import DAY_S
from streaming.rehearse.incident_replay import ARTIFACTS
from tests.harness.forged_artifact import assert_refused
from tests.harness.toy import publish_artifact, toy_artifact, toy_constants, toy_network, toy_spec, toy_tuned_on

NOW = 1_700_000_000
SPEC = toy_spec(2, 3)
CONSTANTS = toy_constants(
    SPEC,
    profile=np.random.default_rng(0).gamma(3, size=(2, 168)),
    day_lift=np.random.default_rng(1).gamma(3, size=(6, 2, 16)),
)


def network():
    torch.manual_seed(1)
    made = toy_network(SPEC)
    torch.nn.init.normal_(made.leave.weight)
    return made


def history():
    state = CountState(SPEC)
    state.advance(NOW)
    random = np.random.default_rng(2)
    for level in state.levels.values():
        level.add(NOW - random.integers(0, 40 * 86_400, 300), random.integers(0, 12, 300), 1)
    return state


def write(folder, **changes):
    parts = {
        "card": "what it is for",
        "data": DataSource(file_name="a.csv", sha256="0", layout="sample", incidents=300, first_s=1, cutoff_s=NOW),
        "libraries": {"numpy": np.__version__},
        "evaluation": [{"horizon": "1h", "difference": -0.1}],
    }
    return publish_artifact(
        folder, spec=SPEC, constants=CONSTANTS, network=network(), history=history(), **parts | changes
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write(tmp_path_factory.mktemp("artifacts"))


def test_what_is_written_scores_as_before_to_the_last_bit(published):
    artifact = read_artifact(published)
    assert artifact.network_fault is None
    assert artifact.card == "what it is for"
    assert read_spec(published) == artifact.spec
    assert artifact.version == published.name
    wanted = history()
    wanted.history_end_s, wanted.first_day = NOW, int(CONSTANTS.first_day)
    assert export_state(artifact.history()) == export_state(wanted)
    before = FeatureEngine(SPEC, CONSTANTS).compute(history()).values
    after = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    assert before.tobytes() == after.tobytes()
    expected = score(before, network(), CONSTANTS, SPEC)
    read_back = score(after, artifact.network(), artifact.constants, artifact.spec)
    assert (expected.expected != expected.usual).any()
    assert expected.expected.tobytes() == read_back.expected.tobytes()


def test_a_manifest_says_how_the_network_was_trained(published, tmp_path):
    recipe = RecipeFile(recipe=Hyperparameters(widths=(24, 16), learning_rate=0.01), tuned_on=toy_tuned_on())
    training = Training(epochs=3, step_minutes=60, workers=2, device="cpu", fitted_until_s=NOW)
    manifest = read_artifact(write(tmp_path, recipe=recipe, training=training)).manifest
    assert (manifest.recipe, manifest.tuned_on, manifest.training) == (recipe.recipe, recipe.tuned_on, training)
    untrained = read_artifact(published).manifest
    assert (untrained.recipe, untrained.tuned_on, untrained.training) == (None, None, None)


def test_a_large_region_fits_into_an_artifact(tmp_path):
    spec = toy_spec(150, 150, categories=("assault", "battery", "criminal_damage", "theft"))
    folder = toy_artifact(tmp_path, spec, cutoff_s=NOW)
    assert read_artifact(folder).constants.day_lift.shape == (22_500, 4, 16)


def test_a_history_is_a_new_state_each_time_and_ends_at_the_cut_off_unless_it_is_empty(published, tmp_path):
    artifact = read_artifact(published)
    artifact.history().advance(NOW + 10**9)
    assert (artifact.history().as_of_s, artifact.history().history_end_s) == (NOW, NOW)
    empty = read_artifact(toy_artifact(tmp_path, SPEC, cutoff_s=NOW)).history()
    assert (empty.history_end_s, empty.first_day) == (0, NOW // DAY_S)


@pytest.mark.fault("F28")
@pytest.mark.parametrize("share", [None, 0, 0.5, 0.99])
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_file_that_is_missing_or_was_cut_off_is_refused_and_spares_the_baseline_only_in_the_weights(
    artifact_copy, name, share
):
    content = (artifact_copy / name).read_bytes()
    (artifact_copy / name).unlink()
    if share is None:
        assert_refused(artifact_copy, name, name, of_weights="missing")
    else:
        (artifact_copy / name).write_bytes(content[: int(len(content) * share)])
        assert_refused(artifact_copy, name, name.partition(".")[0], of_weights="damaged")


@pytest.mark.fault("F28")
def test_a_file_that_does_not_belong_a_renamed_folder_and_a_changed_manifest_are_refused(artifact_copy):
    (artifact_copy / "hook.py").write_text("print('hello')")
    with pytest.raises(ArtifactError, match=r"hook\.py"):
        read_artifact(artifact_copy)
    (artifact_copy / "hook.py").unlink()
    path = artifact_copy / "manifest.json"
    content = path.read_bytes()
    for was, now, said in (
        (b'"UTC"', b'"Europe/Berlin"', "spec was changed"),
        (b'"seed"', b'"on_load": "run me", "seed"', "on_load"),
    ):
        path.write_bytes(content.replace(was, now))
        with pytest.raises(ArtifactError, match=said):
            read_artifact(artifact_copy)
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="copy again"):
        read_artifact(artifact_copy.rename(artifact_copy.parent / "20990101T000000Z-00000000"))


def test_the_newest_comes_first_and_half_written_ones_do_not_count(tmp_path):
    old, new = (write(tmp_path, created=f"2026010{day}T000000Z") for day in (1, 2))
    (tmp_path / "toyville" / ".20990101T000000Z-00000000.new").mkdir()
    (tmp_path / "emptyville").mkdir()
    assert newest_artifacts(tmp_path) == {"toyville": [new, old]}
    with pytest.raises(ArtifactError, match="not a folder"):
        newest_artifacts(tmp_path / "nowhere")


def test_a_version_names_its_contents_and_is_never_written_twice(tmp_path):
    first = write(tmp_path)
    assert write(tmp_path, card="another card").name != first.name
    with pytest.raises(ArtifactError, match="exists already"):
        write(tmp_path)
    assert read_artifact(first).card == "what it is for"


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
    assert "risk promote REGION" in by_region["toyville"].fault.remedy
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


def explained(cell, artifacts=ARTIFACTS):
    words = ["explain", "--region", "montgomery", "--artifacts", str(artifacts), "--cell", cell]
    return CliRunner().invoke(app, words, catch_exceptions=False).output


def test_the_printed_parts_multiply_to_the_score_and_a_cell_that_is_none_is_refused():
    artifact = champion_of(ARTIFACTS, "montgomery")
    values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    scores = score(values, artifact.network(), artifact.constants, artifact.spec)
    for cell in (int(scores.expected.sum(axis=(1, 2)).argmax()), 0):
        said = explained(artifact.spec.grid.cell_ids()[cell])
        assert re.search(r"x hour of the week +\d\.\d{3}", said)
        tables = re.split(rf"^(?:{'|'.join(artifact.spec.categories)})\b.*\n", said, flags=re.MULTILINE)[1:]
        for number, table in enumerate(tables):
            filled = [line.rstrip() for line in table.splitlines()[1:] if line.strip()]
            numbers = [re.findall(r" (\d\S*)(?= |$)", line)[-3:] for line in filled]  # three digits each
            *parts, expected, usual = np.array(numbers, float)
            assert np.prod(parts, axis=0) == pytest.approx(expected, rel=0.02)
            assert expected == pytest.approx(scores.expected[cell, number], rel=0.006)
            assert usual == pytest.approx(scores.usual[cell, number], rel=0.006)
        assert len(tables) == len(artifact.spec.categories)
    with pytest.raises(DataError, match="no cell"):
        explained("r999c000")


def test_a_damaged_network_is_said(tmp_path):
    folder = tmp_path / "artifacts"
    shutil.copytree(ARTIFACTS, folder)
    weights = next(folder.rglob("weights.safetensors"))
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes() + b"x")
    said = " ".join(explained("r020c020", folder).split())
    assert re.search(r"warning: \S+weights.safetensors", said)
    assert "the scores are those of the baseline" in said
    assert "x network" not in said
