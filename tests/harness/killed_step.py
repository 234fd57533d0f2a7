"""An action that is killed before one of its steps: each change of a file, and each call that is named."""

import builtins
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_WRITES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.truncate"}


def killed_before(
    action: Callable[[], object], step: int, *, below: Path, calls: tuple[tuple[type, str], ...] = ()
) -> bool:
    """Run `action` in a child of this process, kill it before its step with that number, and say whether it was.

    A step is a write below a folder, as Python reports it (`sys.addaudithook`), the moment after a file is made or
    emptied, or a call of one of the methods `calls`. A sync is none: a kill before it leaves what a kill after it
    leaves. An error of the action's is raised here, as AssertionError.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _count_steps(step, below, calls)
            action()
        except BaseException as error:
            os.write(writing, repr(error).encode()[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        error_of_action = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert not error_of_action, error_of_action
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _count_steps(last: int, below: Path, calls: tuple[tuple[type, str], ...]) -> None:
    remaining = last

    def count() -> None:
        nonlocal remaining
        if remaining == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        remaining -= 1

    def hook(event: str, args: tuple[object, ...]) -> None:
        is_write = event in _WRITES or (event == "open" and isinstance(args[2], int) and args[2] & _FLAGS)
        if is_write and str(args[0]).startswith(str(below)):
            count()

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            count()
            return function(*args, **options)

        return call

    def opened(*args: object, **options: object) -> object:
        file = plain_open(*args, **options)
        if file.writable() and str(args[0]).startswith(str(below)):
            count()  # it is there, and empty
        return file

    plain_open = builtins.open
    builtins.open = io.open = opened
    sys.addaudithook(hook)
    os.write = counted(os.write)
    for kind, name in calls:
        setattr(kind, name, counted(getattr(kind, name)))


_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def every_kill(action: Callable[[], object], **where: object) -> Iterator[int]:
    """Kill `action` before its first step, its second and so on; gives the number each time. The caller resets between.

    It ends when the action ends before the kill.
    """
    step = 0
    while killed_before(action, step, **where):
        yield step
        step += 1
