"""Champion and challenger on a span that neither has learned from: what is asked before a shadow begins."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.artifact.artifact import Artifact
from models.counting.closed_horizons import ClosedHorizon
from models.features import FeatureEngine
from models.gate.judge import margin_of
from models.gate.plan import GatePlan
from models.gate.shadow_day import ShadowDay, ShadowHour, days_of, judged_hour, mean_scores, whole_enough
from models.measures.outcomes import Forecast
from models.measures.paired import Difference, difference
from models.scoring import means
from models.training.replay import IncidentHistory, Replay
from schemas.spec import DAY_S, HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What the span has shown. Log scores: means of days, nats per value. `faults` keep the challenger out."""

    days: int
    champion: float
    challenger: float
    baseline: float
    difference: Difference | None  # challenger - champion; None when there is too little
    margin: float
    faults: tuple[str, ...]


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
    """Compare hourly forecasts for the shortest horizon from `held_out_from_s` to the history's end."""
    hours = list(_hours(champion, challenger, past))
    days = whole_enough(days_of(hours, past.spec, champion=champion.version, challenger=challenger.version))
    if len(days) < plan.least_days:
        fault = f"{len(days)} days are held out, and the plan asks for {plan.least_days}: train with an earlier --until"
        return HeldOut(days=len(days), champion=0, challenger=0, baseline=0, difference=None, margin=0, faults=(fault,))
    scores = {name: mean_scores(days, name) for name in ("champion", "challenger", "baseline")}
    means = {name: float(values.mean()) for name, values in scores.items()}
    apart = (scores["challenger"] - scores["champion"])[None]
    found = difference(apart, np.arange(len(days)), np.random.default_rng(0))
    margin = margin_of(means["baseline"], means["champion"], plan)
    return HeldOut(
        days=len(days), **means, difference=found, margin=margin, faults=tuple(faults_of(found, margin, days, plan))
    )


def faults_of(found: Difference, margin: float, days: Sequence[ShadowDay], plan: GatePlan) -> Iterator[str]:
    """What speaks against a trial."""
    if found.low > 0:
        yield "its log score is worse"
    elif found.high >= margin:
        yield f"its log score may be worse by {found.high:.2g} nats, and the margin is {margin:.2g}"
    for category in days[0].observed:
        seen = sum(day.observed[category] for day in days)
        if seen < plan.least_incidents:
            continue
        ratio, before = (
            seen / sum(getattr(day, name)[category] for day in days)
            for name in ("challenger_expected", "champion_expected")
        )
        beyond = abs(np.log(ratio)) - np.log1p(plan.calibration)
        # It would not pass its trial either: off, and worse than the champion, or off by more than chance
        if beyond > 0 and (abs(np.log(ratio)) > abs(np.log(before)) or beyond > 2 / np.sqrt(seen)):
            yield f"observed over expected is {ratio:.2f} in {category}"


def _hours(champion: Artifact, challenger: Artifact, past: IncidentHistory) -> Iterator[ShadowHour]:
    spec, replay = past.spec, Replay(past)
    sides = [(one, one.network(), FeatureEngine(spec, one.constants)) for one in (champion, challenger)]
    last_s = (past.cutoff_s - spec.horizons_s[0]) // HOUR_S * HOUR_S
    for tick_s in range(held_out_from_s(champion, challenger), last_s + 1, HOUR_S):
        state, forecasts = replay.lead_to(tick_s), []
        for artifact, network, engine in sides:
            usual, expected, _ = means(engine.compute(state).values, network, spec)
            dispersion = artifact.constants.dispersion
            forecasts.append(Forecast(model=artifact.version, expected=expected, usual=usual, dispersion=dispersion))
        observed = past.counts(tick_s, tick_s + spec.horizons_s[0])
        closed = ClosedHorizon(horizon=0, tick_s=tick_s, judged_s=past.cutoff_s, observed=observed)
        yield judged_hour(forecasts[0], forecasts[1], closed, spec)


def longest_training_s(end_s: int, plan: GatePlan, horizons_s: Sequence[int]) -> int:
    """Until when a challenger may learn, so that the plan's days before `end_s` are held out."""
    return (end_s - plan.held_out_days * DAY_S - max(horizons_s)) // DAY_S * DAY_S
