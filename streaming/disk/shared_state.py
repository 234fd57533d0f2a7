"""Spark's part of the checkpoint in a place that Spark's workers on other machines reach, too.

<checkpoint>/spark then leads there (see streaming/disk/spark_folder.py). All else beside it stays with the driver.
"""

from pathlib import Path

from schemas.errors import CheckpointError
from schemas.files import replace_file, write_errors
from streaming.disk.spark_folder import OBJECT_STORE, SparkFolder, spark_address


def is_stored(checkpoint: Path, shared: str) -> bool:
    """Whether Spark's state is in an object store, or will be."""
    return any(place.startswith(OBJECT_STORE) for place in (shared, spark_address(checkpoint)))


def place_state(checkpoint: Path, shared: str, name: str) -> None:
    """Where there is no state yet, begin it in `shared` as the folder `name`. The caller holds the lock.

    shared: a folder, an address of an object store, or empty. Raises CheckpointError when the state is away, or lies
    on this machine alone though it is to be shared.
    """
    place = checkpoint / "spark"
    if place.is_file():
        if not SparkFolder.of(checkpoint).listed(deep=True):
            fault = f"{place} leads to {spark_address(checkpoint)}, where nothing is"
            raise CheckpointError(fault, remedy="bring it back; `checkpoint --reset` begins anew")
        return
    if place.is_symlink() and not place.exists():
        fault = f"{place} leads to {place.readlink()}, which is not there"
        raise CheckpointError(fault, remedy="mount the shared folder, then start again")
    if not shared or place.is_symlink():
        return
    goes_away = shared.startswith(OBJECT_STORE)
    home = f"{shared.rstrip('/')}/{name}" if goes_away else str(Path(shared).absolute() / name)
    if place.exists():
        leads = f"a file with the line {home}" if goes_away else "a link to it"
        fault = f"{place} lies on this machine alone, and RISK_SPARK_STATE={shared} is to be shared"
        raise CheckpointError(fault, remedy=f"stop the job, move {place} to {home}, and make {place} {leads}")
    if goes_away:
        SparkFolder.at(home).write(b"", "begun")  # an object store knows no empty folder
        with write_errors(CheckpointError, place):
            replace_file(place, f"{home}\n".encode())
        return
    with write_errors(CheckpointError, f"RISK_SPARK_STATE={shared}", remedy="make it, and let this user write"):
        Path(home).mkdir()
        place.symlink_to(home)
