"""From the registry to the folder that a job reads: the versions with a role, then the pointer that names them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lifecycle.registry.changes import Note
from lifecycle.registry.contract import ModelRegistry
from lifecycle.registry.copying import bring
from schemas.errors import ArtifactError, RegistryError
from schemas.files import exclusive, write_errors
from schemas.left_behind.pointer import Pointer, pointer_path, read_pointer, write_pointer
from schemas.left_behind.region_state import RegionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What was done for a region. `fault`: why the challenger was left out."""

    pointer: Pointer
    copied: tuple[str, ...]
    is_pointer_new: bool
    fault: ArtifactError | None = None


def sync(registry: ModelRegistry, artifacts: Path, region: str, note: Note) -> Synced:
    """Bring champion and challenger, every hash verified, and write the pointer. Doing it again changes nothing.

    Without its champion the pointer stays as it is. Raises ArtifactError.
    """
    home = artifacts / region
    state = registry.state(region)
    if state.champion is None:
        raise RegistryError(f"{region} has no champion", f"run `python -m lifecycle promote {region}/VERSION`")
    with write_errors(ArtifactError, home), exclusive(home / ".lock"):
        state = registry.state(region)  # another process may have had the lock until now
        champion, challenger, fault = state.champion, state.challenger, None
        copied = [champion] if champion and _bring(registry, home, state, champion) else []
        try:
            if challenger and _bring(registry, home, state, challenger):
                copied.append(challenger)
        except ArtifactError as error:
            challenger, fault = None, error
        pointer = Pointer(champion=champion or "", challenger=challenger)
        is_new = pointer != _pointer_of(artifacts, region)
        if is_new:
            note("pointer_written", _details(region, pointer, state, pointer_path(artifacts, region)))
            write_pointer(artifacts, region, pointer)
    return Synced(pointer=pointer, copied=tuple(copied), is_pointer_new=is_new, fault=fault)


def _bring(registry: ModelRegistry, home: Path, state: RegionState, version: str) -> bool:
    if version in state.retired:
        raise RegistryError(f"version {version} is retired", "promote another one")
    return bring(home, version, state.manifests[version], partial(registry.fetch, home.name, version))


def _pointer_of(artifacts: Path, region: str) -> Pointer | None:
    try:
        return read_pointer(artifacts, region)
    except ArtifactError:
        return None  # it is written again


def _details(region: str, pointer: Pointer, state: RegionState, path: Path) -> dict[str, str | None]:
    return {
        "region": region,
        "version": pointer.champion,
        "manifest_sha256": state.manifests[pointer.champion],
        "challenger": pointer.challenger,
        "pointer": str(path.absolute()),
    }
