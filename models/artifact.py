"""The artifact: a folder that holds all that scoring one region needs. Nothing in it can execute.

    <artifacts>/<region>/<version>/manifest.json        spec, and size and sha256 of the other files
                                   weights.safetensors  the network; when it is damaged the baseline still scores
                                   baseline.npz         the baseline's constants, no pickles
                                   history.npz          counts up to the data's cut-off, as blobs
                                   fine.safetensors     where inside a cell, if the spec asks for it: schemas/fine.py
                                   card.md              what the model is, how good, and what it is not for

Every file is read once, whole; its bytes are checked against the manifest before anything parses them.

The manifest is not signed: it tells damage and mix-ups, not a forger who may write into the folder. What a forged
artifact can do is bounded by schemas/limits.py, and nothing in it can execute.

torch takes seconds to import, and only scoring and training need it: it is imported where it is used.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants
from models.counting.blobs import export_state, restore_state
from models.counting.count_state import CountState
from models.dispersion import Dispersion
from models.features import features_of
from models.local_time import DAY_BLOCKS, HOURS
from models.network_kinds import MODELS, Hyperparameters, RecipeFile, TunedOn, kind_of_network, name_of_kind
from schemas.errors import ArtifactError, ArtifactsAway, DataError, RiskError
from schemas.files import make_writable, pack_arrays, read_regular_file, sha256, unpack_arrays, write_errors
from schemas.fine import FINE_FILE, FineShares
from schemas.incidents import are_places
from schemas.limits import (
    MAX_BASELINE_BYTES,
    MAX_CARD_BYTES,
    MAX_FINE_BYTES,
    MAX_HISTORY_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_TIME_S,
    MAX_WEIGHTS_BYTES,
    MIB,
)
from schemas.records import pointer_path, read_pointer
from schemas.spec import DAY_S, Spec

if TYPE_CHECKING:
    from models.network import RiskNetwork

MANIFEST, WEIGHTS, CARD = "manifest.json", "weights.safetensors", "card.md"
BASELINE, HISTORY = "baseline.npz", "history.npz"
MAX_BYTES = {WEIGHTS: MAX_WEIGHTS_BYTES, BASELINE: MAX_BASELINE_BYTES, HISTORY: MAX_HISTORY_BYTES, CARD: MAX_CARD_BYTES}
FILES = tuple(MAX_BYTES)
_PARTS = frozenset({"layout", "clock", "history_end", "first_day", "b", "r"})
OTHER_CHAMPION = "run `risk promote REGION`, or promote another version"
_HALF_LIFE_DAYS = 120.0
_SHRINK_DAYS = 30.0
_DISPERSION = 5.0  # a guess on the wide side; measured ones of the two development cities lie between 0.5 and 5

_CARD = """# {region}: not trained

This artifact was made without any history, from a guess of the incidents a day, spread evenly over the grid:
{guess}.
It serves to start counting in a new region. Its scores mean nothing until the region has some weeks of its
own incidents; then train a real one with `--like` this folder. The network in it adds nothing to the baseline.
"""


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file must be."""

    sha256: str
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]


class DataSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the model learned from."""

    file_name: str
    sha256: str  # of the file; of an archive, of the rows
    layout: str
    incidents: int  # inside the grid and before the cut-off
    first_s: int
    cutoff_s: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_S)]
    table_version: int | None = None  # of an archive
    calendar_sha256: str | None = None  # of the file of days known in advance
    cut_hours: int | None = None  # of an archive: hours in that time from which nothing is learned


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it takes to make the network again, beside the data, the spec, the seed and the recipe."""

    epochs: int
    step_minutes: int
    workers: int
    device: str  # equal weights are promised for `cpu`
    fitted_until_s: int  # what serves has learned until then


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The artifact's table of contents."""

    version: str
    created: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z\Z")]  # UTC
    spec: Spec
    spec_fingerprint: str
    features: tuple[str, ...]
    data: DataSource
    seed: int
    libraries: dict[str, str]
    evaluation: list[dict[str, str | float]]
    files: dict[str, FileEntry]
    recipe: Hyperparameters | None = None  # null: not trained; so are the next two
    network: str  # kind of network
    tuned_on: TunedOn | None = None  # null also: the default recipe, or one that a person wrote
    training: Training | None = None


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the artifact in `folder`, verified by itself. Raises ArtifactError."""
    if folder.is_symlink() or not folder.is_dir():
        raise ArtifactError(f"{folder} is no folder", "name an artifact's folder, <artifacts>/<region>/<version>")
    try:
        present = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise ArtifactError(f"{folder} cannot be read ({error.strerror})", "check its owner and mode") from error
    missing, unknown = {MANIFEST, *FILES} - present - {WEIGHTS}, present - {MANIFEST, *FILES, FINE_FILE}
    if missing or unknown:
        strange = sorted(unknown)[:5]
        raise ArtifactError(f"{folder} lacks {sorted(missing)}, and has {strange} that do not belong", "copy again")
    raw = read_regular_file(folder / MANIFEST, MAX_MANIFEST_BYTES)
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RiskError, RecursionError) as error:
        raise ArtifactError(f"{folder / MANIFEST} cannot be used ({error})", "train again") from error
    spec, path = manifest.spec, folder / MANIFEST
    needed = {*FILES, FINE_FILE} if spec.fine > 1 else {*FILES}
    if set(manifest.files) != needed:
        raise ArtifactError(f"{path} lists files {sorted(manifest.files)[:9]}, not {sorted(needed)}", "train again")
    if (FINE_FILE in present) != (FINE_FILE in needed):
        raise ArtifactError(f"{folder} has {FINE_FILE} without its spec, or the spec without it", "copy again")
    if spec.fingerprint() != manifest.spec_fingerprint:
        raise ArtifactError(f"{path}: its spec was changed after it was written", "train again")
    if manifest.network not in MODELS:
        raise ArtifactError(
            f"{path}: its network is of the kind {manifest.network[:40]!r}, and this version has {', '.join(MODELS)}",
            "use the version that trained it, or train again",
        )
    computed = features_of(spec)
    if not manifest.features == spec.features == computed:
        other = [*dict.fromkeys((*manifest.features, *spec.features))]
        raise ArtifactError(
            f"{path}: made for other features than this program computes (it lacks "
            f"{[name for name in computed if name not in spec.features][:9]}, has in addition "
            f"{[name for name in other if name not in computed][:9]}, or has them in another order)",
            "train again without --like, then run `checkpoint --reset`",
        )
    if manifest.version != version_of(manifest.created, spec, manifest.files) or folder.name != manifest.version:
        raise ArtifactError(
            f"{folder} holds version {manifest.version}, which does not match its contents", "copy again"
        )
    return manifest


def read_file(folder: Path, name: str, manifest: Manifest) -> bytes:
    """A file's bytes. Raises ArtifactError unless they are the ones that the manifest names."""
    path, entry, most = folder / name, manifest.files[name], MAX_BYTES.get(name, MAX_FINE_BYTES)
    if entry.size_bytes > most:
        raise ArtifactError(f"{path} has {entry.size_bytes} bytes, at most {most} are allowed", "train again")
    content = read_regular_file(path, entry.size_bytes)
    if len(content) != entry.size_bytes or sha256(content) != entry.sha256:
        raise ArtifactError(f"{path} is damaged, its sha256 or size is not the manifest's", "copy the artifact again")
    return content


def version_of(created: str, spec: Spec, files: Mapping[str, FileEntry]) -> str:
    """Sorts by time of making, and names the contents."""
    content = spec.fingerprint() + "".join(files[name].sha256 for name in sorted(files))
    return f"{created}-{sha256(content.encode())[:8]}"


def pack_history(state: CountState) -> bytes:
    """All of a state as the bytes of an .npz, one array of bytes for each blob."""
    return pack_arrays({name: np.frombuffer(blob, np.uint8) for name, blob in export_state(state).items()})


def unpack_history(packed: bytes, path: Path, spec: Spec, *, first_day: int, cutoff_s: int) -> CountState:
    """A new state at `cutoff_s`, whose history begins with `first_day` and ends there unless it is empty.

    Raises ArtifactError unless every count and record lies inside the spec.
    """
    arrays = unpack_arrays(packed, path, MAX_HISTORY_BYTES)
    try:
        state = restore_state(spec, {name: _bytes(name, array) for name, array in arrays.items()})
    except (ValueError, KeyError, IndexError, OverflowError, MemoryError, msgspec.DecodeError) as error:
        raise ArtifactError(f"{path} does not fit the spec ({error})", "train again") from error
    if state.as_of_s != cutoff_s:
        raise ArtifactError(f"{path} ends at {state.as_of_s}, the manifest says {cutoff_s}", "train again")
    if any(int(level.ring.min()) < 0 for level in state.levels.values()):
        raise ArtifactError(f"{path} counts less than nothing", "train again")
    records = state.registry.records()
    sound = (records.cell >= 0) & (records.cell < spec.grid.cells) & (records.revision >= 0)
    sound &= (records.category >= 0) & (records.category < len(spec.categories)) & (records.occurred_s >= 0)
    sound &= (records.latest_s >= records.occurred_s) & are_places(records.place)
    if not sound.all():
        raise ArtifactError(f"{path} remembers an incident outside the grid or the categories", "train again")
    is_empty = not len(records) and not any(level.ring.any() for level in state.levels.values())
    state.history_end_s = 0 if is_empty else cutoff_s
    state.first_day = first_day
    return state


def _bytes(name: str, array: npt.NDArray[Any]) -> bytes:
    if array.dtype != np.uint8 or name.partition(":")[0] not in _PARTS:
        raise ValueError(f"{name[:40]!r} is no part of a history")
    return array.tobytes()


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A verified artifact. `network_fault` says why there is no network; everything else is sound."""

    folder: Path
    manifest: Manifest
    constants: BaselineConstants
    card: str
    fine: FineShares | None  # where inside a cell; None where its spec asks for none
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
        if isinstance(self._weights, ArtifactError):
            return without_cause(self._weights)
        asked = self._weights, self.manifest, self.folder / WEIGHTS
        return _error_of_network(*asked) if _apart is None else _apart.error_of(*asked)

    def network(self) -> "RiskNetwork | None":
        """A new module in eval mode on the CPU; None when `network_fault` says why."""
        if isinstance(self._weights, ArtifactError) or self.network_error:
            return None
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

    >>> (folder,) = Path("streaming/sample/artifacts/montgomery").iterdir()
    >>> read_artifact(folder).spec.region
    'montgomery'
    """
    manifest = read_manifest(folder)
    contents = {name: read_file(folder, name, manifest) for name in manifest.files if name != WEIGHTS}
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
    packed = contents.get(FINE_FILE)
    artifact = Artifact(
        folder=folder,
        manifest=manifest,
        constants=constants,
        card=card,
        fine=None if packed is None else FineShares.unpack(packed, folder / FINE_FILE, manifest.spec),
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
    Which of them may score is said by `candidates_by_region`.

    Raises ArtifactsAway when `artifacts` cannot be read.
    """
    try:
        if not artifacts.is_dir():
            remedy = "train a model with `risk train`, or set RISK_ARTIFACTS to the folder of the regions"
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


def _error_of_network(weights: bytes, manifest: Manifest, path: Path) -> ArtifactError | None:
    """Why these weights make no network; None when they do."""
    try:
        _network(weights, manifest, path)
    except ArtifactError as error:
        return without_cause(error)
    return None


class _Apart:
    """A process in which networks are tried. It starts when the first is, and is to be ended by `close`."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def error_of(self, weights: bytes, manifest: Manifest, path: Path) -> ArtifactError | None:
        key = path, manifest.files[WEIGHTS].sha256, manifest.network, manifest.spec.fingerprint()
        if key not in _tried:
            self._pool = self._pool or ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            try:
                _tried[key] = self._pool.submit(_error_of_network, weights, manifest, path).result()
            except BrokenProcessPool:  # it was killed: this network is tried here, the next in a new process
                self._pool = None
                _tried[key] = _error_of_network(weights, manifest, path)
        return _tried[key]

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown()


_apart: _Apart | None = None  # None: a network is tried in this process
_tried: dict[tuple[Path, str, str, str], ArtifactError | None] = {}  # for good: nobody waits for a rollback


@contextmanager
def networks_tried_apart() -> Iterator[None]:
    """Meanwhile whether a network can be used is tried in a process that ends: torch would stay here with 250 MiB.

    Where torch is loaded anyway, it is tried here.
    """
    global _apart
    if "torch" in sys.modules:
        yield
        return
    with closing(_Apart()) as _apart:
        try:
            yield
        finally:
            _apart = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may score a region: `folders`, best first, or the `fault` of its pointer. `pointer` is None without one."""

    folders: Sequence[Path] = ()
    pointer: Path | None = None
    fault: ArtifactError | None = None


def candidates_by_region(artifacts: Path) -> dict[str, Candidates]:
    """Region -> what may score it: the champion of its pointer alone; without a pointer all artifacts, newest first.

    Raises ArtifactsAway when `artifacts` cannot be read.
    """
    newest = newest_artifacts(artifacts)
    try:
        by_region = {}
        for region in (folder.name for folder in _folders_in(artifacts)):
            path = pointer_path(artifacts, region)
            try:
                pointer = read_pointer(artifacts, region)
            except ArtifactError as error:
                by_region[region] = Candidates(pointer=path, fault=error)
                continue
            pointed = Candidates([artifacts / region / pointer.champion], path) if pointer else None
            by_region[region] = pointed or Candidates(newest.get(region, ()))
    except OSError as error:
        raise ArtifactsAway(f"{artifacts} cannot be read ({error})", remedy="check owners and modes") from error
    return {region: of_region for region, of_region in by_region.items() if of_region.folders or of_region.fault}


def champion_of(artifacts: Path, region: str) -> Artifact:
    """The artifact that a job would score the region with, if it is sound. Raises ArtifactError.

    >>> champion_of(Path("streaming/sample/artifacts"), "montgomery").spec.horizon_names
    ('1h', '4h', '24h')
    """
    possible = candidates_by_region(artifacts).get(region, Candidates())
    if possible.fault:
        raise possible.fault
    if not possible.folders:
        raise ArtifactError(f"{artifacts} holds no artifact of {region!r}", "train one, or name another folder")
    return read_artifact(possible.folders[0])


def challenger_of(artifacts: Path, region: str) -> Path | None:
    """The folder of the region's challenger; None when it has none. Raises ArtifactError for a damaged pointer.

    >>> challenger_of(Path("streaming/sample/artifacts"), "montgomery") is None
    True
    """
    pointer = read_pointer(artifacts, region)
    return artifacts / region / pointer.challenger if pointer and pointer.challenger else None


def check_writable(artifacts: Path) -> None:
    """Before the work is done: raises ArtifactError when nothing could be published under `artifacts`."""
    with write_errors(ArtifactError, artifacts, remedy="name another by --out"):
        make_writable(artifacts)


def write_artifact(
    artifacts: Path,
    *,
    spec: Spec,
    constants: BaselineConstants,
    network: "RiskNetwork",
    history: CountState,
    card: str,
    data: DataSource,
    created: str,
    fine: FineShares | None = None,
    seed: int = 0,
    libraries: Mapping[str, str] | None = None,
    evaluation: Sequence[dict[str, str | float]] = (),
    recipe: RecipeFile | None = None,
    training: Training | None = None,
) -> Path:
    """Publish an artifact under `artifacts` and give its folder. It appears whole or not at all.

    history: up to the data's cut-off. created: UTC, as 20260101T000000Z. fine: of a spec that asks for it; None: even.
    recipe, training: how the network was trained; None for one that was not.

    A file torn by a power cut fails its sha256, so the reader refuses the folder and takes the one before.
    """
    import safetensors.torch

    spec = msgspec.json.decode(spec.as_json(), type=Spec)  # whole numbers become floats where due
    contents = {
        WEIGHTS: safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}),
        BASELINE: pack_arrays(constants.arrays()),
        HISTORY: pack_history(history),
        CARD: card.encode(),
    }
    if spec.fine > 1:
        contents[FINE_FILE] = (fine or FineShares.even(spec)).pack()
    files = {name: FileEntry(sha256=sha256(content), size_bytes=len(content)) for name, content in contents.items()}
    manifest = Manifest(
        version=version_of(created, spec, files),
        created=created,
        spec=spec,
        spec_fingerprint=spec.fingerprint(),
        features=spec.features,
        data=data,
        seed=seed,
        libraries=dict(libraries or {}),
        evaluation=list(evaluation),
        files=files,
        network=name_of_kind(network),
        recipe=recipe.recipe if recipe else None,
        tuned_on=recipe.tuned_on if recipe else None,
        training=training,
    )
    fields = {**msgspec.structs.asdict(manifest), "spec": msgspec.Raw(spec.as_json())}
    contents[MANIFEST] = msgspec.json.format(msgspec.json.encode(fields), indent=1)
    target = artifacts / spec.region / manifest.version
    temporary = artifacts / spec.region / f".{manifest.version}.new"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name, content in contents.items():
        (temporary / name).write_bytes(content)
    if target.exists():
        shutil.rmtree(temporary)
        raise ArtifactError(f"{target} exists already, and versions never change", "train again")
    temporary.rename(target)
    return target


def write_untrained(
    artifacts: Path, spec: Spec, *, per_day: float | Sequence[float], cutoff_s: int, created: str
) -> Path:
    """Publish an untrained artifact for `spec` and give its folder. Its history is empty and ends at `cutoff_s`.

    per_day: guess of the incidents a day in the whole region, one for all categories or one for each.
    """
    import torch

    from models.network import NetworkShape, ResidualNetwork

    categories = len(spec.categories)
    rates = np.broadcast_to(np.asarray(per_day, np.float64), categories).copy()
    constants = BaselineConstants(
        half_life_days=np.array(_HALF_LIFE_DAYS),
        level_half_life_days=np.array(_HALF_LIFE_DAYS),
        shrink_days=np.full(categories, _SHRINK_DAYS),
        profile=np.ones((categories, HOURS)),
        day_lift=np.ones((spec.grid.cells, categories, DAY_BLOCKS)),
        mean_per_day=rates,
        dispersion=Dispersion.quadratic(np.full((categories, len(spec.horizons_s)), _DISPERSION)),
        first_day=np.array(float(cutoff_s // DAY_S)),
    )
    history = CountState(spec)
    history.advance(cutoff_s)
    shape = NetworkShape(inputs=len(spec.features), categories=categories, horizons=len(spec.horizons_s))
    guess = ", ".join(f"{name} {rate:g}" for name, rate in zip(spec.categories, rates.tolist(), strict=True))
    torch.manual_seed(0)
    return write_artifact(
        artifacts,
        spec=spec,
        constants=constants,
        network=ResidualNetwork.create(shape).eval(),
        history=history,
        data=DataSource(file_name="none", sha256="", layout="none", incidents=0, first_s=cutoff_s, cutoff_s=cutoff_s),
        created=created,
        card=_CARD.format(region=spec.region, guess=guess),
    )
