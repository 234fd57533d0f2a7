"""Following: what the last weeks showed, as factors on the forecasts of a region that changes.

    log expected = log usual + network + following

Three filters stand one behind the other, each by category: the region's level, the 24 local hours of the day, and the
cells. A filter holds the discounted counts O, and the discounted expectation E of the forecast with the factors of all
*other* filters, so that none takes what another has taken (backfitting). Its factor is

    f = (O + prior) / (E + prior)

the mean of a gamma distribution that Poisson counts have updated and that time flattens. Source: Harvey and Fernandes,
Time series models for count or qualitative observations, Journal of Business and Economic Statistics 7, 1989; the hours
of the day as a slowly moving shape: Matteson, McLean, Woodard and Henderson, Forecasting emergency medical service call
arrival rates, Annals of Applied Statistics 5, 2011.

Most regions stand still most of the time. So each filter races against a factor of 1: with p the chance of that, the
factor p + (1 - p) f is shown. Each hour changes p by Bayes' rule, with the log score as evidence; then a SHARE of p
returns to the prior, so that neither side is ever out of reach. Against the best sequence of k switches in T hours such
a race loses about (k + 1) log(1 / SHARE) + T SHARE nats: a guide only, as here means are mixed, not distributions.
Source: Herbster and Warmuth, Tracking the best expert, Machine Learning 32, 1998. At last the raw forecast races
against all factors together, at each horizon by what was shown and came.

A burst is no change: of what came in a horizon, no more than BURST above what was shown is learned. So a change by
more is followed in steps. Source of such a limit: Huber, Robust estimation of a location parameter, Annals of
Mathematical Statistics 35, 1964.

Counts must be final when they are learned. Equal states and outcomes give equal states, to the bit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants
from models.dispersion import Floats
from models.follower_state import FILTERS, GUARDS, STILL, FollowerState, forgotten, waiting
from models.local_time import hours_within
from models.score_gain import Integers, ScoreGain, SomeCounts
from schemas.spec import DAY_S, HOUR_S, Spec

PRIORS = (20.0, 5.0, 3.0)  # of each filter, incidents that came as expected
HALF_LIVES_DAYS = (5.0, 7.0, 14.0)  # of each filter
SHARE = 1e-3  # of a chance that returns to STILL in an hour
LIMIT = 8.0  # factors lie within 1 / LIMIT and LIMIT
SILENT = 12.0  # incidents expected in a stretch in which none came: then the feed was silent, not the region
BURST = 3.0  # Poisson deviations above what was shown, and one incident: more of a category's counts is not learned
_MOST_EVIDENCE = 50.0  # nats between two incidents; exp of it is finite
_ALMOST_NONE = 1e-100  # incidents: where nothing was expected yet, all weigh the same
_LEVEL, _HOURS, _CELLS = range(GUARDS)  # rows of `still`


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """The factors of one moment, and what of them the races need once its outcomes are final."""

    level: Floats  # (categories, 1) of the filter, before its race
    levels: Floats  # (horizons, categories, 1) as shown
    hours: Floats  # (horizons, categories, 1) as shown
    cells: Floats  # (categories, cells) as shown
    guards: Floats  # (horizons, categories, 1) chance that the raw forecast is as good

    def together(self, horizon: int) -> Floats:
        """(categories, cells) all filters' factors at one horizon, before the guard."""
        return _limited(self.cells * (self.levels[horizon] * self.hours[horizon]))

    def shown(self) -> Floats:
        """(cells, categories, horizons) what a raw forecast is multiplied by; within 1 / LIMIT and LIMIT."""
        factors = np.empty((*self.cells.T.shape, len(self.guards)))
        for horizon, guard in enumerate(self.guards):
            factors[:, :, horizon] = _mixed(guard, self.together(horizon)).T
        return factors


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is shown at the first horizon, part by part, with the chance that the raw forecast is as good."""

    level: Floats  # (categories, 1)
    hours: Floats  # (categories, 24) with the level
    cells: Floats  # (categories, cells)

    @classmethod
    def of(cls, state: FollowerState) -> Self:
        each = (_mixed(state.still[row, :, None], factors) for row, factors in enumerate(_filters(state)))
        (level, hours, cells), guard = each, state.still[GUARDS, :, None]
        return cls(level=_mixed(guard, level), hours=_mixed(guard, level * hours), cells=_mixed(guard, cells))


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalOutcome:
    """A raw forecast at one horizon, the factors that were shown with it, and counts that are final."""

    horizon: int  # place in the spec's horizons
    tick_s: int  # when it began
    raw: npt.NDArray[np.floating]  # (cells, categories) expected by a network, without the factors
    observed: Integers  # (cells, categories)
    following: Following


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """What does not change with time."""

    spec: Spec
    profile: Floats  # (categories, 168) of the baseline
    gains: tuple[ScoreGain, ...]  # the served log score at each horizon
    step_s: int  # between outcomes of a horizon; an incident that is in n of them counts for 1 / n in each

    @classmethod
    def of(cls, spec: Spec, constants: BaselineConstants, *, step_s: int = HOUR_S) -> Self:
        dispersion = constants.dispersion_in_cells(of_network=True)
        gains = tuple(ScoreGain.of(dispersion[..., horizon]) for horizon in range(len(spec.horizons_s)))
        return cls(spec=spec, profile=constants.profile, gains=gains, step_s=step_s)

    def factors(self, state: FollowerState, tick_s: int) -> Following:
        """The factors on forecasts that are made at `tick_s`."""
        level, by_hour, cells = _filters(state)
        hours, horizons = _mixed(state.still[_HOURS, :, None], by_hour), self.spec.horizons_s
        guards, longer = np.split(state.still[GUARDS:, :, None], [len(horizons)])
        return Following(
            level=level,
            levels=_mixed(np.concatenate([state.still[_LEVEL:_HOURS, :, None], longer]), level),
            hours=np.stack([_over(self._local_hours(tick_s, span_s) * hours) for span_s in horizons]),
            cells=_mixed(state.still[_CELLS, :, None], cells),
            guards=guards,
        )

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
            shown = _over(raw * _mixed(following.guards[number], together))
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
        factors = _mixed(following.guards[number], following.together(number))
        return self.gains[number].gained(_by_category(outcome.raw), factors, SomeCounts.of(outcome.observed))

    def _filtered(self, state: FollowerState, tick_s: int, raw: Floats, some: SomeCounts) -> FollowerState:
        """The state after an outcome of the first horizon. Its evidence, but for that of the filters, is in `state`."""
        span_s, share = self.spec.horizons_s[0], self._share(0)
        level, by_hour, cells = _filters(state)
        local = self._local_hours(tick_s, span_s)
        hour, hour_shown = (_over(local * each) for each in (by_hour, _mixed(state.still[_HOURS, :, None], by_hour)))
        level_shown = _mixed(state.still[_LEVEL, :, None], level)
        in_cells = raw * _mixed(state.still[_CELLS, :, None], cells)
        others = (in_cells * hour_shown, in_cells * level_shown, raw * (level_shown * hour_shown))  # of each filter
        each = zip(others, (level, hour, cells), strict=True)
        gained = [self._gained(0, before, factors, some) for before, factors in each]
        evidence = np.concatenate([state.evidence[:GUARDS] + gained, state.evidence[GUARDS:]])
        due = (share * _over(others[0]), share * local * _over(others[1]), share * others[2])
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
            **_aged(state, (_over(came), local * _over(came), came), expected, float(waited_s)),
            still=_raced(state.still, evidence, float(waited_s) / HOUR_S),
            evidence=np.zeros_like(evidence),
            waited_s=np.zeros(()),
        )

    def _share(self, horizon: int) -> float:
        """For how much of itself an incident counts in an outcome."""
        return min(self.step_s / self.spec.horizons_s[horizon], 1.0)

    def _gained(self, horizon: int, before: Floats, factors: Floats, some: SomeCounts) -> Floats:
        return self._share(horizon) * self.gains[horizon].gained(before, factors, some)

    def _local_hours(self, tick_s: int, span_s: int) -> Floats:
        """(categories, 24) the share that each local hour of the day has of the profile's incidents in a span."""
        within = self.profile * hours_within(tick_s, tick_s + span_s, self.spec.timezone)
        of_day = within.reshape(len(within), 7, 24).sum(axis=1)
        return np.asarray(of_day / _over(of_day))


def _by_category(of_cells: npt.NDArray[np.floating]) -> Floats:
    """(categories, cells): so laid out, NumPy is several times as fast."""
    return np.ascontiguousarray(of_cells.T, np.float64)


def _over(places: npt.NDArray[np.floating]) -> Floats:
    """(categories, 1) the sum over hours or cells."""
    return np.asarray(places.sum(axis=1, keepdims=True))


def _filters(state: FollowerState) -> list[Floats]:
    """(categories, 1), (categories, 24) and (categories, cells) factors before their races; the last two of mean 1."""
    around = (np.roll(state.hours, 1, axis=2) + state.hours + np.roll(state.hours, -1, axis=2)) / 3
    sums = (state.level, around, state.cells)
    level, *shapes = ((of[0] + prior) / (of[1] + prior) for of, prior in zip(sums, PRIORS, strict=True))
    weights = (np.maximum(of[1], _ALMOST_NONE) for of in (state.hours, state.cells))
    of_mean_one = (
        shape / (_over(weight * shape) / _over(weight)) for shape, weight in zip(shapes, weights, strict=True)
    )
    return [_limited(factors) for factors in (level, *of_mean_one)]


def _limited(factors: Floats) -> Floats:
    return np.clip(factors, 1 / LIMIT, LIMIT, out=factors)


def _mixed(still: Floats, factors: Floats) -> Floats:
    """The mean of 1, with the chance `still`, and of the factors."""
    mean = (1 - still) * factors
    mean += still
    return np.asarray(mean)


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
