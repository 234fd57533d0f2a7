"""Some writers side by side, in threads."""

from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from typing import TypeVar

T = TypeVar("T")


def side_by_side(acts: Sequence[Callable[[], T]], *, writers: int, failed: Event) -> list[T]:
    """The results of the acts, in no certain order. At most `writers` of them run at a time; the caller is one.

    When an act raises, no other begins, and `failed` is set, so that those that run can end early. When they have
    ended, the error is raised; of several, the first one.
    """
    left, lock = iter(acts), Lock()
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        while not failed.is_set():
            with lock:
                act = next(left, None)
            if act is None:
                return
            try:
                results.append(act())
            except BaseException as error:  # it is raised below, in the caller's thread
                errors.append(error)
                failed.set()

    others = [Thread(target=work, daemon=True) for _ in range(min(writers, len(acts)) - 1)]  # a process can end
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
    return results
