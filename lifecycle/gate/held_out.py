"""Champion and challenger on a span that neither has learned from: what is asked before a shadow begins."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lifecycle.gate.evenness import Evenness
from lifecycle.gate.judge import margin_of
from lifecycle.gate.judged_hour import judged_hour
from lifecycle.gate.plan import GatePlan
from lifecycle.gate.shadow_day import ShadowDay, ShadowHour, days_of, mean_scores, whole_enough
from models.artifact.artifact import Artifact
from models.features import FeatureEngine
from models.measures.outcomes import Forecast
from models.measures.paired import Difference, difference_of
from models.scoring import means
from models.training.replay import IncidentHistory, Replay
from schemas.left_behind.closed_counts import ClosedHorizon
from schemas.spec import DAY_S, HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What the span has shown. Log scores: means of days, nats per value.

    `faults` keep the challenger out; `remarks` say what could not be judged.
    """

    days: int
    champion: float
    challenger: float
    baseline: float
    difference: Difference | None  # challenger - champion; None when there is too little
    margin: float
    faults: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def unsound(champion: Artifact, challenger: Artifact) -> tuple[str, ...]:
    """Why the challenger cannot be tried at all."""
    faults = []
    if challenger.network_fault:
        faults.append(f"it has no network: {challenger.network_fault}")
    if challenger.spec.fingerprint() != champion.spec.fingerprint():
        faults.append("its spec is another one; train it with --like the champion's folder")
    if challenger.manifest.data.cutoff_s <= champion.manifest.data.cutoff_s:
        faults.append("its data end no later than the champion's")
    return tuple(faults)


def held_out_from_s(champion: Artifact, challenger: Artifact) -> int:
    """Where the span may begin: no forecast of it lies within the longest horizon of what either has learned from."""
    newest_s = max(champion.manifest.data.cutoff_s, challenger.manifest.data.cutoff_s)
    return -(-(newest_s + max(champion.spec.horizons_s)) // HOUR_S) * HOUR_S


def compare_held_out(champion: Artifact, challenger: Artifact, past: IncidentHistory, plan: GatePlan) -> HeldOut:
    """Compare hourly forecasts from `held_out_from_s` to the history's end: the scores of the shortest horizon."""
    start_s, hours = held_out_from_s(champion, challenger), list[ShadowHour]()
    groups = Evenness.read(plan.groups, past.spec.grid)
    for tick_s, (new, old) in _forecasts((challenger, champion), past, start_s):
        observed = past.counts(tick_s, tick_s + past.spec.horizons_s[0])
        closed = ClosedHorizon(horizon=0, tick_s=tick_s, judged_s=past.cutoff_s, observed=observed)
        hours.append(judged_hour(old, new, closed, past.spec))
        if groups:
            groups.add(tick_s, observed, new.expected[:, :, 0], old.expected[:, :, 0])
    days = whole_enough(days_of(hours, past.spec, champion=champion.version, challenger=challenger.version))
    if len(days) < plan.least_days:
        fault = f"{len(days)} days are held out, and the plan asks for {plan.least_days}: train until an earlier day"
        return HeldOut(days=len(days), champion=0, challenger=0, baseline=0, difference=None, margin=0, faults=(fault,))
    judged = judge_held_out(days, plan)
    faults, remarks = groups.judged() if groups else ((), ())
    return replace(judged, faults=(*judged.faults, *faults), remarks=remarks)


def judge_held_out(days: Sequence[ShadowDay], plan: GatePlan) -> HeldOut:
    """Judge the challenger by the days of the span."""
    baseline, champion, challenger = (
        float(mean_scores(days, name).mean()) for name in ("baseline", "champion", "challenger")
    )
    apart, margin = _difference(days, "champion"), margin_of(baseline, champion, plan)
    return HeldOut(
        days=len(days),
        champion=champion,
        challenger=challenger,
        baseline=baseline,
        difference=apart,
        margin=margin,
        faults=tuple(faults_of(apart, margin, days, plan)),
    )


def _difference(days: Sequence[ShadowDay], beside: str) -> Difference:
    """How far the challenger's log scores are apart from those of `champion` or `baseline`."""
    apart = mean_scores(days, "challenger") - mean_scores(days, beside)
    return difference_of(apart[None], np.arange(len(days)), np.random.default_rng(0))


def faults_of(apart: Difference, margin: float, days: Sequence[ShadowDay], plan: GatePlan) -> Iterator[str]:
    """What speaks against a trial: worse than the champion or the baseline, or totals that are off."""
    if apart.low > 0:
        yield "its log score is worse"
    elif apart.high >= margin:
        yield f"its log score may be worse by {apart.high:.2g} nats, and the margin is {margin:.2g}"
    if _difference(days, "baseline").low > 0:
        yield "its log score is worse than the baseline's"
    for category in days[0].observed:
        observed = sum(day.observed[category] for day in days)
        if observed < plan.least_incidents:
            continue
        ratio, before = (
            observed / sum(getattr(day, name)[category] for day in days)
            for name in ("challenger_expected", "champion_expected")
        )
        beyond = abs(np.log(ratio)) - np.log1p(plan.calibration)
        # It would not pass its trial either: off, and worse than the champion, or off by more than chance
        if beyond > 0 and (abs(np.log(ratio)) > abs(np.log(before)) or beyond > 2 / np.sqrt(observed)):
            yield f"observed over expected is {ratio:.2f} in {category}"


def _forecasts(
    artifacts: Sequence[Artifact], past: IncidentHistory, start_s: int
) -> Iterator[tuple[int, list[Forecast]]]:
    """The forecasts of each artifact from the same counts, for all hours whose shortest horizon the history holds."""
    spec, replay = past.spec, Replay(past)
    sides = [(artifact, artifact.network(), FeatureEngine(spec, artifact.constants)) for artifact in artifacts]
    last_s = (past.cutoff_s - spec.horizons_s[0]) // HOUR_S * HOUR_S
    for tick_s in past.clear_of_cuts(range(start_s, last_s + 1, HOUR_S), spec.horizons_s[0]):
        state, forecasts = replay.lead_to(tick_s), []
        for artifact, network, engine in sides:
            usual, expected, _ = means(engine.compute(state).values, network, spec)
            of_network = network is not None
            forecasts.append(Forecast.of(artifact.version, expected, usual, artifact.constants, of_network=of_network))
        yield tick_s, forecasts


def longest_training_s(end_s: int, plan: GatePlan, horizons_s: Sequence[int]) -> int:
    """Until when a challenger may learn, so that the plan's days before `end_s` are held out."""
    return (end_s - plan.held_out_days * DAY_S - max(horizons_s)) // DAY_S * DAY_S
