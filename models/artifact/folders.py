"""Folders that a command will write into, tried before its work begins."""

from pathlib import Path
from tempfile import TemporaryFile


def make_writable(folder: Path) -> None:
    """Make the folder, and a file in it that is gone at once. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder):
        pass
