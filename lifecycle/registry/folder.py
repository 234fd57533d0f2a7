"""A registry that is a folder: it needs no server and no package.

    <registry>/<region>/state.json    versions and roles, replaced in one step
               <region>/<version>/    the artifact, as training wrote it
                        <version>.evaluation/    the page of `models evaluate` that was given with it

A lock of each region lets one process change it at a time, on one machine. A kill at any point leaves the state of
before or of after; repeating the command finishes it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lifecycle.registry.copying import bring, copy_evaluation, copy_files
from lifecycle.registry.rules import registered
from schemas.errors import RegistryError
from schemas.files import exclusive, read_json, replace_file, write_errors
from schemas.left_behind.region_state import STATE, RegionState
from schemas.spec import SLUG


@dataclass(frozen=True, slots=True)
class FolderRegistry:
    """Versions and roles in `folder`."""

    folder: Path

    def regions(self) -> list[str]:
        """The regions that have a state."""
        try:
            names = (path.parent.name for path in self.folder.glob(f"*/{STATE}"))
            return sorted(name for name in names if re.fullmatch(SLUG, name))
        except OSError as error:
            raise RegistryError(f"{self.folder} cannot be read ({error})", "check owners and modes") from error

    def state(self, region: str) -> RegionState:
        """The state as it is on disk."""
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
        """Change the state under the region's lock."""
        if not self._home(region).exists():
            return rule(RegionState())
        with self._alone(region):
            before = self.state(region)
            after = rule(before)
            self._write(region, before, after)
            return after

    def fetch(self, region: str, version: str, to: Path) -> None:
        """Copy the version's files."""
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
