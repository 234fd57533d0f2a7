"""The artifact's table of contents, and the check that every other file is what it says.

The manifest is not signed: it tells damage and mix-ups, not a forger who may write into the folder. What a forged
artifact can do is bounded by schemas/limits.py, and nothing in it can execute.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from models.features import features_of
from models.hyperparameters import Hyperparameters, TunedOn
from models.network_kinds import MODELS
from schemas.errors import ArtifactError, RiskError
from schemas.files import read_regular_file, sha256
from schemas.limits import (
    MAX_BASELINE_BYTES,
    MAX_CARD_BYTES,
    MAX_HISTORY_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_TIME_S,
    MAX_WEIGHTS_BYTES,
)
from schemas.spec import Spec

MANIFEST, WEIGHTS, CARD = "manifest.json", "weights.safetensors", "card.md"
BASELINE, HISTORY = "baseline.npz", "history.npz"
MAX_BYTES = {WEIGHTS: MAX_WEIGHTS_BYTES, BASELINE: MAX_BASELINE_BYTES, HISTORY: MAX_HISTORY_BYTES, CARD: MAX_CARD_BYTES}
FILES = tuple(MAX_BYTES)


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
    missing, unknown = {MANIFEST, *FILES} - present - {WEIGHTS}, present - {MANIFEST, *FILES}
    if missing or unknown:
        strange = sorted(unknown)[:5]
        raise ArtifactError(f"{folder} lacks {sorted(missing)}, and has {strange} that do not belong", "copy again")
    raw = read_regular_file(folder / MANIFEST, MAX_MANIFEST_BYTES)
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RiskError, RecursionError) as error:
        raise ArtifactError(f"{folder / MANIFEST} cannot be used ({error})", "train again") from error
    _check(manifest, folder)
    return manifest


def read_file(folder: Path, name: str, manifest: Manifest) -> bytes:
    """A file's bytes. Raises ArtifactError unless they are the ones that the manifest names."""
    path, entry, most = folder / name, manifest.files[name], MAX_BYTES[name]
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


def _check(manifest: Manifest, folder: Path) -> None:
    spec, path = manifest.spec, folder / MANIFEST
    if set(manifest.files) != set(FILES):
        raise ArtifactError(f"{path} lists files {sorted(manifest.files)[:9]}, not {sorted(FILES)}", "train again")
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
