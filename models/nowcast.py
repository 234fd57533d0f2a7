"""Nowcast: a factor on the forecast, from what came in the last hours of the whole region, category by category.

A category is in one of two states. *As usual*: what came in the last hours, O, is negative binomial around what was
usual in them, E, with a size that training fitted. *Surge*: E has a factor with the gamma prior of shape SHAPE
and mean MEAN, so that O is negative binomial again, of that shape and around MEAN x E. With P, the chance of a surge
given O, and the surge's factor f = (SHAPE + O) / (SHAPE / MEAN + E), the gamma posterior's mean, the factor

    1 + P (f - 1)

on the usual is the mean over both states. Older counts weigh less: by half for each half-life. Categories may surge
together: the chance that another one does adds to the prior chance of a surge. What lies further ahead moves less. A
category that had no more than is usual is not moved: a silent feed is not a calm city.

Sources: the gamma prior of a Poisson rate and its discounted counts: Harvey and Fernandes, Time series models for count
or qualitative observations, Journal of Business and Economic Statistics 7, 1989; the two states: Smith and West,
Monitoring renal transplants: an application of the multiprocess Kalman filter, Biometrics 39, 1983.
"""

from dataclasses import dataclass

import numpy as np

from models.dispersion import Floats

SHAPE, MEAN = 2.0, 2.0  # of a surge's factor before anything is counted
HOURS_BACK = 6  # that are looked at: less is left of older counts than chance would notice
LEAST, LIMIT = 1.05, 10.0  # a smaller factor is 1, as forecasts that tremble are read by nobody; and the largest one


@dataclass(frozen=True, slots=True, kw_only=True)
class Nowcast:
    """What training fitted of a region whose last hours tell of the next."""

    half_life_hours: Floats  # () of a count's weight
    prior: Floats  # () chance of a surge before anything is counted
    size: Floats  # () of the negative binomial as forecast
    shared: Floats  # () how much of the chance that another category surges is added to the prior
    ahead: Floats  # (horizons,) of the factor's distance from 1, what is left over each horizon

    @classmethod
    def of(cls, half_life_hours: float, prior: float, size: float, shared: float, ahead: Floats) -> "Nowcast":
        scalars = (np.array(value) for value in (half_life_hours, prior, size, shared))
        return cls(**dict(zip(("half_life_hours", "prior", "size", "shared"), scalars, strict=True)), ahead=ahead)


def no_nowcast(horizons: int) -> Nowcast:
    """One that moves nothing."""
    return Nowcast.of(0.5, 1e-6, 50.0, 0.0, np.zeros(horizons))


@dataclass(frozen=True, slots=True, kw_only=True)
class LastHours:
    """(categories,) each: what came in the whole region, and what was usual: weighted by age, and in the last hour."""

    came: Floats
    usual: Floats
    came_1h: Floats
    usual_1h: Floats

    def pack(self) -> bytes:
        return np.stack([self.came, self.usual, self.came_1h, self.usual_1h]).astype("<f8").tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> "LastHours":
        came, usual, came_1h, usual_1h = np.frombuffer(packed, "<f8").reshape(4, -1)
        return cls(came=came, usual=usual, came_1h=came_1h, usual_1h=usual_1h)


def weights(half_life_hours: Floats | float, ages_hours: Floats) -> Floats:
    """(n,) of counts of those ages."""
    return np.asarray(0.5 ** (ages_hours / half_life_hours))


def surge(came: Floats, expected: Floats, nowcast: Nowcast) -> tuple[Floats, Floats]:
    """Mean and variance of a surge's factor on what is usual, right ahead.

    came, expected: (..., categories) weighted as `weights` says.
    """
    from scipy.special import expit, logit  # takes a while to import, and commands that score nothing reach this file

    tells = log_likelihood(came, MEAN * expected, SHAPE) - log_likelihood(came, expected, nowcast.size)
    alone = expit(logit(nowcast.prior) + tells)
    calm = 1 - alone
    others = 1 - np.stack([np.delete(calm, place, axis=-1).prod(axis=-1) for place in range(calm.shape[-1])], axis=-1)
    prior = nowcast.prior + (1 - nowcast.prior) * nowcast.shared * others
    chance = expit(logit(np.minimum(prior, 1 - 1e-9)) + tells)
    of_surge = (SHAPE + came) / (SHAPE / MEAN + expected)
    mean = 1 + chance * (of_surge - 1)
    variance = chance * of_surge**2 / (SHAPE + came) + chance * (1 - chance) * (of_surge - 1) ** 2
    moves = (mean >= LEAST) & (came > expected)
    return np.where(moves, mean, 1.0), np.where(moves, variance, 0.0)


def factors_of(
    lately: LastHours, followed: Floats | float, nowcast: Nowcast, forecast: Floats
) -> tuple[Floats, Floats]:
    """(categories, horizons) the factor on a forecast, and the variance of what it is made of, over its square.

    A network sees the last hours too, and has raised its forecast by a part of it. So the surge's factor is on what is
    usual, and what is forecast is raised up to that, if it is less. A surge is over when the last hour had no more than
    is usual.

    followed: (categories,) factors on what was usual. forecast: (categories, horizons) of the region over what is usual
    times what is followed.
    """
    mean, variance = surge(lately.came, lately.usual * followed, nowcast)
    variance = variance * (np.minimum(mean, LIMIT) / mean) ** 2
    mean = np.where(lately.came_1h > lately.usual_1h * followed, np.minimum(mean, LIMIT), 1.0)
    of_usual = 1 + (mean - 1)[:, None] * nowcast.ahead
    factors = np.clip(of_usual / forecast, 1, of_usual)
    moves = factors.max(axis=1, keepdims=True) >= LEAST
    wide = (factors > 1) & moves
    return np.where(moves, factors, 1.0), np.where(wide, variance[:, None] * (nowcast.ahead / of_usual) ** 2, 0.0)


def log_likelihood(count: Floats, mean: Floats, size: Floats | float) -> Floats:
    """Of a weighted count under the negative binomial, but for what no mean and no size change."""
    from scipy.special import gammaln

    mean = np.maximum(mean, 1e-9)
    none = size * np.log(size / (size + mean))
    return np.asarray(gammaln(count + size) - gammaln(size) + none + count * np.log(mean / (size + mean)))
