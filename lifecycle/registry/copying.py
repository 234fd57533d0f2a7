"""A registered version on its way: it appears whole and verified, or not at all. A registry proves nothing."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lifecycle.registry.contract import ModelRegistry
from models.artifact.artifact import Artifact, read_artifact
from models.artifact.manifest import FILES, MANIFEST
from schemas.errors import ArtifactError, RegistryError
from schemas.files import read_regular_file, sha256, sync_files, sync_folder
from schemas.limits import MAX_MANIFEST_BYTES

PAGE, FIGURES = "index.html", "evaluation.json"  # of a folder of `models evaluate`
PART = ".part"  # beside the versions; one process at a time writes it, under the region's lock


def manifest_digest(folder: Path) -> str:
    """The sha256 of the manifest, which has that of every other file. Raises ArtifactError."""
    return sha256(read_regular_file(folder / MANIFEST, MAX_MANIFEST_BYTES))


def verified(folder: Path, digest: str) -> Artifact:
    """The artifact in `folder`, if it is whole and the one that was registered. Raises ArtifactError."""
    artifact = read_artifact(folder)
    if artifact.network_error:
        raise artifact.network_error
    if (its_digest := manifest_digest(folder)) != digest:
        raise RegistryError(
            f"{folder / MANIFEST} has sha256 {its_digest}, and {digest} was registered", "find out who changed it"
        )
    return artifact


def registered_artifact(registry: ModelRegistry, region: str, version: str) -> Artifact:
    """A registered version as the registry has it, verified. Raises ArtifactError."""
    state = registry.state(region)
    if version not in state.manifests:
        raise RegistryError(f"{region} has no version {version}", f"see `python -m lifecycle versions {region}`")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, version)
        folder.mkdir()
        registry.fetch(region, version, folder)
        return verified(folder, state.manifests[version])


def bring(home: Path, version: str, digest: str, fill: Callable[[Path], None]) -> bool:
    """Make the folder `version` in `home`, a region's folder, the registered one; whether that took a copy.

    `fill` puts the files into an empty folder. A damaged folder of that version is replaced; a sound one with another
    manifest is refused, as it may be all that there is of it. The caller holds the lock of `home`. Raises
    ArtifactError, and OSError.
    """
    target, part = home / version, home / PART
    shutil.rmtree(part, ignore_errors=True)  # of a copy that was interrupted
    try:
        verified(target, digest)
        return False
    except ArtifactError:
        _refuse_another(target, digest)
    new = part / version
    new.mkdir(parents=True)
    fill(new)
    artifact = verified(new, digest)
    if artifact.spec.region != home.name:
        raise RegistryError(f"version {version} is of region {artifact.spec.region}, not {home.name}", "register it")
    sync_files(new)
    if target.exists():
        target.rename(part / "damaged")
    new.rename(target)
    sync_folder(home)
    shutil.rmtree(part)
    return True


def _refuse_another(folder: Path, digest: str) -> None:
    """Raises RegistryError when the folder is a sound artifact, but not the registered one."""
    try:
        is_sound, its_digest = read_artifact(folder).network_error is None, manifest_digest(folder)
    except ArtifactError:
        return
    if is_sound and its_digest != digest:
        raise RegistryError(
            f"{folder} is another artifact than the registered one: its manifest has sha256 {its_digest}, and {digest} "
            "is registered",
            remedy="find out where it comes from and move the folder away; then repeat the command",
        )


def is_own_file(path: Path) -> bool:
    """Not a link, whose target MLflow would upload."""
    return path.is_file() and not path.is_symlink()


def copy_evaluation(source: Path, to: Path) -> None:
    """The page of `models evaluate` with its plots and figures, and no other file. Raises OSError."""
    to.mkdir(parents=True, exist_ok=True)
    for path in (source / PAGE, source / FIGURES, *filter(is_own_file, sorted(source.glob("*.png")))):
        shutil.copyfile(path, to / path.name, follow_symlinks=False)


def copy_files(source: Path, to: Path) -> None:
    """The files of an artifact, and no other. Raises OSError."""
    for name in (MANIFEST, *FILES):
        shutil.copyfile(source / name, to / name, follow_symlinks=False)
