"""Spark's part of the checkpoint in a folder that Spark's workers on other machines reach, too.

<checkpoint>/spark is then a link into that folder. All else beside it stays with the driver.
"""

from pathlib import Path

from schemas.errors import CheckpointError
from schemas.files import write_errors


def place_state(checkpoint: Path, shared: Path | None, name: str) -> None:
    """Where there is no state yet, begin it in `shared` as the folder `name`. The caller holds the lock.

    Raises CheckpointError when the state is away, or lies on this machine alone though it is to be shared.
    """
    link = checkpoint / "spark"
    if link.is_symlink() and not link.exists():
        fault = f"{link} leads to {link.readlink()}, which is not there"
        raise CheckpointError(fault, remedy="mount the shared folder, then start again")
    if shared is None or link.is_symlink():
        return
    home = shared.absolute() / name
    if link.exists():
        fault = f"{link} lies on this machine alone, and RISK_SPARK_STATE={shared} is to be shared"
        raise CheckpointError(fault, remedy=f"stop the job, move {link} to {home}, and make {link} a link to it")
    with write_errors(CheckpointError, f"RISK_SPARK_STATE={shared}", remedy="make it, and let this user write"):
        home.mkdir()
        link.symlink_to(home)
