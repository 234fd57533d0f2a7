"""The gate's decision about a shadow: promote, stop, go on, or undecided. A pure function of the days and the plan.

It needs no torch: `gate status` answers at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np

from lifecycle.gate.plan import GatePlan
from lifecycle.gate.shadow_day import ShadowDay, ShadowHour, days_of, judged_hours, mean_scores, whole_enough
from lifecycle.gate.trial import Trial
from models.measures.sequence import bounds_of
from schemas.spec import Spec

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
    """Judge the days so far, in their order. margin: nats per value that the challenger may be worse; see `margin_of`.

    May be asked every day: the bounds are those of confidence sequences. Promotion and stop err in `plan.alpha` each,
    as does calibration over all categories together. Nothing is decided before `plan.least_days`, but for a challenger
    that fails: of the hours that it fails in nobody knows how good it would have been.
    """
    used = whole_enough(days)
    difference, low, high = _difference(used, plan.alpha)
    calibration, too_few = _calibration(used, plan)
    decision, because = _decide(used, plan, (low, high, margin), calibration, too_few)
    if reason := _fails(days, plan):
        decision, because = "stop", reason
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


def _fails(days: Sequence[ShadowDay], plan: GatePlan) -> str:
    """Why a trial ends whose challenger fails too often; nothing where it does not.

    The share is that of the least trial until there is more, so that one early hour ends none.
    """
    failed = sum(day.failed for day in days)
    hours = failed + sum(day.hours for day in days)
    if failed <= plan.failed_hours * max(hours, 24 * plan.least_days):
        return ""
    return f"the challenger could not be scored in {failed} of {hours} hours"


def promoted_already(judgement: Judgement) -> Judgement:
    """The judgement of a challenger that has become the champion before its trial ended: by hand, or before a kill."""
    return replace(judgement, decision="promote", because="it was promoted already")


def margin_of(baseline: float, champion: float, plan: GatePlan) -> float:
    """Nats per value that a challenger may be worse: a part of the champion's skill over the baseline, at least 0.

    baseline, champion: mean log scores on the span that is held out before the shadow.
    """
    return max(plan.margin * (baseline - champion), 0.0)


def _difference(days: Sequence[ShadowDay], alpha: float) -> tuple[float, float, float]:
    if not days:
        return 0.0, -inf, inf
    sequence = bounds_of(mean_scores(days, "challenger") - mean_scores(days, "champion"), alpha=alpha)
    return float(sequence.mean[-1]), float(sequence.lower[-1]), float(sequence.upper[-1])


def _calibration(days: Sequence[ShadowDay], plan: GatePlan) -> tuple[tuple[Calibration, ...], tuple[str, ...]]:
    categories = sorted(days[0].observed) if days else []
    observed = {name: np.array([day.observed[name] for day in days]) for name in categories}
    enough = [name for name in categories if observed[name].sum() >= plan.least_incidents]
    judged = []
    for name in enough:
        came = observed[name]
        expected = np.array([day.challenger_expected[name] for day in days])
        per_day = float(expected.mean())
        apart = bounds_of(came - expected, alpha=plan.alpha / (2 * len(categories)))
        judged.append(
            Calibration(
                category=name,
                observed=int(came.sum()),
                ratio=float(came.sum() / expected.sum()),
                low=1 + float(apart.lower[-1]) / per_day,
                high=1 + float(apart.upper[-1]) / per_day,
                champion_ratio=float(came.sum() / sum(day.champion_expected[name] for day in days)),
            )
        )
    return tuple(judged), tuple(name for name in categories if name not in enough)


def _decide(
    days: Sequence[ShadowDay],
    plan: GatePlan,
    difference: tuple[float, float, float],
    calibration: Sequence[Calibration],
    too_few: Sequence[str],
) -> tuple[Decision, str]:
    low, high, margin = difference
    waits = _waits(days, plan)
    if waits and len(days) < plan.most_days:
        return "go on", "; ".join(waits)
    if low > 0:
        return "stop", "the challenger's log score is worse"
    least, most = 1 / (1 + plan.calibration), 1 + plan.calibration
    for total in calibration:
        is_off = total.low > most or total.high < least
        if is_off and abs(np.log(total.ratio)) > abs(np.log(total.champion_ratio)):
            return "stop", f"observed over expected is {total.ratio:.2f} in {total.category}"
    off = [total for total in calibration if not least <= total.ratio <= most]
    lacks = [f"observed over expected is {total.ratio:.2f} in {total.category}" for total in off]
    if high >= margin:
        lacks.append("the upper bound of the difference is not below the margin")
    if too_few and not calibration:
        lacks.append(f"no category has {plan.least_incidents} incidents")
    lacks += waits
    if not lacks:
        return "promote", "the challenger is not worse than the margin allows"
    if len(days) >= plan.most_days:
        return "undecided", f"after {len(days)} days: {'; '.join(lacks)}"
    return "go on", "; ".join(lacks)


def _waits(days: Sequence[ShadowDay], plan: GatePlan) -> list[str]:
    """What the length of the shadow still lacks."""
    waits = []
    if len(days) < plan.least_days:
        waits.append(f"{len(days)} of {plan.least_days} days")
    if any(sum(day.weekday == weekday for day in days) < 2 for weekday in _WEEKEND):
        waits.append("two weekends")
    return waits
