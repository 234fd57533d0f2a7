"""A registry of models: every version of a region and their roles. A folder and MLflow are the two that there are.

A registry only keeps. Which change is allowed, that each is on record in the audit log before it takes effect, and that
what it gives back is what was registered, are said here once for all.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import msgspec
from msgspec.structs import replace

from models.artifact import FILES, MANIFEST, Artifact, read_artifact
from schemas.audit import AuditEvent, Plain
from schemas.errors import ArtifactError, RegistryError
from schemas.files import (
    exclusive,
    read_json,
    read_regular_file,
    replace_file,
    sha256,
    sync_files,
    sync_folder,
    write_errors,
)
from schemas.fine import FINE_FILE
from schemas.limits import MAX_MANIFEST_BYTES
from schemas.records import STATE, Pointer, RegionState, pointer_path, read_pointer, write_pointer
from schemas.spec import SLUG


class ModelRegistry(Protocol):
    """Each method raises RegistryError when the registry cannot be used."""

    def regions(self) -> list[str]:
        """The regions with a registered version, sorted."""

    def state(self, region: str) -> RegionState:
        """The region's state; an empty one for a region that it does not know."""

    def add(
        self, region: str, folder: Path, digest: str, announce: Callable[[], None], evaluation: Path | None = None
    ) -> None:
        """Keep the verified artifact in `folder`, whose manifest has that sha256. Repeating it is allowed.

        `announce` is called before the version appears, if it is new. evaluation: a folder of `risk evaluate`, whose
        page is kept beside it.
        """

    def change(self, region: str, rule: Callable[[RegionState], RegionState]) -> RegionState:
        """Replace the region's roles by what `rule` makes of its state, and give the new state."""

    def fetch(self, region: str, version: str, to: Path) -> None:
        """Put the files of a registered version into the empty folder `to`, unchecked."""


# Which change of roles is allowed: a state in, the next state out. An unchanged state means that it is so already.

Role = Literal["champion", "challenger"]
_MOST_BEFORE = 50  # earlier champions that are remembered


def registered(state: RegionState, version: str, digest: str) -> RegionState:
    """With this version. Raises RegistryError when another content is registered under it."""
    before = state.manifests.get(version)
    if before not in (None, digest):
        raise RegistryError(
            f"version {version} is registered with the manifest {before}, and this one is {digest}",
            "register the folder as training wrote it; a version never changes",
        )
    return state if before else replace(state, manifests={**state.manifests, version: digest})


def promoted(state: RegionState, version: str, role: Role) -> RegionState:
    """With `version` as champion or challenger. Raises RegistryError."""
    _refuse_unknown(state, version)
    if version in state.retired:
        raise RegistryError(f"version {version} is retired", "promote another one, or train again")
    if version == state.champion:
        if role == "champion":
            return state
        raise RegistryError(f"version {version} is the champion", "promote another one as challenger")
    if role == "challenger":
        return replace(state, challenger=version)
    before = (*state.before, state.champion) if state.champion else ()
    return consistent(replace(state, champion=version, before=before[-_MOST_BEFORE:]))


def rolled_back(state: RegionState) -> RegionState:
    """With the champion before, the newest one that is not retired. Raises RegistryError when there is none."""
    usable = [
        number
        for number, version in enumerate(state.before)
        if version in state.manifests and version not in state.retired
    ]
    if not usable:
        raise RegistryError("no champion came before this one", "promote a version by its name")
    champion = state.before[usable[-1]]
    return consistent(replace(state, champion=champion, before=state.before[: usable[-1]]))


def retired(state: RegionState, version: str) -> RegionState:
    """Without a role for this version, now and later. Raises RegistryError."""
    _refuse_unknown(state, version)
    if version == state.champion:
        raise RegistryError(f"version {version} is the champion", "promote another version first, or roll back")
    if version in state.retired:
        return state
    return consistent(replace(state, retired=(*state.retired, version)))


def consistent(state: RegionState) -> RegionState:
    """Without what an interrupted change leaves behind, where a registry cannot change all at once."""
    before = state.before
    while before and before[-1] == state.champion:
        before = before[:-1]
    is_free = state.challenger not in (state.champion, *state.retired)
    return replace(state, before=before, challenger=state.challenger if is_free else None)


def _refuse_unknown(state: RegionState, version: str) -> None:
    if version not in state.manifests:
        newest = ", ".join(sorted(state.manifests)[-5:]) or "none"
        raise RegistryError(
            f"version {version} is not registered; the newest are {newest}",
            "register its folder with `risk promote FOLDER`",
        )


# A version on its way appears whole and verified, or not at all.

PAGE, FIGURES = "index.html", "evaluation.json"  # of a folder of `risk evaluate`
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
        raise RegistryError(f"{region} has no version {version}", f"see `risk versions {region}`")
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
        try:
            is_sound, another = read_artifact(target).network_error is None, manifest_digest(target)
        except ArtifactError:
            is_sound, another = False, digest
        if is_sound and another != digest:
            raise RegistryError(
                f"{target} is another artifact than the registered one: its manifest has sha256 {another}, and "
                f"{digest} is registered",
                remedy="find out where it comes from and move the folder away; then repeat the command",
            ) from None
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


def is_own_file(path: Path) -> bool:
    """Not a link, whose target MLflow would upload."""
    return path.is_file() and not path.is_symlink()


def copy_evaluation(source: Path, to: Path) -> None:
    """The page of `risk evaluate` with its plots and figures, and no other file. Raises OSError."""
    to.mkdir(parents=True, exist_ok=True)
    for path in (source / PAGE, source / FIGURES, *filter(is_own_file, sorted(source.glob("*.png")))):
        shutil.copyfile(path, to / path.name, follow_symlinks=False)


def copy_files(source: Path, to: Path) -> None:
    """The files of an artifact, and no other. Raises OSError."""
    fine = [FINE_FILE] if (source / FINE_FILE).exists() else []
    for name in (MANIFEST, *FILES, *fine):
        shutil.copyfile(source / name, to / name, follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class FolderRegistry:
    """It needs no server and no package.

    <folder>/<region>/state.json    versions and roles, replaced in one step
             <region>/<version>/    the artifact, as training wrote it
                      <version>.evaluation/    the page of `risk evaluate` that was given with it

    A lock of each region lets one process change it at a time, on one machine. A kill at any point leaves the state of
    before or of after; repeating the command finishes it.
    """

    folder: Path

    def regions(self) -> list[str]:
        try:
            names = (path.parent.name for path in self.folder.glob(f"*/{STATE}"))
            return sorted(name for name in names if re.fullmatch(SLUG, name))
        except OSError as error:
            raise RegistryError(f"{self.folder} cannot be read ({error})", "check owners and modes") from error

    def state(self, region: str) -> RegionState:
        path = self._home(region) / STATE
        remedy = "restore it from a copy; the audit log has every change"
        return read_json(path, RegionState, RegistryError, remedy=remedy) or RegionState()

    def add(
        self, region: str, folder: Path, digest: str, announce: Callable[[], None], evaluation: Path | None = None
    ) -> None:
        """Copy the artifact and the page, then enter it. A damaged copy of before is replaced."""
        version = folder.name
        with self._alone(region) as home:
            before = self.state(region)
            after = registered(before, version, digest)
            if after != before:
                announce()
            bring(home, version, digest, lambda to: copy_files(folder, to))
            if evaluation:
                copy_evaluation(evaluation, home / f"{version}.evaluation")
            self._write(region, before, after)

    def change(self, region: str, rule: Callable[[RegionState], RegionState]) -> RegionState:
        if not self._home(region).exists():
            return rule(RegionState())
        with self._alone(region):
            before = self.state(region)
            after = rule(before)
            self._write(region, before, after)
            return after

    def fetch(self, region: str, version: str, to: Path) -> None:
        source = self._home(region) / version
        try:
            copy_files(source, to)
        except OSError as error:
            remedy = "register that version again from a sound folder"
            raise RegistryError(f"{source} cannot be copied ({error.strerror})", remedy) from error

    def _write(self, region: str, before: RegionState, after: RegionState) -> None:
        if after != before:
            replace_file(self._home(region) / STATE, msgspec.json.format(msgspec.json.encode(after), indent=1))

    @contextmanager
    def _alone(self, region: str) -> Iterator[Path]:
        home = self._home(region)
        with write_errors(RegistryError, f"the registry {home}"), exclusive(home / ".lock"):
            yield home

    def _home(self, region: str) -> Path:
        if not re.fullmatch(SLUG, region):
            raise RegistryError(f"{region!r} is no region's name", "use a-z, 0-9, - and _")
        return self.folder / region


Note = Callable[[AuditEvent, Mapping[str, Plain]], None]  # writes a record of the audit log


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a region's versions are kept and served, and what writes changes down."""

    registry: ModelRegistry
    artifacts: Path
    note: Note


def register(registry: ModelRegistry, folder: Path, note: Note, evaluation: Path | None = None) -> Artifact:
    """Keep the artifact in `folder`, and the page in `evaluation`; it gets no role.

    Raises ArtifactError when it is damaged or has no network, or when there is no page.
    """
    if evaluation and not all(is_own_file(evaluation / name) for name in (PAGE, FIGURES)):
        raise RegistryError(f"{evaluation} has no {PAGE} and {FIGURES}", "name a folder that `risk evaluate` wrote")
    artifact = read_artifact(folder)
    if artifact.network_error:
        raise artifact.network_error
    region, version, digest = artifact.spec.region, artifact.version, manifest_digest(folder)
    announce = partial(note, "model_registered", {"region": region, "version": version, "manifest_sha256": digest})
    registry.add(region, folder, digest, announce, evaluation)
    return artifact


def promote(registry: ModelRegistry, region: str, version: str, role: Role, note: Note) -> RegionState:
    """Make `version` champion or challenger. Raises RegistryError when it is retired or unknown."""
    facts: dict[str, Plain] = {"version": version, "role": role}
    return _change(registry, region, "model_promoted", facts, lambda state: promoted(state, version, role), note)


def roll_back(registry: ModelRegistry, region: str, note: Note) -> RegionState:
    """Make the champion before champion again. Raises RegistryError when there is none."""
    return _change(registry, region, "model_rolled_back", {}, rolled_back, note)


def retire(registry: ModelRegistry, region: str, version: str, note: Note) -> RegionState:
    """Let `version` have no role again, ever. Raises RegistryError for the champion."""
    return _change(registry, region, "model_retired", {"version": version}, lambda state: retired(state, version), note)


def _change(
    registry: ModelRegistry,
    region: str,
    event: AuditEvent,
    facts: Mapping[str, Plain],
    rule: Callable[[RegionState], RegionState],
    note: Note,
) -> RegionState:
    """Make the change. It is on record before it takes effect, unless it changes nothing."""

    def on_record(state: RegionState) -> RegionState:
        after = rule(state)
        if after != state:
            version = facts.get("version", after.champion)
            of_version = {"manifest_sha256": state.manifests[str(version)], "champion_before": state.champion}
            note(event, {"region": region, "version": version, **of_version, **facts})
        return after

    return registry.change(region, on_record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What was done for a region. `fault`: why the challenger was left out."""

    pointer: Pointer
    copied: tuple[str, ...]
    is_pointer_new: bool
    fault: ArtifactError | None = None


def sync(registry: ModelRegistry, artifacts: Path, region: str, note: Note) -> Synced:
    """From the registry to the folder that a job reads: the versions with a role, then the pointer that names them.

    Every hash is verified. Doing it again changes nothing. Without its champion the pointer stays as it is. Raises
    ArtifactError.
    """
    home, copied = artifacts / region, list[str]()

    def brought(state: RegionState, version: str | None) -> None:
        if version in state.retired:
            raise RegistryError(f"version {version} is retired", "promote another one")
        if version and bring(home, version, state.manifests[version], partial(registry.fetch, region, version)):
            copied.append(version)

    if registry.state(region).champion is None:
        raise RegistryError(f"{region} has no champion", f"run `risk promote {region}/VERSION`")
    with write_errors(ArtifactError, home), exclusive(home / ".lock"):
        state = registry.state(region)  # another process may have had the lock until now
        champion, challenger, fault = state.champion or "", state.challenger, None
        brought(state, champion)
        try:
            brought(state, challenger)
        except ArtifactError as error:
            challenger, fault = None, error
        try:
            before = read_pointer(artifacts, region)
        except ArtifactError:
            before = None  # it is written again
        pointer = Pointer(champion=champion, challenger=challenger)
        if is_new := pointer != before:
            facts = {"region": region, "version": champion, "manifest_sha256": state.manifests[champion]}
            path = pointer_path(artifacts, region).absolute()
            note("pointer_written", {**facts, "challenger": challenger, "pointer": str(path)})
            write_pointer(artifacts, region, pointer)
    return Synced(pointer=pointer, copied=tuple(copied), is_pointer_new=is_new, fault=fault)
