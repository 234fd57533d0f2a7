"""A checkpoint that an older version wrote; see tests/data/README.md."""

import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parents[1] / "data" / "checkpoint-c30a2e8.tar.gz"


def unpack_old_checkpoint(folder: Path) -> None:
    """Unpack it into `folder`, and let its roster name the artifacts there."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    roster = folder / "checkpoint" / "roster.json"
    roster.write_text(roster.read_text(encoding="utf-8").replace("FOLDER", str(folder)), encoding="utf-8")
