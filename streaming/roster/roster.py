"""The roster: which artifact scores which region. The driver decides, the workers read its decision from a file.

One writer and one file mean that every stage of every batch, on every worker and after every restart, follows
the same decision. The file stands beside the checkpoint, because it also says for which spec each region's
stored counts were made: an artifact with another fingerprint is refused for as long as that checkpoint is used.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from models.artifact.artifact import Artifact, newest_artifacts, read_artifact, read_spec
from schemas.decode import Vocabulary
from schemas.errors import ArtifactError, ArtifactsAway, SettingsError, SpecMismatch
from schemas.limits import MAX_REGIONS, MAX_SERIES
from schemas.spec import Spec, differences
from streaming.files import replace_file
from streaming.roster.artifact_cache import KeptPerRegion
from streaming.roster.scan import Candidate, Candidates


class Entry(msgspec.Struct, frozen=True):
    """One region's artifact in force."""

    folder: str
    version: str
    fingerprint: str


class Refused(msgspec.Struct, frozen=True):
    """An artifact that was not taken over, and why."""

    folder: str
    reason: str


@KeptPerRegion
def load_artifact(folder: str) -> Artifact:
    """The artifact in `folder`, read and verified once per process: a published folder never changes."""
    return read_artifact(Path(folder))


@KeptPerRegion
def vocabulary(folder: str) -> Vocabulary:
    return Vocabulary.of(read_spec(Path(folder)))


def read_roster(path: Path) -> dict[str, Entry]:
    """The roster in force: region -> entry. Empty when none has been published yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Entry])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({error}): bring it back, or start with a new checkpoint"
        ) from error


def refresh_roster(
    path: Path, artifacts: Path, *, latest_s: float = math.inf, candidates: Candidates | None = None
) -> tuple[dict[str, Entry], list[Refused]]:
    """Take over the newest sound artifact of each region and publish the roster if it changed.

    Gives what `next_roster` gives. Raises ArtifactError, and publishes nothing, when an artifact in force would lie
    outside of `artifacts`.
    """
    before = read_roster(path)
    after, refused = next_roster(before, artifacts, latest_s=latest_s, candidates=candidates)
    if stray := elsewhere(after, artifacts):
        raise ArtifactError(stray + "".join(f"; {one.folder}: {one.reason}" for one in refused))
    if after != before:
        _publish(path, after)
    return after, refused


def next_roster(
    before: Mapping[str, Entry],
    artifacts: Path,
    *,
    latest_s: float = math.inf,
    candidates: Candidates | None = None,
) -> tuple[dict[str, Entry], list[Refused]]:
    """The roster after `before`, and the artifacts newer than those in force that were refused.

    A region never leaves the roster: its entry is what says for which spec its stored counts were made. latest_s: end
    of the latest history that a region may begin with, epoch seconds. candidates: what earlier looks have found.
    Raises ArtifactsAway when `artifacts` cannot be looked through.
    """
    candidates = Candidates() if candidates is None else candidates
    after = dict(before)
    refused: list[Refused] = []
    for region, folders in _listed(artifacts).items():
        in_force = before.get(region)
        for folder in folders:
            if in_force and str(folder) == in_force.folder:
                after[region] = in_force
                break
            try:
                candidate, artifact = candidates.look(folder)
                _refuse_misfit(region, folder, candidate, in_force, latest_s)
                if in_force is None:
                    _refuse_too_many(after, folder, candidate.spec.series)
                load_artifact.keep(str(folder), artifact or read_artifact(folder))
                after[region] = Entry(str(folder), candidate.version, candidate.spec.fingerprint())
                break
            except ArtifactError as error:
                refused.append(Refused(str(folder), str(error)))
    candidates.forget_all_but({Path(one.folder) for one in refused})
    return after, refused


def _listed(artifacts: Path) -> dict[str, list[Path]]:
    try:
        return newest_artifacts(artifacts)
    except ArtifactError as error:
        raise ArtifactsAway(str(error)) from error
    except OSError as error:
        raise ArtifactsAway(f"{artifacts} cannot be read ({error.strerror}): check owners and modes") from error


def is_gone(entry: Entry) -> bool:
    """Whether its folder is no longer there, as far as can be seen."""
    try:
        return not Path(entry.folder).is_dir()
    except OSError:
        return True


def elsewhere(roster: Mapping[str, Entry], artifacts: Path) -> str:
    """Says which artifact in force does not lie under `artifacts`; empty when all do."""
    for region, entry in roster.items():
        if Path(entry.folder).parents[1] != artifacts:
            return (
                f"{artifacts} has no artifact of {region} that fits the checkpoint, whose own is {entry.folder}: "
                f"set RISK_ARTIFACTS to {Path(entry.folder).parents[1]}, or put one of that spec there"
            )
    return ""


def _refuse_misfit(region: str, folder: Path, candidate: Candidate, in_force: Entry | None, latest_s: float) -> None:
    """Raise ArtifactError when the candidate may not score the region in the place of the artifact in force."""
    if in_force and candidate.network_fault:
        raise ArtifactError(f"{candidate.network_fault}; {in_force.version} stays in force")
    fingerprint = candidate.spec.fingerprint()
    if candidate.spec.region != region:
        raise ArtifactError(f"{folder} is for region {candidate.spec.region}: move it to a folder of that name")
    if in_force and fingerprint != in_force.fingerprint:
        raise SpecMismatch(
            f"{folder} has spec {fingerprint}, but the stored counts of {region} were made for spec "
            f"{in_force.fingerprint}{_what_differs(in_force, candidate.spec)}: train with "
            f"`--like {in_force.folder}`, which keeps that spec, or start with a new checkpoint folder"
        )
    if in_force is None and candidate.cutoff_s > latest_s:
        raise ArtifactError(
            f"{folder} has counts up to {datetime.fromtimestamp(candidate.cutoff_s, UTC):%Y-%m-%d %H:%M}Z, a time to "
            "come: set this machine's clock, or train again without incidents of the future"
        )


def _what_differs(in_force: Entry, now: Spec) -> str:
    """The fields that differ from the artifact in force; nothing when that one is gone."""
    try:
        was = vocabulary(in_force.folder).spec
    except ArtifactError:
        return ""
    return f" ({'; '.join(differences(was, now))})"


def _refuse_too_many(roster: dict[str, Entry], folder: Path, new: int) -> None:
    """Raise ArtifactError when one more region would be more than this job or its store can carry."""
    if len(roster) >= MAX_REGIONS:
        raise ArtifactError(f"{folder} would be region {len(roster) + 1}, at most {MAX_REGIONS} fit: run a second job")
    there = sum(vocabulary(entry.folder).spec.series for entry in roster.values() if not is_gone(entry))
    if there + new > MAX_SERIES:
        raise ArtifactError(
            f"{folder} would bring the store from {there:,} to {there + new:,} series, at most {MAX_SERIES:,} are "
            "allowed: choose larger cells, or run a second job with a store of its own"
        )


def _publish(path: Path, roster: dict[str, Entry]) -> None:
    try:
        replace_file(path, msgspec.json.format(msgspec.json.encode(roster, order="sorted")))
    except OSError as error:
        raise SettingsError(f"RISK_CHECKPOINT={path.parent} cannot be written ({error.strerror})") from error
