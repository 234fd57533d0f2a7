"""Keeps a child's chatter off the terminal, which belongs to the person who watches."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def output_into(log: Path) -> Iterator[None]:
    """Send what this process and its children write on the terminal to `log` instead; children keep doing so."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    ours = [os.dup(number) for number in (1, 2)]
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        for number, saved in zip((1, 2), ours, strict=True):
            os.dup2(saved, number)
            os.close(saved)
