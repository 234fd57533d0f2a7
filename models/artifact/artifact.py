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

from models.artifact.folders import make_writable
from models.artifact.history import pack_history, unpack_history
from models.artifact.manifest import (
    BASELINE,
    CARD,
    FILES,
    HISTORY,
    MANIFEST,
    WEIGHTS,
    DataSource,
    FileEntry,
    Manifest,
    Training,
    read_file,
    read_manifest,
    version_of,
)
from models.artifact.untrusted_bytes import pack_arrays, sha256, unpack_arrays
from models.baseline import BaselineConstants
from models.counting.count_state import CountState
from models.hour_of_week import DAY_BLOCKS
from models.hyperparameters import Hyperparameters, RecipeFile
from schemas.errors import ArtifactError, DataError, RiskError
from schemas.limits import MIB
from schemas.spec import Spec

if TYPE_CHECKING:  # torch takes seconds to import, and only scoring needs it
    from torch import Tensor

    from models.network import ResidualNetwork


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
        return _history(self._history, self.folder, self.manifest, self.constants)


def check_writable(artifacts: Path) -> None:
    """Before the work is done: raises ArtifactError when nothing could be published under `artifacts`."""
    try:
        make_writable(artifacts)
    except OSError as error:
        raise ArtifactError(
            f"{artifacts} cannot be written ({error.strerror}): name another folder by --out"
        ) from error


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
    recipe: RecipeFile | None = None,
    training: Training | None = None,
) -> Path:
    """Publish an artifact under `artifacts` and give its folder. It appears whole or not at all.

    `recipe` and `training` say how a network was trained; None for one that was not.

    A file torn by a power cut fails its sha256, so the reader refuses the folder and takes the one before.
    """
    spec = msgspec.json.decode(msgspec.json.encode(spec), type=Spec)  # whole numbers where floats belong become floats
    import safetensors.torch

    contents = {
        WEIGHTS: safetensors.torch.save({name: t.contiguous() for name, t in network.state_dict().items()}),
        BASELINE: pack_arrays(constants.arrays()),
        HISTORY: pack_history(history),
        CARD: card.encode(),
    }
    files = {name: FileEntry(sha256=sha256(content), size_bytes=len(content)) for name, content in contents.items()}
    manifest = Manifest(
        version=version_of(created, spec, files),
        created=created,
        spec=spec,
        spec_fingerprint=spec.fingerprint(),
        features=spec.features,
        data=data,
        seed=seed,
        libraries=dict(libraries),
        evaluation=evaluation,
        files=files,
        recipe=recipe.recipe if recipe else None,
        tuned_on=recipe.tuned_on if recipe else None,
        training=training,
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
    manifest = read_manifest(folder)
    contents = {name: read_file(folder, name, manifest) for name in FILES if name != WEIGHTS}
    weights: bytes | ArtifactError
    try:
        weights = read_file(folder, WEIGHTS, manifest)
    except ArtifactError as error:
        weights = error
    try:
        arrays = unpack_arrays(contents[BASELINE], folder / BASELINE, _most_baseline_bytes(manifest.spec))
        constants = BaselineConstants.checked(arrays, manifest.spec)
        card = contents[CARD].decode()
    except (RiskError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{folder}: {error}") from error
    if not card.strip():
        raise ArtifactError(f"{folder / CARD} is empty: a model that does not say what it is for is not used")
    _history(contents[HISTORY], folder, manifest, constants)
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
    return read_manifest(folder).spec


def newest_artifacts(artifacts: Path) -> dict[str, list[Path]]:
    """Region -> its artifact folders, newest first; half-written ones (names with a dot first) left out."""
    if not artifacts.is_dir():
        raise ArtifactError(
            f"{artifacts} is no folder: train a model with `python -m models train`, or name the folder that holds the "
            "regions with RISK_ARTIFACTS"
        )
    try:
        found = {region.name: _folders_in(region)[::-1] for region in _folders_in(artifacts)}
    except OSError as error:
        raise ArtifactError(f"{artifacts} cannot be read ({error}): check owners and modes") from error
    return {region: folders for region, folders in found.items() if folders}


def newest_artifact(artifacts: Path, region: str) -> Artifact:
    """The newest artifact of a region, verified. Raises ArtifactError when there is none."""
    folders = newest_artifacts(artifacts).get(region)
    if not folders:
        raise ArtifactError(f"{artifacts} holds no artifact of {region!r}: train one, or name another folder")
    return read_artifact(folders[0])


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _most_baseline_bytes(spec: Spec) -> int:
    return MIB + 8 * DAY_BLOCKS * spec.grid.cells * len(spec.categories)


def _network(weights: bytes, spec: Spec, path: Path) -> "ResidualNetwork":
    import safetensors.torch
    import torch
    from safetensors import SafetensorError

    from models.network import LINEAR_PART, ResidualNetwork

    try:
        tensors = safetensors.torch.load(weights)
        if other := sorted({str(t.dtype) for t in tensors.values() if t.dtype != torch.float32}):
            raise ArtifactError(f"{path} holds weights of type {', '.join(other)}, must be float32: train again")
        network = ResidualNetwork(
            features=len(spec.features),
            categories=len(spec.categories),
            horizons=len(spec.horizons_s),
            widths=_widths(tensors["enter.weight"], tensors["middle.weight"]),
        )
        if not LINEAR_PART & tensors.keys():  # as made before networks had one
            tensors |= {name: network.state_dict()[name] for name in LINEAR_PART}
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, DataError) as error:
        raise ArtifactError(f"{path} does not fit the network ({str(error)[:200]}): train again") from error
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ArtifactError(f"{path}: the weights are not finite: train again")
    return network.eval().requires_grad_(False)


def _widths(enter: "Tensor", middle: "Tensor") -> tuple[int, int]:
    """Of the hidden layers, from the shapes of their weights. Raises DataError when no recipe allows them."""
    if enter.ndim != 2 or middle.ndim != 2:
        raise DataError(f"the layers have {enter.ndim} and {middle.ndim} dimensions, must have 2")
    return Hyperparameters(widths=(len(enter), len(middle))).widths


def _history(packed: bytes, folder: Path, manifest: Manifest, constants: BaselineConstants) -> CountState:
    return unpack_history(
        packed,
        folder / HISTORY,
        manifest.spec,
        first_day=int(constants.first_day),
        cutoff_s=manifest.data.cutoff_s,
    )
