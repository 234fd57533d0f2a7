"""Learning what is followed, from final counts. Equal states and outcomes give equal states, to the bit.

Each hour changes the chance p that nothing changes by Bayes' rule, with the log score as evidence; then a SHARE of p
returns to the prior, so that neither side is ever out of reach. Against the best sequence of k switches in T hours such
a race loses about (k + 1) log(1 / SHARE) + T SHARE nats: a guide only, as here means are mixed, not distributions.
Source: Herbster and Warmuth, Tracking the best expert, Machine Learning 32, 1998.

A burst is no change: of what came in a horizon, no more than BURST above what was shown is learned. So a change by
more is followed in steps. Source of such a limit: Huber, Robust estimation of a location parameter, Annals of
Mathematical Statistics 35, 1964.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants
from models.dispersion import Floats
from models.following.factors import CELLS, HOURS, LEVEL, Following, RegionFactors, filters, mixed, over
from models.following.score_gain import Integers, ScoreGain, SomeCounts
from models.following.state import FILTERS, GUARDS, STILL, FollowerState, forgotten, waiting
from schemas.spec import DAY_S, HOUR_S, Spec

HALF_LIVES_DAYS = (5.0, 7.0, 14.0)  # of each filter
SHARE = 1e-3  # of a chance that returns to STILL in an hour
SILENT = 12.0  # incidents expected in a stretch in which none came: then the feed was silent, not the region
BURST = 3.0  # Poisson deviations above what was shown, and one incident: more of a category's counts is not learned
_MOST_EVIDENCE = 50.0  # nats between two incidents; exp of it is finite


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalOutcome:
    """A raw forecast at one horizon, the factors that were shown with it, and counts that are final."""

    horizon: int  # place in the spec's horizons
    tick_s: int  # when it began
    raw: npt.NDArray[np.floating]  # (cells, categories) expected by a network, without the factors
    observed: Integers  # (cells, categories)
    following: Following


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower(RegionFactors):
    """Gives a region's factors, and learns them."""

    gains: tuple[ScoreGain, ...]  # the served log score at each horizon
    step_s: int  # between outcomes of a horizon; an incident that is in n of them counts for 1 / n in each

    @classmethod
    def of(cls, spec: Spec, constants: BaselineConstants, *, step_s: int = HOUR_S) -> Self:
        dispersion = constants.dispersion_in_cells(of_network=True)
        gains = tuple(ScoreGain.of(dispersion[..., horizon]) for horizon in range(len(spec.horizons_s)))
        return cls(spec=spec, profile=constants.profile, gains=gains, step_s=step_s)

    def learn(self, state: FollowerState, outcomes: Iterable[FinalOutcome]) -> FollowerState:
        """The state after outcomes that became final at the same time, at most one of each horizon.

        The first horizon feeds the filters and their races, each horizon the races of its own level and guard. Nothing
        is learned of hours without an incident before the next one comes: after more than SILENT expected ones, the
        stretch, its last hour and all horizons that began in it are forgotten.
        """
        state, horizons = replace(state, evidence=state.evidence.copy()), len(self.spec.horizons_s)
        for outcome in sorted(outcomes, key=lambda outcome: -outcome.horizon):  # the first horizon is the last one
            if outcome.tick_s < float(state.silent_until_s):
                continue
            number, following, raw = outcome.horizon, outcome.following, _by_category(outcome.raw)
            together = following.together(number)
            shown = over(raw * mixed(following.guards[number], together))
            some = SomeCounts.of(outcome.observed).at_most(shown + BURST * np.sqrt(shown) + 1)
            state.evidence[GUARDS + number] += self._gained(number, raw, together, some)
            if number == 0:
                return self._filtered(state, outcome.tick_s, raw, some)
            others = raw * (following.cells * following.hours[number])
            state.evidence[GUARDS + horizons + number - 1] += self._gained(number, others, following.level, some)
        return state

    def gained(self, outcome: FinalOutcome) -> Floats:
        """(categories,) nats by which what was shown made the counts likelier than the raw forecast."""
        number, following = outcome.horizon, outcome.following
        factors = mixed(following.guards[number], following.together(number))
        return self.gains[number].gained(_by_category(outcome.raw), factors, SomeCounts.of(outcome.observed))

    def _filtered(self, state: FollowerState, tick_s: int, raw: Floats, some: SomeCounts) -> FollowerState:
        """The state after an outcome of the first horizon. Its evidence, but for that of the filters, is in `state`."""
        span_s, share = self.spec.horizons_s[0], self._share(0)
        level, by_hour, cells = filters(state)
        local = self.local_hours(tick_s, span_s)
        hour, hour_shown = (over(local * each) for each in (by_hour, mixed(state.still[HOURS, :, None], by_hour)))
        level_shown = mixed(state.still[LEVEL, :, None], level)
        in_cells = raw * mixed(state.still[CELLS, :, None], cells)
        others = (in_cells * hour_shown, in_cells * level_shown, raw * (level_shown * hour_shown))  # of each filter
        each = zip(others, (level, hour, cells), strict=True)
        gained = [self._gained(0, before, factors, some) for before, factors in each]
        evidence = np.concatenate([state.evidence[:GUARDS] + gained, state.evidence[GUARDS:]])
        due = (share * over(others[0]), share * local * over(others[1]), share * others[2])
        expected = [getattr(state, name)[2] + more for name, more in zip(FILTERS, due, strict=True)]
        waited_s = np.asarray(state.waited_s + self.step_s)
        if not len(some.count):
            return replace(state, waited_s=waited_s, evidence=evidence, **waiting(state, expected))
        if (state.level[2] * level_shown).sum() > SILENT:
            return forgotten(state, tick_s + span_s)
        came = np.zeros_like(raw)
        came[some.place] = share * some.count
        return replace(
            state,
            **_aged(state, (over(came), local * over(came), came), expected, float(waited_s)),
            still=_raced(state.still, evidence, float(waited_s) / HOUR_S),
            evidence=np.zeros_like(evidence),
            waited_s=np.zeros(()),
        )

    def _share(self, horizon: int) -> float:
        """For how much of itself an incident counts in an outcome."""
        return min(self.step_s / self.spec.horizons_s[horizon], 1.0)

    def _gained(self, horizon: int, before: Floats, factors: Floats, some: SomeCounts) -> Floats:
        return self._share(horizon) * self.gains[horizon].gained(before, factors, some)


def _by_category(of_cells: npt.NDArray[np.floating]) -> Floats:
    """(categories, cells): so laid out, NumPy is several times as fast."""
    return np.ascontiguousarray(of_cells.T, np.float64)


def _raced(still: Floats, evidence: Floats, hours: float) -> Floats:
    """The chances after evidence for a change, nats, that came in so many hours: Bayes' rule, then the fixed share."""
    odds = np.exp(np.clip(evidence, -_MOST_EVIDENCE, _MOST_EVIDENCE))
    share = min(SHARE * hours, 1.0)
    return np.asarray((1 - share) * still / (still + (1 - still) * odds) + share * STILL)


def _aged(
    state: FollowerState, came: Sequence[Floats], expected: Sequence[Floats], passed_s: float
) -> dict[str, Floats]:
    """The filters' sums after some time, with what came and was expected in it; nothing waits any more."""
    sums = {}
    for name, days, counts, due in zip(FILTERS, HALF_LIVES_DAYS, came, expected, strict=True):
        remains, (before, of_before, _) = 0.5 ** (passed_s / DAY_S / days), getattr(state, name)
        sums[name] = np.stack([remains * before + counts, remains * of_before + due, np.zeros_like(due)])
    return sums
