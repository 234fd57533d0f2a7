"""The artifact: a folder that holds all that scoring one region needs. Nothing in it can execute.

    <artifacts>/<region>/<version>/manifest.json        spec, and size and sha256 of the other files
                                   weights.safetensors  the network; when it is damaged the baseline still scores
                                   baseline.npz         the baseline's constants, no pickles
                                   history.npz          counts up to the data's cut-off, as blobs
                                   card.md              what the model is, how good, and what it is not for

Every file is read once, whole; its bytes are checked against the manifest before anything parses them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from models.artifact.history import unpack_history
from models.artifact.manifest import (
    BASELINE,
    CARD,
    FILES,
    HISTORY,
    WEIGHTS,
    Manifest,
    read_file,
    read_manifest,
)
from models.baseline import BaselineConstants
from models.counting.count_state import CountState
from models.local_time import DAY_BLOCKS
from models.network_kinds import kind_of_network
from schemas.arrays import unpack_arrays
from schemas.errors import ArtifactError, ArtifactsAway, DataError, RiskError
from schemas.limits import MIB
from schemas.spec import Spec

if TYPE_CHECKING:  # torch takes seconds to import, and only scoring needs it
    from models.network import RiskNetwork


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

    @property
    def network_fault(self) -> str | None:
        """Why there is no network; None when there is one."""
        return None if self.network_error is None else str(self.network_error)

    @cached_property
    def network_error(self) -> ArtifactError | None:
        """`network_fault` with its remedy."""
        try:
            self._load_network()
        except ArtifactError as error:
            return without_cause(error)
        return None

    def network(self) -> "RiskNetwork | None":
        """A new module in eval mode on the CPU; None when `network_fault` says why."""
        return None if self.network_fault else self._load_network()

    def _load_network(self) -> "RiskNetwork":
        if isinstance(self._weights, ArtifactError):
            raise self._weights
        return _network(self._weights, self.manifest, self.folder / WEIGHTS)

    def history(self) -> CountState:
        """A new CountState as of the data's cut-off."""
        return unpack_history(
            self._history,
            self.folder / HISTORY,
            self.spec,
            first_day=int(self.constants.first_day),
            cutoff_s=self.manifest.data.cutoff_s,
        )


def without_cause(error: ArtifactError) -> ArtifactError:
    """A copy that may be kept: the tracebacks of an error and of its cause hold all that was read in memory."""
    return type(error)(*error.args)


def read_artifact(folder: Path) -> Artifact:
    """The artifact in `folder`, verified. Damaged weights make a `network_fault`; anything else ArtifactError.

    >>> (folder,) = Path("streaming/sample/artifacts/chicago").iterdir()
    >>> read_artifact(folder).spec.region
    'chicago'
    """
    manifest = read_manifest(folder)
    contents = {name: read_file(folder, name, manifest) for name in FILES if name != WEIGHTS}
    weights: bytes | ArtifactError
    try:
        weights = read_file(folder, WEIGHTS, manifest)
    except ArtifactError as error:
        weights = error
    try:
        most_bytes = MIB + 8 * DAY_BLOCKS * manifest.spec.grid.cells * len(manifest.spec.categories)
        arrays = unpack_arrays(contents[BASELINE], folder / BASELINE, most_bytes)
        constants = BaselineConstants.checked(arrays, manifest.spec)
        card = contents[CARD].decode()
    except RiskError as error:
        raise ArtifactError(f"{folder}: {error.message}", error.remedy) from error
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{folder / CARD} is not UTF-8 ({error.reason})", "copy the artifact again") from error
    if not card.strip():
        raise ArtifactError(f"{folder / CARD} is empty: nothing says what the model is for", "train again")
    artifact = Artifact(
        folder=folder,
        manifest=manifest,
        constants=constants,
        card=card,
        _weights=weights,
        _history=contents[HISTORY],
    )
    artifact.history()  # raises
    return artifact


def read_spec(folder: Path) -> Spec:
    """The spec of the artifact in `folder`, from its verified manifest alone. Raises ArtifactError."""
    return read_manifest(folder).spec


def newest_artifacts(artifacts: Path) -> dict[str, list[Path]]:
    """Region -> its artifact folders, newest first; without unfinished ones (their names begin with a dot).
    Which of them may score is said by `candidates_by_region` in pointer.py.

    Raises ArtifactsAway when `artifacts` cannot be read.
    """
    try:
        if not artifacts.is_dir():
            remedy = "train a model with `python -m models train`, or set RISK_ARTIFACTS to the folder of the regions"
            raise ArtifactsAway(f"{artifacts} is not a folder", remedy)
        by_region = {region.name: _folders_in(region)[::-1] for region in _folders_in(artifacts)}
    except OSError as error:
        raise ArtifactsAway(f"{artifacts} cannot be read ({error})", remedy="check owners and modes") from error
    return {region: folders for region, folders in by_region.items() if folders}


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _network(weights: bytes, manifest: Manifest, path: Path) -> "RiskNetwork":
    import safetensors.torch
    import torch
    from safetensors import SafetensorError

    from models.network import NetworkShape

    kind, spec = kind_of_network(manifest.network), manifest.spec
    shape = NetworkShape(inputs=len(spec.features), categories=len(spec.categories), horizons=len(spec.horizons_s))
    try:
        tensors = safetensors.torch.load(weights)
        if other := sorted({str(t.dtype) for t in tensors.values() if t.dtype != torch.float32}):
            raise ArtifactError(f"{path} holds weights of type {', '.join(other)}, must be float32", "train again")
        network = kind.from_tensors(tensors, shape)
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, DataError) as error:
        raise ArtifactError(f"{path} does not fit the network ({str(error)[:200]})", "train again") from error
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise ArtifactError(f"{path}: the weights are not finite", "train again")
    return network.eval().requires_grad_(False)
