"""Artifacts made to do harm, each file with its true hash: refused, or usable; else the baseline scores."""

import io
import json
import pickle
import shutil
import struct
import tracemalloc
import zipfile

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from models.artifact import FILES, MAX_BYTES, read_artifact
from models.baseline import _RANGES, BaselineConstants
from models.counting.blobs import export_state
from models.counting.count_state import CountState
from models.features import FeatureEngine
from models.network import NetworkShape, ResidualNetwork, RiskNetwork
from models.scoring import CellScores, score
from schemas.errors import ArtifactError
from schemas.files import unpack_arrays
from schemas.spec import DAY_S, HOUR_S
from streaming.flow.rows import FIELDS
from streaming.flow.score import score_features
from tests.harness.forged_artifact import (
    NOW,
    SPEC,
    assert_refused,
    constants,
    edit_manifest,
    forge,
    npy_head,
    npz,
    zipped,
)

MIB = 1024 * 1024


def peak_bytes(call):
    """Most memory that Python and NumPy held at once while `call` was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- Nothing is opened before its hash is known -----------------------------------------------------------------


@pytest.mark.fault("F28")
def test_no_file_with_a_flipped_bit_reaches_a_parser_and_only_that_of_the_weights_spares_the_baseline(
    artifact_copy, monkeypatch
):
    def fail(*_, **__):
        pytest.fail("bytes that the manifest does not know were parsed")

    assert usable(artifact_copy)  # every module is imported before its loader is poisoned
    for parser in ("zipfile.ZipFile", "safetensors.torch.load", "safetensors.safe_open", "numpy.load"):
        monkeypatch.setattr(parser, fail)
    for name in FILES:
        whole = (artifact_copy / name).read_bytes()
        at = len(whole) // 2
        (artifact_copy / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        if name == "weights.safetensors":
            continue
        with pytest.raises(ArtifactError, match="damaged"):
            read_artifact(artifact_copy)
        (artifact_copy / name).write_bytes(whole)
    monkeypatch.undo()
    monkeypatch.setattr("safetensors.torch.load", fail)
    artifact = read_artifact(artifact_copy)
    assert "damaged" in artifact.network_fault
    assert artifact.network() is None


def test_a_sound_artifact_is_loaded_and_scored_without_any_unpickling(artifact_copy, monkeypatch):
    def fail(*_, **__):
        pytest.fail("something was unpickled")

    class Poisoned(pickle.Unpickler):
        def __init__(self, *_, **__):
            fail()

    monkeypatch.setattr("pickle.Unpickler", Poisoned)
    for loader in ("pickle.load", "pickle.loads", "torch.load", "torch.jit.load", "numpy.load"):
        monkeypatch.setattr(loader, fail)
    artifact = read_artifact(artifact_copy)
    values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    model, _ = score_features(artifact, artifact.network, values.tobytes())
    assert model == artifact.version


# --- Pickles ----------------------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.fault("F28")
@pytest.mark.parametrize("kind", ["npz", "torch", "plain"])
def test_a_pickle_that_is_correctly_listed_is_never_opened_and_in_place_of_the_weights_leaves_the_baseline(
    artifact_copy, kind
):
    saved = io.BytesIO()
    if kind == "npz":
        arrays = constants() | {"profile": np.array([Bomb()], dtype=object)}
        with pytest.raises(ArtifactError, match=r"baseline\.npz cannot be used"):
            read_artifact(forge(artifact_copy, baseline__npz=npz(**arrays)))
        return
    if kind == "torch":
        torch.save({"mean": Bomb()}, saved)
    else:
        saved.write(pickle.dumps(Bomb()))
    artifact = read_artifact(forge(artifact_copy, weights__safetensors=saved.getvalue()))
    assert "does not fit" in artifact.network_fault
    assert artifact.network() is None


# --- Paths ------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F28")
@pytest.mark.parametrize("name", ["../../card.md", "/etc/passwd", "..", "a/card.md", "card.md\0", "CARD.MD"])
def test_the_manifest_can_list_the_four_files_and_no_other_path(artifact_copy, name):
    manifest = artifact_copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"card.md":', f"{json.dumps(name)}:"))
    with pytest.raises(ArtifactError, match="lists files"):
        read_artifact(artifact_copy)


@pytest.mark.fault("F28")
def test_a_folder_whose_content_was_exchanged_does_not_keep_its_version(artifact_copy):
    """Scores name the version that made them: with other weights under the same name nobody could say what did."""
    version = artifact_copy.name
    forged = forge(artifact_copy, card__md=b"# of another model\n")
    assert read_artifact(forged).version != version
    with pytest.raises(ArtifactError, match="does not match its contents"):
        read_artifact(edit_manifest(forged, version=version).rename(forged.parent / version))


@pytest.mark.fault("F28")
@pytest.mark.parametrize("name", ["", *FILES, "manifest.json"])
def test_a_link_in_place_of_a_file_or_the_folder_is_not_followed(artifact_copy, tmp_path, name):
    if not name:
        (tmp_path / artifact_copy.name).symlink_to(artifact_copy)
        with pytest.raises(ArtifactError, match="no folder"):
            read_artifact(tmp_path / artifact_copy.name)
        return
    outside = artifact_copy.parent / "outside"
    (artifact_copy / name).rename(outside)
    (artifact_copy / name).symlink_to(outside)
    assert_refused(artifact_copy, name, "no regular file")


# --- Sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F28")
def test_an_npz_that_unpacks_to_more_than_is_sane_is_not_unpacked_nor_one_that_declares_less(artifact_copy):
    bomb = zipped(bytes(200 * MIB))
    assert len(bomb) < MIB
    folder = forge(artifact_copy, baseline__npz=bomb)
    with pytest.raises(ArtifactError, match="unpacks to more than 1050112"):
        read_artifact(folder)
    assert peak_bytes(lambda: read_artifact(folder)) < 8 * MIB
    lying = bytearray(zipped(npy_head((1,)) + bytes(200 * MIB)))
    struct.pack_into("<L", lying, lying.index(b"PK\1\2") + 24, len(npy_head((1,))) + 8)
    lies = forge(folder, baseline__npz=bytes(lying))
    assert peak_bytes(lambda: read_artifact(lies)) < 8 * MIB


@pytest.mark.fault("F28")
@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (2**31, 2), (-1,), (10**40,), (1,) * 5])
def test_a_shape_that_its_bytes_do_not_fill_takes_no_memory(artifact_copy, shape):
    head = npy_head((1,)).replace(b"(1,)", repr(shape).encode())
    folder = forge(artifact_copy, baseline__npz=zipped(head))
    with pytest.raises(ArtifactError, match=r"baseline\.npz cannot be used"):
        read_artifact(folder)
    assert peak_bytes(lambda: read_artifact(folder)) < 8 * MIB


def test_a_zip_of_very_many_arrays_and_one_of_another_compression_are_not_unpacked(artifact_copy):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(600):
            archive.writestr(f"{number}.npy", b"")
    others = [zipped(npy_head((1,)) + bytes(8), method=method) for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)]
    for content, said in (
        (packed.getvalue(), "more than 512 arrays"),
        *((of, "compressed by method") for of in others),
    ):
        artifact_copy = forge(artifact_copy, history__npz=content)
        with pytest.raises(ArtifactError, match=said):
            read_artifact(artifact_copy)


def safetensors(header, content=b""):
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + content


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    "weights",
    [
        safetensors({"mean": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        safetensors({"mean": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors({"mean": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 0]}}),
        safetensors({"mean": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors({"mean": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 90_000_000) + b"{}",
        b"",
    ],
    ids=["beyond the file", "larger than its bytes", "overflow", "negative", "type", "head", "long head", "empty"],
)
def test_weights_that_claim_to_be_huge_leave_the_baseline(artifact_copy, monkeypatch, weights):
    folder = forge(artifact_copy, weights__safetensors=weights)
    artifact = read_artifact(folder)
    monkeypatch.setattr("torch.frombuffer", lambda *_, **__: pytest.fail("a tensor was made"))
    assert "does not fit" in artifact.network_fault


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_file_larger_than_its_limit_is_not_read(artifact_copy, monkeypatch, name):
    if name == "manifest.json":
        (artifact_copy / name).write_bytes(b" " * (MIB + 1))
        with pytest.raises(ArtifactError, match="larger than 1048576"):
            read_artifact(artifact_copy)
        return
    if name in ("history.npz", "baseline.npz"):
        monkeypatch.setitem(MAX_BYTES, name, MIB)
    folder = forge(artifact_copy, **{name.replace(".", "__"): bytes(MIB + 1)})
    assert_refused(folder, name, "at most 1048576")


def test_a_negative_size_does_not_read_the_whole_file(artifact_copy):
    (artifact_copy / "card.md").write_bytes(bytes(50 * MIB))
    edit_manifest(artifact_copy, files={"card.md": {"size_bytes": -2}})
    assert peak_bytes(lambda: read_artifact(artifact_copy)) < 8 * MIB


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"grid": {"rows": 10**6}}, "at most 999 a side and 65536"),
        ({"grid": {"rows": 256, "cols": 256}, "categories": [f"c{n}" for n in range(6)]}, "series"),
        ({"horizons_s": [HOUR_S * 10**15]}, "none beyond"),
        ({"tick_s": 10**30}, "tick_s"),
    ],
)
def test_a_spec_that_would_take_too_much_memory_or_too_many_series_is_refused(artifact_copy, wrong, said):
    edit_manifest(artifact_copy, spec=wrong)
    with pytest.raises(ArtifactError, match=said):
        read_artifact(artifact_copy)
    assert peak_bytes(lambda: read_artifact(artifact_copy)) < 8 * MIB


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"card__md": b""}, r"card\.md is empty"),
        ({"card__md": b" \n"}, r"card\.md is empty"),
        ({"baseline__npz": npz(**(constants() | {"profile": np.ones((2, 24))}))}, "profile"),
        ({"changes": {"features": (*SPEC.features[1:], "speed")}}, r"other features.*'speed'"),
    ],
    ids=["no card", "a blank card", "another shape", "other features"],
)
@pytest.mark.fault("F29")
def test_an_empty_card_and_constants_or_features_that_this_program_has_not_are_refused(artifact_copy, changes, said):
    with pytest.raises(ArtifactError, match=said):
        read_artifact(forge(artifact_copy, **changes))


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


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        *(
            ({"created": created}, "created")
            for created in ("", "20260101T000000Z\n", '20260101T000000Z"', "2026-01-01", "../20260101T000000Z")
        ),
        ({"recipe": {"widths": [64, 10**300]}}, "widths"),
        *(
            ({"recipe": {name: value}}, name)
            for name, value in (("minibatch", 10**400), ("patience", -(10**400)), ("learning_rate", 10**400))
        ),
    ],
    ids=lambda value: f"{value:.30}" if isinstance(value, str) else next(iter(value)),
)
def test_a_time_that_could_break_a_path_or_a_line_and_a_recipe_that_nobody_could_train_by_are_refused(
    artifact_copy, edit, said
):
    with pytest.raises(ArtifactError, match=said):
        read_artifact(edit_manifest(artifact_copy, **edit))


@pytest.mark.fault("F28")
@pytest.mark.parametrize(
    "content", [b'{"created":"\xff"}', b"[" * 100_000, b"", b"\x80\x04N.", b'{"seed":' + b"9" * 5000]
)
def test_a_manifest_that_is_no_json_of_ours_is_refused(artifact_copy, content):
    (artifact_copy / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be used"):
        read_artifact(artifact_copy)


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


FEATURES = len(SPEC.features)


@pytest.mark.fault("F30")
def test_a_network_of_other_widths_is_built_as_its_weights_are_and_one_of_other_features_leaves_the_baseline(
    artifact_copy,
):
    other = ResidualNetwork(NetworkShape(inputs=FEATURES, categories=2, horizons=3, widths=(24, 8)))
    torch.nn.init.normal_(other.leave.weight)
    folder = forge(artifact_copy, weights__safetensors=save(other.state_dict()))
    values = torch.randn(1, 6, 2, FEATURES)
    assert torch.equal(read_artifact(folder).network()(values), other(values))
    other = ResidualNetwork(NetworkShape(inputs=3, categories=2, horizons=3))
    folder = forge(folder, weights__safetensors=save(other.state_dict()))
    assert "does not fit" in read_artifact(folder).network_fault


def hidden(**shapes):
    """The state of a network of widths 16 and 8, with other shapes in place of some of its tensors'."""
    state = ResidualNetwork(NetworkShape(inputs=FEATURES, categories=2, horizons=3, widths=(16, 8))).state_dict()
    return state | {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (hidden(enter__weight=(7, FEATURES)), "width of 7: choose 8 to 128"),
        (hidden(enter__weight=(0, FEATURES)), "width of 0"),
        (hidden(enter__weight=(129, 8)), "width of 129: choose 8 to 128"),
        (hidden(enter__weight=(200_000, 1)), "width of 200000"),
        (hidden(middle__weight=(200_000, 1)), "width of 200000"),
        (hidden(enter__weight=()), "0 and 2 dimensions, must have 2"),
        (hidden(middle__weight=(2, 2, 2)), "2 and 3 dimensions, must have 2"),
        ({name: tensor for name, tensor in hidden().items() if name != "enter.weight"}, "enter.weight"),
        ({name: tensor for name, tensor in hidden().items() if name != "middle.weight"}, "middle.weight"),
    ],
)
def test_widths_that_no_recipe_allows_are_refused_before_a_network_is_built(artifact_copy, monkeypatch, state, said):
    folder = forge(artifact_copy, weights__safetensors=save(state))
    monkeypatch.setattr("models.network.ResidualNetwork.__init__", lambda *_, **__: pytest.fail("a network was built"))
    artifact = read_artifact(folder)
    assert "does not fit" in artifact.network_fault
    assert said in artifact.network_fault
    assert artifact.network() is None


@pytest.mark.fault("F30")
@pytest.mark.parametrize(
    ("state", "said"),
    [
        (hidden(enter__weight=(128, FEATURES)), "does not fit"),
        (hidden(middle__weight=(8, 17)), "does not fit"),
        (hidden(category__weight=(2, 15)), "does not fit"),
        (hidden(leave__weight=(3, 9)), "does not fit"),
        (hidden(mean=(FEATURES + 1,)), "does not fit"),
        (hidden(more=(1,)), "does not fit"),
        *((hidden() | {"mean": torch.full((FEATURES,), number)}, "not finite") for number in (np.nan, np.inf)),
        *(
            (hidden() | {"mean": torch.zeros(FEATURES).to(kind)}, "must be float32")
            for kind in (torch.complex64, torch.float8_e4m3fn)
        ),
    ],
)
def test_weights_whose_layers_do_not_fit_one_another_or_that_are_no_numbers_leave_the_baseline(
    artifact_copy, state, said
):
    assert said in read_artifact(forge(artifact_copy, weights__safetensors=save(state))).network_fault


class Misbehaving(RiskNetwork):
    """A network in the artifact's place that gives what it is told to."""

    def __init__(self, give):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.give = give

    def forward(self, values):
        return self.give(torch.zeros(*values.shape[:3], 3))


@pytest.mark.fault("F30")
@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda right: right + float("nan"), "baseline:FloatingPointError"),
        (lambda right: right + float("inf"), "baseline:FloatingPointError"),
        (lambda right: right + 1e30, "baseline:FloatingPointError"),
        (lambda right: right[..., :1], "baseline:RuntimeError"),
        (lambda right: right[:, :1], "baseline:RuntimeError"),
        (lambda right: torch.cat([right, right], dim=-1), "baseline:RuntimeError"),
    ],
    ids=["NaN", "infinite", "beyond a float", "one horizon", "one cell", "six horizons"],
)
def test_a_network_that_gives_no_usable_number_leaves_the_baseline_and_the_score_says_so(sound_artifact, give, said):
    artifact = read_artifact(sound_artifact)
    values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    with np.errstate(over="ignore"):
        model, scores = score_features(artifact, lambda: Misbehaving(give), values.tobytes())
    assert model == said
    baseline = score(values, None, artifact.constants, artifact.spec)
    for name in CellScores.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(scores, name), getattr(baseline, name))
