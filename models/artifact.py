"""The artifact: a folder that holds all that scoring one region needs. Nothing in it can execute.

    <artifacts>/<region>/<version>/manifest.json        spec, and size and sha256 of the other files
                                   weights.safetensors  the network; when it is damaged the baseline still scores
                                   baseline.npz         the baseline's constants, no pickles
                                   history.npz          counts up to the data's cut-off, as blobs
                                   card.md              what the model is, how good, and what it is not for

Every file is read once, whole; its bytes are checked against the manifest before anything parses them.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from models.baseline import BaselineConstants
from models.blobs import export_state, restore_state
from models.count_state import CountState
from models.features import feature_names
from models.sealed import MAX_FILE_BYTES, pack_arrays, read_plain, sha256, unpack_arrays
from schemas.errors import ArtifactError, RiskError
from schemas.spec import Spec

if TYPE_CHECKING:  # torch takes seconds to import, and only scoring needs it
    from models.network import ResidualNetwork

MANIFEST, WEIGHTS, BASELINE, HISTORY, CARD = (
    "manifest.json",
    "weights.safetensors",
    "baseline.npz",
    "history.npz",
    "card.md",
)
FILES = (WEIGHTS, BASELINE, HISTORY, CARD)
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file must be."""

    sha256: str
    size_bytes: int


class DataSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model learned from."""

    file_name: str
    sha256: str
    layout: str
    incidents: int  # inside the grid and before the cut-off
    first_s: int
    cutoff_s: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The artifact's table of contents."""

    version: str
    created: str  # UTC, YYYYMMDDTHHMMSSZ
    spec: Spec
    spec_fingerprint: str
    features: tuple[str, ...]
    data: DataSource
    seed: int
    libraries: dict[str, str]
    evaluation: list[dict[str, str | float]]
    files: dict[str, FileEntry]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A verified artifact. `network_fault` says why there is no network; everything else is sound."""

    folder: Path
    manifest: Manifest
    constants: BaselineConstants
    card: str
    _weights: bytes | ArtifactError
    _history: bytes

    @property
    def spec(self) -> Spec:
        return self.manifest.spec

    @property
    def version(self) -> str:
        return self.manifest.version

    @cached_property
    def network_fault(self) -> str | None:
        """Why there is no network; None when there is one."""
        try:
            self._load_network()
        except ArtifactError as error:
            return str(error)
        return None

    def network(self) -> "ResidualNetwork | None":
        """A new module in eval mode on the CPU; None when `network_fault` says why."""
        return None if self.network_fault else self._load_network()

    def _load_network(self) -> "ResidualNetwork":
        if isinstance(self._weights, ArtifactError):
            raise self._weights
        return _network(self._weights, self.spec, self.folder / WEIGHTS)

    def history(self) -> CountState:
        """A new CountState as of the data's cut-off."""
        return _history(self._history, self.spec)


def write_artifact(
    artifacts: Path,
    *,
    spec: Spec,
    constants: BaselineConstants,
    network: "ResidualNetwork",
    history: CountState,
    card: str,
    data: DataSource,
    created: str,
    seed: int,
    libraries: Mapping[str, str],
    evaluation: list[dict[str, str | float]],
) -> Path:
    """Publish an artifact under `artifacts` and give its folder. It appears whole or not at all.

    A file torn by a power cut fails its sha256, so the reader refuses the folder and takes the one before.
    """
    spec = msgspec.json.decode(msgspec.json.encode(spec), type=Spec)  # whole numbers where floats belong become floats
    import safetensors.torch

    contents = {
        WEIGHTS: safetensors.torch.save({name: t.contiguous() for name, t in network.state_dict().items()}),
        BASELINE: pack_arrays(constants.arrays()),
        HISTORY: pack_arrays({name: np.frombuffer(blob, np.uint8) for name, blob in export_state(history).items()}),
        CARD: card.encode(),
    }
    files = {name: FileEntry(sha256=sha256(content), size_bytes=len(content)) for name, content in contents.items()}
    manifest = Manifest(
        version=_version(created, spec, files),
        created=created,
        spec=spec,
        spec_fingerprint=spec.fingerprint(),
        features=spec.features,
        data=data,
        seed=seed,
        libraries=dict(libraries),
        evaluation=evaluation,
        files=files,
    )
    contents[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    target = artifacts / spec.region / manifest.version
    temporary = artifacts / spec.region / f".{manifest.version}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, content in contents.items():
        (temporary / name).write_bytes(content)
    if target.exists():
        shutil.rmtree(temporary)
        raise ArtifactError(f"{target} exists already: versions never change")
    temporary.rename(target)
    return target


def read_artifact(folder: Path) -> Artifact:
    """The artifact in `folder`, verified. Damaged weights make a `network_fault`; anything else ArtifactError."""
    manifest = _read_manifest(folder)
    contents = {name: _read_file(folder / name, manifest.files[name]) for name in FILES if name != WEIGHTS}
    weights: bytes | ArtifactError
    try:
        weights = _read_file(folder / WEIGHTS, manifest.files[WEIGHTS])
    except ArtifactError as error:
        weights = error
    try:
        constants = BaselineConstants.checked(unpack_arrays(contents[BASELINE], folder / BASELINE), manifest.spec)
        card = contents[CARD].decode()
    except (RiskError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{folder}: {error}") from error
    _history(contents[HISTORY], manifest.spec)
    return Artifact(
        folder=folder,
        manifest=manifest,
        constants=constants,
        card=card,
        _weights=weights,
        _history=contents[HISTORY],
    )


def read_spec(folder: Path) -> Spec:
    """The spec of the artifact in `folder`, from its verified manifest alone. Raises ArtifactError."""
    return _read_manifest(folder).spec


def newest_artifacts(artifacts: Path) -> dict[str, list[Path]]:
    """Region -> its artifact folders, newest first; half-written ones (names with a dot first) left out."""
    if not artifacts.is_dir():
        raise ArtifactError(
            f"{artifacts} is no folder: train a model with `python -m models train`, or name the folder that holds the "
            "regions with RISK_ARTIFACTS"
        )
    regions = sorted(path for path in artifacts.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {
        region.name: sorted((p for p in region.iterdir() if p.is_dir() and not p.name.startswith(".")), reverse=True)
        for region in regions
    }
    return {region: folders for region, folders in found.items() if folders}


def _read_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is no folder: name an artifact's folder, <artifacts>/<region>/<version>")
    present = {path.name for path in folder.iterdir()}
    missing, unknown = {MANIFEST, *FILES} - present - {WEIGHTS}, present - {MANIFEST, *FILES}
    if missing or unknown:
        raise ArtifactError(
            f"{folder} lacks {sorted(missing)}, and has {sorted(unknown)} that do not belong: copy again"
        )
    raw = read_plain(folder / MANIFEST, _MAX_MANIFEST_BYTES)
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, RiskError, RecursionError) as error:
        raise ArtifactError(f"{folder / MANIFEST} cannot be used ({error}): train again") from error
    if set(manifest.files) != set(FILES):
        raise ArtifactError(f"{folder / MANIFEST} lists files {sorted(manifest.files)}, must list {sorted(FILES)}")
    spec = manifest.spec
    if spec.fingerprint() != manifest.spec_fingerprint:
        raise ArtifactError(f"{folder / MANIFEST}: its spec was changed after it was written: train again")
    if not manifest.features == spec.features == feature_names(spec.horizon_names):
        raise ArtifactError(f"{folder / MANIFEST}: made for other features than this program computes: train again")
    if manifest.version != _version(manifest.created, spec, manifest.files) or folder.name != manifest.version:
        raise ArtifactError(
            f"{folder} holds version {manifest.version}, which is not what its contents say: copy again"
        )
    return manifest


def _read_file(path: Path, entry: FileEntry) -> bytes:
    """The file's bytes. Raises ArtifactError unless they are the ones that the manifest names."""
    content = read_plain(path, min(entry.size_bytes, MAX_FILE_BYTES))
    if len(content) != entry.size_bytes or sha256(content) != entry.sha256:
        raise ArtifactError(f"{path} is damaged: its sha256 or size is not the manifest's; copy the artifact again")
    return content


def _network(weights: bytes, spec: Spec, path: Path) -> "ResidualNetwork":
    import safetensors.torch
    from safetensors import SafetensorError

    from models.network import ResidualNetwork

    network = ResidualNetwork(
        features=len(spec.features), categories=len(spec.categories), horizons=len(spec.horizons_s)
    )
    try:
        tensors = safetensors.torch.load(weights)
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise ArtifactError(f"{path} does not fit the network ({str(error)[:200]}): train again") from error
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ArtifactError(f"{path}: the weights are not finite: train again")
    return network.eval().requires_grad_(False)


def _history(packed: bytes, spec: Spec) -> CountState:
    arrays = unpack_arrays(packed, Path(HISTORY))
    try:
        state = restore_state(spec, {name: array.tobytes() for name, array in arrays.items()})
    except (ValueError, KeyError, IndexError, msgspec.DecodeError) as error:
        raise ArtifactError(f"{HISTORY} does not fit the spec ({error}): train again") from error
    if any(int(level.ring.min()) < 0 for level in state.levels.values()):
        raise ArtifactError(f"{HISTORY} counts less than nothing: train again")
    return state


def _version(created: str, spec: Spec, files: Mapping[str, FileEntry]) -> str:
    """Sorts by time of making, and names the contents."""
    content = spec.fingerprint() + "".join(files[name].sha256 for name in sorted(files))
    return f"{created}-{sha256(content.encode())[:8]}"
