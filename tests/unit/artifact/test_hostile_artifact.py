"""Artifacts made to do harm, each file with its true hash: none is unpickled, followed or unpacked beyond measure."""

import io
import json
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from models.artifact import FILES, MAX_BYTES, read_artifact
from models.features import FeatureEngine
from schemas.errors import ArtifactError
from schemas.spec import HOUR_S
from streaming.flow.score import score_features
from tests.harness.forged_artifact import assert_refused, constants, edit_manifest, forge, npy_head, npz, zipped

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
def test_no_file_whose_hash_is_wrong_reaches_a_parser(artifact_copy, monkeypatch):
    def fail(*_, **__):
        pytest.fail("bytes that the manifest does not know were parsed")

    network = read_artifact(artifact_copy).network  # every module is imported before its loader is poisoned
    assert network() is not None
    for parser in ("zipfile.ZipFile", "safetensors.torch.load", "safetensors.safe_open", "numpy.load"):
        monkeypatch.setattr(parser, fail)
    for name in FILES:
        whole = (artifact_copy / name).read_bytes()
        (artifact_copy / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        if name == "weights.safetensors":
            continue
        with pytest.raises(ArtifactError, match="damaged"):
            read_artifact(artifact_copy)
        (artifact_copy / name).write_bytes(whole)
    monkeypatch.undo()
    monkeypatch.setattr("safetensors.torch.load", fail)
    assert "damaged" in read_artifact(artifact_copy).network_fault


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
def test_a_pickle_in_a_correctly_listed_npz_is_never_opened(artifact_copy):
    arrays = constants() | {"profile": np.array([Bomb()], dtype=object)}
    with pytest.raises(ArtifactError, match=r"baseline\.npz cannot be used"):
        read_artifact(forge(artifact_copy, baseline__npz=npz(**arrays)))


@pytest.mark.fault("F28")
@pytest.mark.parametrize("kind", ["torch", "plain"])
def test_a_pickle_in_place_of_the_weights_leaves_the_baseline(artifact_copy, kind):
    saved = io.BytesIO()
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
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_file_that_is_a_link_out_of_the_folder_is_not_followed(artifact_copy, name):
    outside = artifact_copy.parent / "outside"
    (artifact_copy / name).rename(outside)
    (artifact_copy / name).symlink_to(outside)
    assert_refused(artifact_copy, name, "no regular file")


@pytest.mark.fault("F28")
def test_a_folder_that_is_a_link_is_refused(artifact_copy, tmp_path):
    link = tmp_path / artifact_copy.name
    link.symlink_to(artifact_copy)
    with pytest.raises(ArtifactError, match="no folder"):
        read_artifact(link)


# --- Sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.fault("F28")
def test_an_npz_that_unpacks_to_more_than_is_sane_is_not_unpacked(artifact_copy):
    bomb = zipped(bytes(200 * MIB))
    assert len(bomb) < MIB
    folder = forge(artifact_copy, baseline__npz=bomb)
    with pytest.raises(ArtifactError, match="unpacks to more than 1050112"):
        read_artifact(folder)
    assert peak_bytes(lambda: read_artifact(folder)) < 8 * MIB


@pytest.mark.fault("F28")
@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (2**31, 2), (-1,), (10**40,), (1,) * 5])
def test_a_shape_that_its_bytes_do_not_fill_takes_no_memory(artifact_copy, shape):
    head = npy_head((1,)).replace(b"(1,)", repr(shape).encode())
    folder = forge(artifact_copy, baseline__npz=zipped(head))
    with pytest.raises(ArtifactError, match=r"baseline\.npz cannot be used"):
        read_artifact(folder)
    assert peak_bytes(lambda: read_artifact(folder)) < 8 * MIB


def test_a_size_that_is_declared_too_small_does_not_let_more_be_unpacked(artifact_copy):
    lying = bytearray(zipped(npy_head((1,)) + bytes(200 * MIB)))
    struct.pack_into("<L", lying, lying.index(b"PK\1\2") + 24, len(npy_head((1,))) + 8)
    folder = forge(artifact_copy, baseline__npz=bytes(lying))
    assert peak_bytes(lambda: read_artifact(folder)) < 8 * MIB


def test_a_zip_of_very_many_arrays_is_not_listed(artifact_copy):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(600):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(ArtifactError, match="more than 512 arrays"):
        read_artifact(forge(artifact_copy, history__npz=packed.getvalue()))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_the_compression_that_we_write_is_unpacked(artifact_copy, method):
    with pytest.raises(ArtifactError, match="compressed by method"):
        read_artifact(forge(artifact_copy, baseline__npz=zipped(npy_head((1,)) + bytes(8), method=method)))


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
