"""Artifacts whose files have contents that no training gives: refused, or usable all the same."""

import json
import shutil
import struct

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.artifact import FILES, read_artifact
from models.baseline import _RANGES, BaselineConstants
from models.counting.blobs import export_state
from models.counting.count_state import CountState
from models.features import FeatureEngine
from models.scoring import score
from schemas.errors import ArtifactError, DataError
from schemas.files import unpack_arrays
from schemas.spec import DAY_S
from streaming.flow.rows import FIELDS
from streaming.flow.score import score_features
from tests.harness.forged_artifact import NOW, SPEC, constants, edit_manifest, forge, npz

MIB = 1024 * 1024


@pytest.mark.parametrize("card", [b"", b" \n"])
def test_an_artifact_without_a_word_on_its_card_is_refused(artifact_copy, card):
    with pytest.raises(ArtifactError, match=r"card\.md is empty"):
        read_artifact(forge(artifact_copy, card__md=card))


def test_constants_of_another_shape_are_refused(artifact_copy):
    with pytest.raises(ArtifactError, match="profile"):
        read_artifact(forge(artifact_copy, baseline__npz=npz(**(constants() | {"profile": np.ones((2, 24))}))))


@pytest.mark.parametrize("name", sorted(constants().keys() - {"dispersion_power"}))
def test_constants_that_no_training_gives_are_refused(name):
    for value in (0.0, -1.0, np.nan, np.inf, 1e300, 1e-300):
        changed = constants() | {name: np.full_like(constants()[name], value)}
        with pytest.raises(DataError, match=f"{name} has values outside"):
            BaselineConstants.checked(changed, SPEC)


RECORD = struct.Struct("<QqiihBq")
CHUNK = struct.Struct("<qii")


@pytest.mark.parametrize(
    ("name", "blob"),
    [
        ("b:day:614", b"\x00" * 7),
        ("b:day:614", CHUNK.pack(NOW // DAY_S, 999, 1)),
        ("b:day:614", CHUNK.pack(NOW // DAY_S, -1, 1)),
        ("b:day:614", CHUNK.pack(NOW // DAY_S, 0, -1)),
        ("b:year:1", CHUNK.pack(1, 0, 1)),
        ("b", b""),
        ("clock", msgspec.msgpack.encode(NOW + 1)),
        ("clock", msgspec.msgpack.encode(2**64 - 1)),
        ("clock", b"\xc1"),
        ("history_end", b"\xc1"),
        ("r:0000000000", RECORD.pack(1, NOW, 0, 6, 0, 1, NOW)),
        ("r:0000000000", RECORD.pack(1, NOW, 0, -1, 0, 1, NOW)),
        ("r:0000000000", RECORD.pack(1, NOW, 0, 0, 2, 1, NOW)),
        ("r:0000000000", RECORD.pack(1, NOW, -1, 0, 0, 1, NOW)),
        ("r:0000000000", RECORD.pack(1, -(2**60), 0, 0, 0, 1, NOW)),
        ("r:0000000000", RECORD.pack(1, NOW, 0, 0, 0, 1, NOW - 1)),
        ("r:0000000000", RECORD.pack(1, NOW, 0, 0, 0, 1, NOW)[:-8]),
        ("layout", msgspec.msgpack.encode(3)),
        ("s:0000000001", b"\x00" * 16),
    ],
)
def test_a_history_that_does_not_fit_is_refused(artifact_copy, name, blob):
    blobs = export_state(read_artifact(artifact_copy).history()) | {name: blob}
    packed = npz(**{name: np.frombuffer(content, np.uint8) for name, content in blobs.items()})
    with pytest.raises(ArtifactError, match="history"):
        read_artifact(forge(artifact_copy, history__npz=packed))


@pytest.mark.fault("F29")
def test_features_that_this_program_does_not_compute_are_named(artifact_copy):
    with pytest.raises(ArtifactError, match=r"other features.*'speed'"):
        read_artifact(forge(artifact_copy, changes={"features": (*SPEC.features[1:], "speed")}))


@pytest.mark.parametrize(
    "created", ["", "20260101T000000Z\n", '20260101T000000Z"', "2026-01-01", "../20260101T000000Z"]
)
def test_a_time_of_making_that_could_break_a_path_or_a_line_is_refused(artifact_copy, created):
    with pytest.raises(ArtifactError, match="created"):
        read_artifact(edit_manifest(artifact_copy, created=created))


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    "content", [b'{"created":"\xff"}', b"[" * 100_000, b"", b"\x80\x04N.", b'{"seed":' + b"9" * 5000]
)
def test_a_manifest_that_is_no_json_of_ours_is_refused(artifact_copy, content):
    (artifact_copy / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be used"):
        read_artifact(artifact_copy)


@pytest.mark.parametrize(
    "recipe", [{"widths": [64, 10**300]}, {"minibatch": 10**400}, {"patience": -(10**400)}, {"learning_rate": 10**400}]
)
def test_a_recipe_that_nobody_could_train_by_is_refused(artifact_copy, recipe):
    with pytest.raises(ArtifactError, match=next(iter(recipe))):
        read_artifact(edit_manifest(artifact_copy, recipe=recipe))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=9), part, max_size=3),
)


def places(record, path=()):
    """The path of every value in a JSON record."""
    yield path
    for key, value in record.items() if isinstance(record, dict) else ():
        yield from places(value, (*path, key))


def usable(folder):
    """Read and score: True; refused as an artifact: False. Anything else is a failure of ours."""
    try:
        artifact = read_artifact(folder)
    except ArtifactError:
        return False
    values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    _, scores = score_features(artifact, artifact.network, values.tobytes())
    assert all(np.isfinite(getattr(scores, name)).all() for name in FIELDS)
    return True


@pytest.mark.fault("F28")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_a_manifest_it_is_usable_or_an_artifact_error(sound_artifact, tmp_path, data):
    folder = tmp_path / sound_artifact.name
    shutil.copytree(sound_artifact, folder, dirs_exist_ok=True)
    record = json.loads((folder / "manifest.json").read_bytes())
    *path, last = data.draw(st.sampled_from([path for path in places(record) if path]))
    part = record
    for key in path:
        part = part[key]
    part[last] = data.draw(json_values)
    (folder / "manifest.json").write_text(json.dumps(record))
    usable(folder)


@pytest.mark.fault("F28")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_bytes_a_correctly_listed_file_has_it_is_usable_or_an_artifact_error(sound_artifact, tmp_path, data):
    shutil.rmtree(tmp_path / "any", ignore_errors=True)
    folder = shutil.copytree(sound_artifact, tmp_path / "any" / sound_artifact.name)
    name = data.draw(st.sampled_from(FILES))
    content = bytearray((folder / name).read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[at] = data.draw(st.integers(0, 255))
    usable(forge(folder, **{name.replace(".", "__"): bytes(content)}))


@pytest.mark.fault("F28")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_an_npz_it_is_plain_numbers_or_an_artifact_error(tmp_path, data):
    value = bytearray(npz(**constants()) if data.draw(st.booleans()) else npz(a=np.arange(30), b=np.ones((2, 2))))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(value) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "write", "drop"])):
            case "flip":
                value[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del value[max(at, 1) :]
            case "write":
                value[at : at + 4] = data.draw(st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"PK\1\2", b"PK\5\6"]))
            case _:
                del value[at : at + data.draw(st.integers(1, 30))]
                value = value or bytearray(b"PK")
    try:
        arrays = unpack_arrays(bytes(value), tmp_path, MIB)
    except ArtifactError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= MIB
    assert all(array.dtype.kind in "fiu" for array in arrays.values())


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_constants_that_are_accepted_give_finite_scores(data):
    def draw(name):
        low, high = _RANGES[name]
        within = st.nothing() if name == "dispersion_power" else st.floats(low, high)
        drawn = data.draw(st.sampled_from([low, high]) | within)
        return np.full(constants()[name].shape, drawn, np.float64)

    accepted = BaselineConstants.checked({name: draw(name) for name in constants()}, SPEC)
    state = CountState(SPEC)
    state.advance(NOW)
    for level in state.levels.values():
        level.add(np.full(500, NOW - 3 * DAY_S), np.zeros(500, np.intp), 1)
    values = FeatureEngine(SPEC, accepted).compute(state).values
    scores = score(values, None, accepted, SPEC)
    for name in FIELDS:
        assert np.isfinite(getattr(scores, name)).all(), name
    assert ((scores.risk >= 0) & (scores.risk <= 1)).all()
