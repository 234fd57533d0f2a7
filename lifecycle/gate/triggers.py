"""When a region needs a new challenger. A trigger never changes what scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lifecycle.gate.shadow_day import ShadowDay, mean_scores, whole_enough
from models.measures.cube import Floats
from models.measures.sequence import bounds_of
from schemas.limits import DRIFT_BAND

OLDEST_DAYS = 90  # since the end of the champion's data
ALPHA = 0.05
LEAST_DAYS = 14  # before drift is judged
RESTART_DAYS = 14  # after so many days another sequence begins
FOLLOWING_DAYS = 7  # before what following gains is judged, and after so many another sequence begins
MOST_GAINED = 0.01  # nats an incident
SKILL_DAYS = 28  # before skill is judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Observed over expected of the champion in its newest `days`, with the bounds of their confidence sequence."""

    name: str  # a category, or `all`
    days: int
    ratio: float
    low: float
    high: float

    @property
    def beyond(self) -> float:
        """How far the bounds lie outside of what is allowed; below 0 they do not."""
        return max(self.low - DRIFT_BAND[1], DRIFT_BAND[0] - self.high)

    @property
    def is_outside(self) -> bool:
        return self.beyond > 0


def drift_of(days: Sequence[ShadowDay]) -> list[Drift]:
    """The drift of the region and of each category; empty before LEAST_DAYS. `days` are of one champion, in order.

    Of its network alone: what is followed hides that it has become wrong.

    A change late in a champion's life is diluted by the days before it, and widens its own bounds. So a sequence begins
    every RESTART_DAYS; the one that says most is given. All of them, of all names, err in ALPHA together.
    """
    used = whole_enough(days)
    if len(used) < LEAST_DAYS:
        return []
    categories = sorted(used[0].observed)
    drifts = []
    for name, members in (("all", categories), *((category, [category]) for category in categories)):
        observed, expected = (
            np.array([sum(getattr(day, field)[category] for category in members) for day in used])
            for field in ("observed", "alone_expected")
        )
        starts = range(0, len(used) - LEAST_DAYS + 1, RESTART_DAYS)
        share = ALPHA / (1 + len(categories))
        parts = [share / ((number + 1) * (number + 2)) for number in range(len(starts))]  # they sum to at most `share`
        sequences = [
            _drift(name, observed[start:], expected[start:], part) for start, part in zip(starts, parts, strict=True)
        ]
        drifts.append(max(sequences, key=lambda drift: drift.beyond))
    return drifts


def _drift(name: str, observed: Floats, expected: Floats, alpha: float) -> Drift:
    apart, per_day = bounds_of(observed - expected, alpha=alpha / 2), float(expected.mean())
    return Drift(
        name=name,
        days=len(observed),
        ratio=float(observed.sum() / expected.sum()),
        low=1 + float(apart.lower[-1]) / per_day,
        high=1 + float(apart.upper[-1]) / per_day,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionRecord:
    """What a trigger reads of a champion: its days so far, and how old its data are."""

    days: Sequence[ShadowDay]
    age_days: float  # since the end of its data, or since its cold start
    is_trained: bool  # else it was made from a guess, and there are no data
    was_better: bool  # whether its card calls it better than its baseline at the shortest horizon


def data_are_old(record: ChampionRecord) -> list[str]:
    if record.age_days <= OLDEST_DAYS:
        return []
    since = "its data end" if record.is_trained else "it was made from a guess, not from incidents,"
    return [f"{since} {record.age_days:.0f} days ago, more than {OLDEST_DAYS}"]


def incidents_drift(record: ChampionRecord) -> list[str]:
    return [
        f"observed over expected of {drift.days} days is {drift.ratio:.2f} ({drift.low:.2f} to {drift.high:.2f}) "
        f"in {drift.name}"
        for drift in drift_of(record.days)
        if drift.is_outside
    ]


def skill_is_gone(record: ChampionRecord) -> list[str]:
    """Only a champion that was better than its baseline can lose that."""
    days = whole_enough(record.days)
    if not record.was_better or len(days) < SKILL_DAYS:
        return []
    skill = bounds_of(mean_scores(days, "baseline") - mean_scores(days, "champion"), alpha=ALPHA)
    if skill.lower[-1] > 0:
        return []
    return [f"after {len(days)} days it is no longer shown to be better than its baseline"]


def following_gains(record: ChampionRecord) -> list[str]:
    """Where the network alone has become so much worse than with what it follows, it is time for another network."""
    days = whole_enough(record.days)
    gained = np.array([day.alone - day.champion for day in days])
    came = np.array([sum(day.observed.values()) for day in days])
    for number, start in enumerate(range(0, len(days) - FOLLOWING_DAYS + 1, FOLLOWING_DAYS)):
        more = bounds_of(gained[start:] - MOST_GAINED * came[start:], alpha=ALPHA / ((number + 1) * (number + 2)))
        if more.lower[-1] > 0:
            by = gained[start:].sum() / came[start:].sum()
            return [
                f"in {len(days) - start} days following gained {by:.3f} nats an incident, more than {MOST_GAINED:g}: "
                "the network alone no longer fits"
            ]
    return []


# Each gives the reasons why a challenger is due; none when it is not.
TRIGGERS: tuple[Callable[[ChampionRecord], list[str]], ...] = (
    data_are_old,
    incidents_drift,
    following_gains,
    skill_is_gone,
)


def triggers(record: ChampionRecord) -> list[str]:
    """Why a challenger is due; empty when none is."""
    return [reason for trigger in TRIGGERS for reason in trigger(record)]
