"""A trial: a challenger beside a champion, by a plan that was fixed before it began.

<artifacts>/<region>/trial.json     the one that runs
<artifacts>/<region>/trials.json    those that have ended: each has spent its part of the errors
<artifacts>/<region>/.trial.lock    held while one begins
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from lifecycle.gate.plan import GatePlan
from schemas.errors import ArtifactError, GateClosed
from schemas.files import exclusive, read_json, read_small_json, replace_file, write_errors
from schemas.left_behind.pointer import Version
from schemas.spec import DAY_S

YEAR_S = 365 * DAY_S


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """margin: nats per value by which the challenger may be worse; see `lifecycle.gate.judge.margin_of`.

    remarks: what could not be judged before the trial.
    """

    champion: Version
    challenger: Version
    plan: GatePlan
    plan_sha256: str
    margin: Annotated[float, msgspec.Meta(ge=0)]
    started_s: int
    remarks: tuple[str, ...] = ()


class EndedTrial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a trial for years."""

    champion: Version
    challenger: Version
    started_s: int
    decision: str  # promote, stop, undecided, void, abandoned


def trial_path(artifacts: Path, region: str) -> Path:
    return artifacts / region / "trial.json"


def ended_path(artifacts: Path, region: str) -> Path:
    return artifacts / region / "trials.json"


def read_trial(artifacts: Path, region: str) -> Trial | None:
    """The region's trial; None without one. Raises ArtifactError when it cannot be used."""
    remedy = "remove it, then start the trial again: `python -m lifecycle gate start`"
    return read_small_json(trial_path(artifacts, region), Trial, remedy=remedy)


def write_trial(artifacts: Path, region: str, trial: Trial) -> None:
    """Put the trial in place in one step. Raises ArtifactError."""
    path = trial_path(artifacts, region)
    with write_errors(ArtifactError, path):
        replace_file(path, msgspec.json.format(msgspec.json.encode(trial)) + b"\n")


def ended_trials(artifacts: Path, region: str) -> list[EndedTrial]:
    """Oldest first. Raises ArtifactError."""
    remedy = "restore it from a copy, or write it again from the audit log's records `trial_ended`"
    return read_json(ended_path(artifacts, region), list[EndedTrial], ArtifactError, remedy=remedy) or []


def end_on_record(artifacts: Path, region: str, trial: Trial, decision: str) -> None:
    """Enter the trial among those that have ended, then remove it. After a kill between, doing it again is safe."""
    before = [ended for ended in ended_trials(artifacts, region) if ended.started_s != trial.started_s]
    ended = EndedTrial(
        champion=trial.champion, challenger=trial.challenger, started_s=trial.started_s, decision=decision
    )
    path = ended_path(artifacts, region)
    with write_errors(ArtifactError, path):
        replace_file(path, msgspec.json.format(msgspec.json.encode([*before, ended])) + b"\n")
        trial_path(artifacts, region).unlink(missing_ok=True)


def started_within_a_year(artifacts: Path, region: str, now_s: int) -> list[int]:
    """When the region's trials of the last 365 days began, oldest first; the one that runs is the last."""
    running = read_trial(artifacts, region)
    trials: list[Trial | EndedTrial] = [*ended_trials(artifacts, region), *([running] if running else [])]
    return sorted({trial.started_s for trial in trials if trial.started_s > now_s - YEAR_S})


@contextmanager
def alone(artifacts: Path, region: str) -> Iterator[None]:
    """Wait until no other process starts a trial in the region, then keep the others out. Raises ArtifactError."""
    home = artifacts / region
    with write_errors(ArtifactError, home), exclusive(home / ".trial.lock"):
        yield


def refuse_another(artifacts: Path, region: str, plan: GatePlan, now_s: int) -> None:
    """Raises GateClosed when a trial is running, or the plan allows no other one yet."""
    if running := read_trial(artifacts, region):
        raise GateClosed(
            f"{region} has a trial of {running.challenger}", "end it first: `python -m lifecycle gate end`"
        )
    refuse_too_many(artifacts, region, plan, now_s)


def refuse_too_many(artifacts: Path, region: str, plan: GatePlan, now_s: int) -> None:
    """Raises GateClosed when the plan allows no other trial yet."""
    starts = started_within_a_year(artifacts, region, now_s)
    if len(starts) < plan.trials_a_year:
        return
    free = datetime.fromtimestamp(starts[-plan.trials_a_year] + YEAR_S, UTC).date() + timedelta(days=1)
    raise GateClosed(
        f"{region} has had {len(starts)} trials within 365 days, and the plan allows {plan.trials_a_year}: each may "
        "let a worse model through",
        f"wait until {free}; if that is too long, agree on more trials_a_year and less alpha in the plan",
    )
