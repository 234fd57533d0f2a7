"""How the factors of a region are learned from final counts, and told in words: equal outcomes give equal states.

Each hour changes the chance p that nothing changes by Bayes' rule, with the log score as evidence; then a SHARE of p
returns to the prior, so that neither side is ever out of reach. Against the best sequence of k switches in T hours such
a race loses about (k + 1) log(1 / SHARE) + T SHARE nats: a guide only, as here means are mixed, not distributions.
Source: Herbster and Warmuth, Tracking the best expert, Machine Learning 32, 1998.

A burst is no change: of what came in a horizon, no more than BURST above what was shown is learned. So a change by
more is followed in steps. Source of such a limit: Huber, Robust estimation of a location parameter, Annals of
Mathematical Statistics 35, 1964.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from models.baseline import BaselineConstants
from models.dispersion import LINEAR, Dispersion, Floats
from models.following import (
    ALMOST_NONE,
    CELLS,
    FILTERS,
    GUARDS,
    HOURS,
    LEVEL,
    STILL,
    FollowerState,
    Following,
    Integers,
    RegionFactors,
    filters,
    mixed,
    over,
)
from schemas.forecasts import GRACE_S
from schemas.spec import DAY_S, HOUR_S, Spec

HALF_LIVES_DAYS = (5.0, 7.0, 14.0)  # of each filter
SHARE = 1e-3  # of a chance that returns to STILL in an hour
SILENT = 12.0  # incidents expected in a stretch in which none came: then the feed was silent, not the region
BURST = 3.0  # Poisson deviations above what was shown, and one incident: more of a category's counts is not learned
_MOST_EVIDENCE = 50.0  # nats between two incidents; exp of it is finite
CountsOf = Callable[[int, int], Integers | None]  # (cells, categories) of [start, stop); None: it says nothing
BEYOND = 1.25  # a factor above it, or below 1 / BEYOND, is worth a word
LASTS_DAYS = 3  # when it has been so for so long
_MOST_RUNS = 3  # of hours that are told one by one
_Signs = npt.NDArray[np.integer[Any]]


def waiting(state: FollowerState, waits: Iterable[Floats]) -> dict[str, Floats]:
    """The filters' sums as they are, and an expectation that waits."""
    return {name: np.stack([*getattr(state, name)[:2], more]) for name, more in zip(FILTERS, waits, strict=True)}


def forgotten(state: FollowerState, silent_until_s: int) -> FollowerState:
    """The state after a stretch in which the feed was silent: nothing waits any more."""
    none = {"evidence": np.zeros_like(state.evidence), "waited_s": np.zeros(())}
    none |= waiting(state, [np.zeros_like(getattr(state, name)[2]) for name in FILTERS])
    return replace(state, silent_until_s=np.array(float(silent_until_s)), **none)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What is shown at the first horizon, part by part, with the chance that the raw forecast is as good."""

    level: Floats  # (categories, 1)
    hours: Floats  # (categories, 24) with the level
    cells: Floats  # (categories, cells)

    @classmethod
    def of(cls, state: FollowerState) -> Self:
        each = (mixed(state.still[row, :, None], factors) for row, factors in enumerate(filters(state)))
        (level, hours, cells), guard = each, state.still[GUARDS, :, None]
        return cls(level=mixed(guard, level), hours=mixed(guard, level * hours), cells=mixed(guard, cells))


@dataclass(frozen=True, slots=True, kw_only=True)
class SomeCounts:
    """The counts above 0 of one forecast, which are few."""

    place: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # category, cell
    count: npt.NDArray[np.number]

    @classmethod
    def of(cls, counts: Integers) -> Self:
        """counts: (cells, categories)."""
        (places,) = np.nonzero(counts.ravel())
        cell, category = np.divmod(places, counts.shape[1])
        return cls(place=(category, cell), count=counts[cell, category])

    def at_most(self, most: Floats) -> Self:
        """The counts of each category, scaled down where their sum is above `most`, (categories, 1)."""
        category, _ = self.place
        total = np.bincount(category, weights=self.count, minlength=len(most))
        share = np.minimum(1.0, most[:, 0] / np.maximum(total, 1.0))
        return replace(self, count=self.count * share[category])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreGain:
    """The log score of the negative binomial at one horizon; (categories, cells), or (categories, 1) for all cells."""

    r: Floats
    is_linear: npt.NDArray[np.bool_]
    at_none: Floats  # what one expected incident costs where none comes, if the dispersion is linear

    @classmethod
    def of(cls, dispersion: Dispersion) -> Self:
        """dispersion: (categories,), or (cells, categories)."""
        r, power = (of.T if of.ndim > 1 else of[:, None] for of in (dispersion.r, dispersion.power))
        r = np.ascontiguousarray(r)
        return cls(r=r, is_linear=np.ascontiguousarray(power == LINEAR), at_none=r * np.log1p(1 / r))

    def gained(self, before: Floats, factors: Floats, some: SomeCounts) -> Floats:
        """(categories,) nats by which the counts are likelier with the factors than without.

        before: (categories, cells) expected without them, > 0. factors: of that shape, or (categories, 1). All counts
        that are not among `some` are 0.
        """
        more = (factors - 1) * before
        none = np.where(self.is_linear, more * self.at_none, self.r * np.log1p(more / (self.r + before)))
        (category, cell), count = some.place, some.count
        place = (category, cell if self.r.shape[1] > 1 else np.zeros_like(cell))
        r, old, up = self.r[place], before[some.place], more[some.place]
        quadratic = count * (np.log1p(up / old) - np.log1p(up / (r + old)))
        low, high = r * old, r * (old + up)
        linear = gammaln(count + high) - gammaln(high) - gammaln(count + low) + gammaln(low)
        came = np.where(self.is_linear[place], linear, quadratic)
        return np.asarray(np.bincount(category, weights=came, minlength=len(before)) - none.sum(axis=1))


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
        came, sums = np.zeros_like(raw), {}
        came[some.place] = share * some.count
        counts = (over(came), local * over(came), came)
        for name, days, more, due_now in zip(FILTERS, HALF_LIVES_DAYS, counts, expected, strict=True):
            remains, (before, of_before, _) = 0.5 ** (float(waited_s) / DAY_S / days), getattr(state, name)
            sums[name] = np.stack([remains * before + more, remains * of_before + due_now, np.zeros_like(due_now)])
        # Bayes' rule, then the fixed share of so many hours.
        odds = np.exp(np.clip(evidence, -_MOST_EVIDENCE, _MOST_EVIDENCE))
        returning = min(SHARE * (float(waited_s) / HOUR_S), 1.0)
        still = np.asarray((1 - returning) * state.still / (state.still + (1 - state.still) * odds) + returning * STILL)
        return replace(state, **sums, still=still, evidence=np.zeros_like(evidence), waited_s=np.zeros(()))

    def _share(self, horizon: int) -> float:
        """For how much of itself an incident counts in an outcome."""
        return min(self.step_s / self.spec.horizons_s[horizon], 1.0)

    def _gained(self, horizon: int, before: Floats, factors: Floats, some: SomeCounts) -> Floats:
        return self._share(horizon) * self.gains[horizon].gained(before, factors, some)


def _by_category(of_cells: npt.NDArray[np.floating]) -> Floats:
    """(categories, cells): so laid out, NumPy is several times as fast."""
    return np.ascontiguousarray(of_cells.T, np.float64)


def served_delay_s(late_limit_s: int = DAY_S) -> int:
    """From the end of a horizon until the stream has learned its outcome: an hour's factors know what is judged before.

    late_limit_s: of the region's spec.
    """
    return late_limit_s + GRACE_S + HOUR_S


@dataclass(slots=True, kw_only=True)
class SequentialFollowing:
    """A follower on its way through the forecasts of one region.

    counts: what came; it is only asked for what is final. delay_s: from the end of a horizon until it is learned.
    """

    follower: Follower
    counts: CountsOf
    delay_s: int
    state: FollowerState
    _shown: dict[int, tuple[npt.NDArray[np.floating], Following]] = field(default_factory=dict)
    _open: tuple[deque[int], ...] = ()  # of each horizon, ticks whose outcome is not final

    def __post_init__(self) -> None:
        self._open = tuple(deque() for _ in self.follower.spec.horizons_s)

    def next_factors(self, tick_s: int, raw: npt.NDArray[np.floating] | None) -> Following:
        """The factors at a tick after all others.

        raw: (cells, categories, horizons) a network's forecast at it; None where the baseline scored: it is not learned
        from.
        """
        self._learn_until(tick_s - self.delay_s)
        following = self.follower.at(self.state, tick_s)
        if raw is not None:
            self._shown[tick_s] = raw, following
            for ticks in self._open:
                ticks.append(tick_s)
        return following

    def _learn_until(self, end_s: int) -> None:
        """Learn the outcomes of horizons that end by `end_s`, those that end together at once."""
        due = []
        for horizon, (ticks, span_s) in enumerate(zip(self._open, self.follower.spec.horizons_s, strict=True)):
            while ticks and ticks[0] + span_s <= end_s:
                due.append((ticks[0] + span_s, horizon, ticks.popleft()))
        for _, together in groupby(sorted(due), key=lambda ended: ended[0]):
            outcomes = []
            for stop_s, horizon, tick_s in together:
                observed, (raw, following) = self.counts(tick_s, stop_s), self._shown[tick_s]
                if observed is not None:
                    outcome = FinalOutcome(
                        horizon=horizon,
                        tick_s=tick_s,
                        raw=raw[:, :, horizon],
                        observed=observed,
                        following=following,
                    )
                    outcomes.append(outcome)
            self.state = self.follower.learn(self.state, outcomes)
        oldest = min((ticks[0] for ticks in self._open if ticks), default=end_s)
        self._shown = {tick_s: shown for tick_s, shown in self._shown.items() if tick_s >= oldest}


@dataclass(frozen=True, slots=True)
class FollowedFactors:
    """Factors on the shortest horizon, over all categories by what each expected: 24 local hours, then the cells."""

    factors: Floats
    expected: Floats

    @classmethod
    def of(cls, state: FollowerState) -> Self:
        parts = Parts.of(state)
        expected = np.concatenate([state.hours[1], state.cells[1]], axis=1) + ALMOST_NONE
        factors = np.concatenate([parts.hours, parts.cells], axis=1)
        return cls((factors * expected).sum(axis=0) / expected.sum(axis=0), expected.sum(axis=0))

    @property
    def signs(self) -> _Signs:
        return (self.factors > BEYOND).astype(int) - (self.factors < 1 / BEYOND)


def followed_change(shown: Callable[[int], FollowedFactors | None], now_s: int) -> tuple[int, str] | None:
    """(since when, what) as `05 to 08 h x 1.9, 12 cells x 2.1`; None where no factor has been beyond BEYOND for
    LASTS_DAYS. Hours are local.

    shown: what was shown at a time; None where nothing was. It is asked a day apart.
    """
    newest = shown(now_s)
    if newest is None:
        return None
    lasting, days, signs = newest.signs, 0, newest.signs
    while signs.any():
        lasting, before = signs, shown(now_s - (days + 1) * DAY_S)
        if before is None:
            break
        signs, days = np.where(before.signs == lasting, lasting, 0), days + 1
        if days <= LASTS_DAYS:
            lasting_signs = signs
    days -= not signs.any()
    if days < LASTS_DAYS:
        return None
    return now_s - days * DAY_S, ", ".join(_words(newest, lasting_signs))


def _words(newest: FollowedFactors, signs: _Signs) -> Iterator[str]:
    runs = [(begin, length, (begin + np.arange(length)) % 24) for begin, length in _runs(signs[:24])]
    for begin, length, hours in runs[:_MOST_RUNS]:
        span = "all hours" if length == 24 else f"{begin:02d} to {(begin + length) % 24:02d} h"
        yield f"{span} x {_mean(newest, hours)}"
    if more := sum(length for _, length, _ in runs[_MOST_RUNS:]):
        yield f"{more} other hours"
    for sign in (1, -1):
        if len(cells := 24 + np.flatnonzero(signs[24:] == sign)):
            yield f"{len(cells)} cell{'s' if len(cells) > 1 else ''} x {_mean(newest, cells)}"


def _mean(newest: FollowedFactors, places: npt.NDArray[np.integer[Any]]) -> str:
    return f"{np.average(newest.factors[places], weights=newest.expected[places]):.1f}"


def _runs(signs: _Signs) -> Iterator[tuple[int, int]]:
    """(first, length) of hours one after the other around the clock that have the same sign, but for 0."""
    if (signs == signs[0]).all():
        yield from [(0, 24)] if signs[0] else []
        return
    begins = np.flatnonzero(signs != np.roll(signs, 1))
    ends = [*begins[1:], begins[0] + 24]
    yield from ((int(begin), int(end - begin)) for begin, end in zip(begins, ends, strict=True) if signs[begin])
