"""Artifacts with a file exchanged, and its true hash listed, as one would who wants to be believed."""

import io
import json
import zipfile

import msgspec
import numpy as np
import pytest

from models.artifact import FileEntry, Manifest, read_artifact, version_of
from schemas.errors import ArtifactError
from schemas.files import sha256
from tests.harness.toy import toy_constants, toy_spec

NOW = 1_700_000_000
SPEC = toy_spec(2, 3)


def forge(folder, changes=None, **files):
    """Replace files and list their true hashes, as one would who wants to be believed. Gives the new folder."""
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    manifest = msgspec.structs.replace(manifest, **(changes or {}))
    entries = dict(manifest.files)
    for name, content in files.items():
        name = name.replace("__", ".")
        (folder / name).write_bytes(content)
        entries[name] = FileEntry(sha256=sha256(content), size_bytes=len(content))
    version = version_of(manifest.created, manifest.spec, entries)
    manifest = msgspec.structs.replace(
        manifest, files=entries, version=version, spec_fingerprint=manifest.spec.fingerprint()
    )
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return folder.rename(folder.parent / version)


def edit_manifest(folder, **changes):
    """Change the manifest as JSON, with no regard for what it must be; a dictionary changes one within it."""
    path = folder / "manifest.json"

    def changed(record, changes):
        return record | {
            name: changed(record.get(name) or {}, value) if isinstance(value, dict) else value
            for name, value in changes.items()
        }

    path.write_text(json.dumps(changed(json.loads(path.read_bytes()), changes)))
    return folder


def assert_refused(folder, name, said, *, of_weights=None):
    """An artifact with this file damaged is refused; damaged weights leave the baseline and say so."""
    if name == "weights.safetensors":
        assert (of_weights or said) in read_artifact(folder).network_fault
    else:
        with pytest.raises(ArtifactError, match=said):
            read_artifact(folder)


def npz(**arrays):
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def zipped(content, name="profile.npy", method=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def npy_head(shape, descr="<f8"):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": shape})
    return head.getvalue()


def constants():
    return toy_constants(SPEC).arrays()
