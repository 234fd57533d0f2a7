"""Artifacts: what is written is read back to the last bit; whatever was changed on the way is refused."""

import shutil

import numpy as np
import pytest
import torch

from models.artifact import FILES, DataSource, Training, newest_artifacts, read_artifact, read_spec
from models.counting.blobs import export_state
from models.counting.count_state import CountState
from models.features import FeatureEngine
from models.hyperparameters import Hyperparameters, RecipeFile
from models.scoring import score
from schemas.errors import ArtifactError
from schemas.spec import DAY_S
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


def write(folder, created="20260101T000000Z", card="what it is for", recipe=None, training=None):
    return publish_artifact(
        folder,
        spec=SPEC,
        constants=CONSTANTS,
        network=network(),
        history=history(),
        created=created,
        card=card,
        data=DataSource(file_name="a.csv", sha256="0", layout="sample", incidents=300, first_s=1, cutoff_s=NOW),
        libraries={"numpy": np.__version__},
        evaluation=[{"horizon": "1h", "difference": -0.1}],
        recipe=recipe,
        training=training,
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture
def copy(published, tmp_path):
    return shutil.copytree(published, tmp_path / "toyville" / published.name)


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


def test_a_history_is_a_new_state_each_time(published):
    artifact = read_artifact(published)
    artifact.history().advance(NOW + 10**9)
    assert artifact.history().as_of_s == NOW


def test_counts_begin_with_a_history_that_ends_at_the_cut_off_unless_it_is_empty(published, tmp_path):
    assert read_artifact(published).history().history_end_s == NOW
    folder = toy_artifact(tmp_path, SPEC, cutoff_s=NOW)
    history_end_s, first_day = read_artifact(folder).history().history_end_s, read_artifact(folder).history().first_day
    assert (history_end_s, first_day) == (0, NOW // DAY_S)


@pytest.mark.fault("F28")
def test_a_flipped_bit_is_found_in_every_file_and_spares_the_baseline_only_in_the_weights(copy):
    for name in (*FILES, "manifest.json"):
        path = copy / name
        content = path.read_bytes()
        at = content.index(b'"sha256"') + 14 if name == "manifest.json" else len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        if name == "weights.safetensors":
            damaged = read_artifact(copy)
            assert "damaged" in damaged.network_fault
            assert damaged.network() is None
            values = FeatureEngine(damaged.spec, damaged.constants).compute(damaged.history()).values
            scores = score(values, damaged.network(), damaged.constants, damaged.spec)
            np.testing.assert_array_equal(scores.expected, scores.usual)
        else:
            with pytest.raises(ArtifactError, match=name.partition(".")[0]):
                read_artifact(copy)
        path.write_bytes(content)
    assert read_artifact(copy).network_fault is None


@pytest.mark.fault("F28")
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_file_that_was_cut_off_is_refused_and_spares_the_baseline_only_in_the_weights(copy, name, share):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: int(len(content) * share)])
    assert_refused(copy, name, name.partition(".")[0], of_weights="damaged")


@pytest.mark.fault("F28")
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_named_and_missing_weights_leave_the_baseline(copy, name):
    (copy / name).unlink()
    assert_refused(copy, name, name, of_weights="missing")


@pytest.mark.fault("F28")
def test_a_file_that_does_not_belong_is_refused(copy):
    (copy / "hook.py").write_text("print('hello')")
    with pytest.raises(ArtifactError, match=r"hook\.py"):
        read_artifact(copy)


@pytest.mark.fault("F28")
def test_a_renamed_folder_is_refused(copy):
    with pytest.raises(ArtifactError, match="copy again"):
        read_artifact(copy.rename(copy.parent / "20990101T000000Z-00000000"))


@pytest.mark.fault("F28")
def test_a_changed_spec_or_an_unknown_field_is_refused(copy):
    path = copy / "manifest.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"UTC"', b'"Europe/Berlin"'))
    with pytest.raises(ArtifactError, match="spec was changed"):
        read_artifact(copy)
    path.write_bytes(content.replace(b'"seed"', b'"on_load": "run me", "seed"'))
    with pytest.raises(ArtifactError, match="on_load"):
        read_artifact(copy)


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
