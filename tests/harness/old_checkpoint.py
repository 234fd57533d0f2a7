"""A checkpoint that an older version wrote; see tests/data/README.md."""

import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parents[1] / "data" / "checkpoint-c30a2e8.tar.gz"


def unpack_old_checkpoint(folder: Path) -> None:
    """Unpack it into `folder`, and correct the two files that name folders by their full path."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for name in ("roster.json", "spark/state/0/_metadata/v2/0"):
        path = folder / "checkpoint" / name
        path.write_text(path.read_text(encoding="utf-8").replace("FOLDER", str(folder)), encoding="utf-8")
