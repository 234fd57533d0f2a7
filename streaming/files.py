"""Files that nobody ever sees half written."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes, *, outlives_power_cut: bool = True) -> None:
    """Put `content` at `path` in one step: a reader, and the next start after a crash, find the old file or the new.

    Without `outlives_power_cut` the disk is not waited for: for what is written again within seconds. Makes the folder
    when it is missing. Raises OSError.
    """
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        file.write(content)
        if outlives_power_cut:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)
