"""A process's cache of artifacts: the last few of each region, so that it does not grow with every new version."""

from collections.abc import Callable
from functools import update_wrapper
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
KEPT_VERSIONS = 3  # the version in force, its challenger and, while they change, the one before or after


class ArtifactCache(Generic[T]):
    """`read(folder)`, remembered for the KEPT_VERSIONS folders of each region that were used last.

    A folder is <artifacts>/<region>/<version>, and never changes. When `read` raises, nothing is remembered.
    """

    def __init__(self, read: Callable[[str], T]) -> None:
        update_wrapper(self, read)
        self._read = read
        self._kept: dict[str, dict[str, T]] = {}
        self._lock = Lock()

    def __call__(self, folder: str) -> T:
        region = folder.rpartition("/")[0]
        with self._lock:
            versions = self._kept.setdefault(region, {})
            if folder in versions:
                versions[folder] = versions.pop(folder)
                return versions[folder]
        value = self._read(folder)
        self.keep(folder, value)
        return value

    def keep(self, folder: str, value: T) -> None:
        """Remember a value of `folder` that the caller has read, in place of the remembered one."""
        with self._lock:
            versions = self._kept.setdefault(folder.rpartition("/")[0], {})
            versions.pop(folder, None)
            versions[folder] = value
            while len(versions) > KEPT_VERSIONS:
                del versions[next(iter(versions))]

    def __reduce__(self) -> str:
        """Pickle by name, as a function of a module. Spark sends it to its workers, and each fills its own cache."""
        return self._read.__qualname__
