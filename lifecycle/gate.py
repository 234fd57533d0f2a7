"""The gate: its plan, the trials on record, and the decision as a pure function of plan and judged days.

<artifacts>/<region>/trial.json     the trial that runs
<artifacts>/<region>/trials.json    those that have ended: each has spent its part of the errors
<artifacts>/<region>/.trial.lock    held while one begins

It needs no torch: `gate status` answers at once.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np

from lifecycle.shadow import (
    ShadowDay,
    ShadowHour,
    days_of,
    judged_hours,
    mean_scores,
    observed_over_expected,
    whole_enough,
)
from models.comparison import bounds_of
from schemas.errors import ArtifactError, GateClosed, SettingsError
from schemas.files import exclusive, read_json, read_regular_file, read_small_json, replace_file, sha256, write_errors
from schemas.limits import MIB
from schemas.records import Version
from schemas.spec import DAY_S, Spec

Days = Annotated[int, msgspec.Meta(ge=3, le=365)]
Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class GatePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of gate.toml, each with its default."""

    alpha: Share = 0.05  # how often a challenger that is worse by the margin may pass, over the whole trial
    margin: Share = 0.2  # how much of the champion's skill over the baseline a challenger may lose
    least_days: Days = 14
    most_days: Days = 60
    least_incidents: Annotated[int, msgspec.Meta(ge=1)] = 100  # in a category, before its total is judged
    calibration: Share = 0.1  # how far observed over expected may lie from 1
    held_out_days: Days = 28  # that a challenger's training leaves out, for the comparison before the shadow
    failed_hours: Share = 0.05  # of a trial's hours, in which the challenger may have failed
    trials_a_year: Annotated[int, msgspec.Meta(ge=1, le=52)] = 4  # that may start in a region; each errs in alpha
    auto: bool = False  # `gate end` promotes without `--confirm`
    groups: str = ""  # file of groups that a challenger may not serve less evenly; as of `risk disparity`

    def __post_init__(self) -> None:
        if self.least_days > self.most_days:
            raise SettingsError(
                f"least_days = {self.least_days} and most_days = {self.most_days}", "choose least_days <= most_days"
            )


def read_plan(path: Path) -> tuple[GatePlan, str]:
    """The plan in a TOML file, and the file's sha256. Raises SettingsError."""
    remedy = f"write it with the keys {', '.join(GatePlan.__struct_fields__)}, or set RISK_GATE_PLAN to another file"
    try:
        content = read_regular_file(path, MIB)
        return msgspec.convert(tomllib.loads(content.decode()), GatePlan), sha256(content)
    except ArtifactError as error:
        raise SettingsError(error.message, remedy) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SettingsError(f"{path} is no plan of a gate ({error})", remedy) from error


YEAR_S = 365 * DAY_S


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """margin: nats per value by which the challenger may be worse. remarks: what could not be judged before it."""

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
    remedy = "remove it, then start the trial again: `risk gate start`"
    return read_small_json(trial_path(artifacts, region), Trial, remedy=remedy)


def write_trial(artifacts: Path, region: str, trial: Trial) -> None:
    """Put the trial in place in one step. Raises ArtifactError."""
    _write(trial_path(artifacts, region), trial)


def _write(path: Path, content: object) -> None:
    with write_errors(ArtifactError, path):
        replace_file(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")


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
    _write(ended_path(artifacts, region), [*before, ended])
    path = trial_path(artifacts, region)
    with write_errors(ArtifactError, path):
        path.unlink(missing_ok=True)


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
        raise GateClosed(f"{region} has a trial of {running.challenger}", "end it first: `risk gate end`")
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


Decision = Literal["promote", "stop", "go on", "undecided"]
_WEEKEND = (6, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Observed over expected in one category, with the bounds of its confidence sequence."""

    category: str
    observed: int
    ratio: float
    low: float
    high: float
    champion_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The decision, its reason, and what it was based on. Differences: challenger - champion, nats per value."""

    decision: Decision
    because: str
    days: int
    difference: float
    low: float
    high: float
    margin: float
    calibration: tuple[Calibration, ...]  # of categories with enough incidents
    too_few: tuple[str, ...]  # categories without
    failed: Mapping[str, int]  # local day -> hours that the challenger could not be scored
    cut: Mapping[str, int]  # local day -> hours that are left out: the feed was silent, or many messages were refused


def judge_trial(trial: Trial, spec: Spec, checkpoint: Path) -> Judgement:
    """What the job's judged hours say so far."""
    return judge_hours(trial, spec, judged_hours(checkpoint, spec, trial.champion))


def judge_hours(trial: Trial, spec: Spec, hours: Iterable[ShadowHour]) -> Judgement:
    """Judge the whole days of these hours of the champion, with the challenger or without."""
    days = days_of(hours, spec, champion=trial.champion, challenger=trial.challenger, since_s=trial.started_s)
    return judge_shadow(days, trial.plan, margin=trial.margin)


def judge_shadow(days: Sequence[ShadowDay], plan: GatePlan, *, margin: float) -> Judgement:
    """Judge the days so far, in their order. margin: nats per value that the challenger may be worse.

    May be asked every day: the bounds are those of confidence sequences. Promotion and stop err in `plan.alpha` each,
    as does calibration over all categories together. Nothing is decided before `plan.least_days`, but for a challenger
    that fails: of the hours that it fails in nobody knows how good it would have been.
    """
    used = whole_enough(days)
    difference, low, high = 0.0, -inf, inf
    if used:
        sequence = bounds_of(mean_scores(used, "challenger") - mean_scores(used, "champion"), alpha=plan.alpha)
        difference, low, high = (float(of[-1]) for of in (sequence.mean, sequence.lower, sequence.upper))
    calibration, too_few = _calibration(used, plan)

    waits = []  # what the length of the shadow still lacks
    if len(used) < plan.least_days:
        waits.append(f"{len(used)} of {plan.least_days} days")
    if any(sum(day.weekday == weekday for day in used) < 2 for weekday in _WEEKEND):
        waits.append("two weekends")
    least, most = 1 / (1 + plan.calibration), 1 + plan.calibration
    worse = [  # in these it is off for sure, and more so than the champion
        total
        for total in calibration
        if (total.low > most or total.high < least) and abs(np.log(total.ratio)) > abs(np.log(total.champion_ratio))
    ]
    off = [total for total in calibration if not least <= total.ratio <= most]
    lacks = [f"observed over expected is {total.ratio:.2f} in {total.category}" for total in off]
    if high >= margin:
        lacks.append("the upper bound of the difference is not below the margin")
    if too_few and not calibration:
        lacks.append(f"no category has {plan.least_incidents} incidents")
    lacks += waits
    # Of a trial's hours; those of the least trial until there are more, so that one early hour ends none
    failed = sum(day.failed for day in days)
    hours = failed + sum(day.hours for day in days)

    decision: Decision
    if failed > plan.failed_hours * max(hours, 24 * plan.least_days):
        decision, because = "stop", f"the challenger could not be scored in {failed} of {hours} hours"
    elif waits and len(used) < plan.most_days:
        decision, because = "go on", "; ".join(waits)
    elif low > 0:
        decision, because = "stop", "the challenger's log score is worse"
    elif worse:
        decision, because = "stop", f"observed over expected is {worse[0].ratio:.2f} in {worse[0].category}"
    elif not lacks:
        decision, because = "promote", "the challenger is not worse than the margin allows"
    elif len(used) >= plan.most_days:
        decision, because = "undecided", f"after {len(used)} days: {'; '.join(lacks)}"
    else:
        decision, because = "go on", "; ".join(lacks)
    return Judgement(
        decision=decision,
        because=because,
        days=len(used),
        difference=difference,
        low=low,
        high=high,
        margin=margin,
        calibration=calibration,
        too_few=too_few,
        failed={day.day: day.failed for day in days if day.failed},
        cut={day.day: day.cut for day in days if day.cut},
    )


def promoted_already(judgement: Judgement) -> Judgement:
    """The judgement of a challenger that has become the champion before its trial ended: by hand, or before a kill."""
    return replace(judgement, decision="promote", because="it was promoted already")


def _calibration(days: Sequence[ShadowDay], plan: GatePlan) -> tuple[tuple[Calibration, ...], tuple[str, ...]]:
    categories = sorted(days[0].observed) if days else []
    observed = {name: np.array([day.observed[name] for day in days]) for name in categories}
    enough = [name for name in categories if observed[name].sum() >= plan.least_incidents]
    judged = []
    for name in enough:
        came = observed[name].sum()  # NumPy's: over a champion that expected nothing it is infinite
        expected = np.array([day.challenger_expected[name] for day in days])
        alpha = plan.alpha / (2 * len(categories))
        ratio, low, high = observed_over_expected(observed[name], expected, alpha=alpha)
        of_champion = float(came / sum(day.champion_expected[name] for day in days))
        judged.append(
            Calibration(category=name, observed=int(came), ratio=ratio, low=low, high=high, champion_ratio=of_champion)
        )
    return tuple(judged), tuple(name for name in categories if name not in enough)
