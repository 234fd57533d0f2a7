"""What may score a region: the champion of its pointer, or without one its newest sound artifact."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.artifact.artifact import Artifact, newest_artifacts, read_artifact
from schemas.errors import ArtifactError, ArtifactsAway
from schemas.left_behind.pointer import pointer_path, read_pointer

OTHER_CHAMPION = "run `python -m lifecycle promote REGION`, or promote another version"


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may score a region: `folders`, best first, or the `fault` of its pointer. `pointer` is None without one."""

    folders: Sequence[Path] = ()
    pointer: Path | None = None
    fault: ArtifactError | None = None


def candidates_by_region(artifacts: Path) -> dict[str, Candidates]:
    """Region -> what may score it: the champion of its pointer alone; without a pointer all artifacts, newest first.

    Raises ArtifactsAway when `artifacts` cannot be read.
    """
    newest = newest_artifacts(artifacts)
    try:
        regions = sorted(path.name for path in artifacts.iterdir() if path.is_dir() and not path.name.startswith("."))
        by_region = {region: _pointed_at(artifacts, region) or Candidates(newest.get(region, ())) for region in regions}
    except OSError as error:
        raise ArtifactsAway(f"{artifacts} cannot be read ({error})", remedy="check owners and modes") from error
    return {region: of_region for region, of_region in by_region.items() if of_region.folders or of_region.fault}


def _pointed_at(artifacts: Path, region: str) -> Candidates | None:
    path = pointer_path(artifacts, region)
    try:
        pointer = read_pointer(artifacts, region)
    except ArtifactError as error:
        return Candidates(pointer=path, fault=error)
    return Candidates([artifacts / region / pointer.champion], path) if pointer else None


def champion_of(artifacts: Path, region: str) -> Artifact:
    """The artifact that a job would score the region with, if it is sound. Raises ArtifactError.

    >>> champion_of(Path("streaming/sample/artifacts"), "chicago").spec.horizon_names
    ('1h', '4h', '24h')
    """
    possible = candidates_by_region(artifacts).get(region, Candidates())
    if possible.fault:
        raise possible.fault
    if not possible.folders:
        raise ArtifactError(f"{artifacts} holds no artifact of {region!r}", "train one, or name another folder")
    return read_artifact(possible.folders[0])


def challenger_of(artifacts: Path, region: str) -> Path | None:
    """The folder of the region's challenger; None when it has none. Raises ArtifactError for a damaged pointer.

    >>> challenger_of(Path("streaming/sample/artifacts"), "chicago") is None
    True
    """
    pointer = read_pointer(artifacts, region)
    return artifacts / region / pointer.challenger if pointer and pointer.challenger else None
