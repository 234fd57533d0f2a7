"""What a process keeps of artifacts: of each region the last few, so that it does not grow as versions come."""

from collections.abc import Callable
from functools import update_wrapper
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
KEPT_VERSIONS = 2  # the one in force, and the one before it or the one after it while they change


class KeptPerRegion(Generic[T]):
    """`read(folder)`, remembered for the KEPT_VERSIONS folders of each region that were asked for last.

    A folder is <artifacts>/<region>/<version>, and never changes. What `read` raises is not remembered.
    """

    def __init__(self, read: Callable[[str], T]) -> None:
        update_wrapper(self, read)
        self._read = read
        self._kept: dict[str, dict[str, T]] = {}
        self._lock = Lock()

    def __call__(self, folder: str) -> T:
        region = folder.rpartition("/")[0]
        with self._lock:
            kept = self._kept.setdefault(region, {})
            if folder in kept:
                kept[folder] = kept.pop(folder)
                return kept[folder]
        value = self._read(folder)
        self.keep(folder, value)
        return value

    def keep(self, folder: str, value: T) -> None:
        """Remember what was read from `folder` by other means, instead of what is remembered of it."""
        with self._lock:
            kept = self._kept.setdefault(folder.rpartition("/")[0], {})
            kept.pop(folder, None)
            kept[folder] = value
            while len(kept) > KEPT_VERSIONS:
                del kept[next(iter(kept))]

    def __reduce__(self) -> str:
        """As a function of a module is pickled: by name. Spark sends its workers ours, and each keeps its own."""
        return self._read.__qualname__
