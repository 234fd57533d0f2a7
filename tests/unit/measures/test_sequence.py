"""Confidence sequences: against plain loops, numerical integration, simulated daily looks."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.stats import norm
from scipy.stats import t as student

from models.comparison import MOST_ALIKE, TUNED_FOR, boundary, bounds_of


def correlated(random, paths, days, phi):
    """(paths, days) noise of mean 0 and deviation 1 whose neighbours correlate by `phi`, with heavy tails."""
    fresh = student.rvs(5, size=(paths, days + 50), random_state=random) / np.sqrt(5 / 3) * np.sqrt(1 - phi**2)
    noise = np.zeros_like(fresh)
    for day in range(1, days + 50):
        noise[:, day] = phi * noise[:, day - 1] + fresh[:, day]
    return noise[:, 50:]


@given(arrays(np.float64, st.integers(3, 40), elements=st.floats(-1, 1, width=16)), st.sampled_from([0.01, 0.05, 0.2]))
@example(np.array([0.0, 1.00135803e-05, 1.00135803e-05]), 0.01)  # hardly apart
@example(np.full(40, 0.1), 0.05)  # equal, and no sum of them is exact
def test_equals_a_plain_loop(days, alpha):
    result = bounds_of(days, alpha=alpha)
    for n in range(3, len(days) + 1):
        so_far = days[:n]
        apart = so_far - so_far.mean()
        squares = float((apart**2).sum())
        r = float((apart[1:] * apart[:-1]).sum()) / squares if squares > 0 else 0.0
        alike = min(max(r + (1 + 3 * r) / n, 0.0), MOST_ALIKE)
        radius = np.std(so_far, ddof=1) * np.sqrt((1 + alike) / (1 - alike)) * boundary(np.array([n]), alpha=alpha)[0]
        assert result.mean[n - 1] == pytest.approx(so_far.mean(), abs=1e-12)
        assert result.upper[n - 1] - result.mean[n - 1] == pytest.approx(radius, rel=1e-9, abs=1e-12)
        assert result.mean[n - 1] - result.lower[n - 1] == pytest.approx(radius, rel=1e-9, abs=1e-12)


def test_the_first_days_say_nothing():
    result = bounds_of(np.array([1.0, 2.0, 4.0]), alpha=0.05)
    assert np.isinf(result.upper).tolist() == [True, True, False]


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("n", [1, 14, 60, 3000])
def test_on_the_boundary_the_mixture_has_reached_its_level(n, alpha):
    """Integrated numerically: the likelihood ratio, averaged over half-normal drifts, is at least 1 / alpha there."""
    total = n * boundary(np.array([n]), alpha=alpha)[0]
    twice = -2 * np.log(2 * alpha)
    rho = np.sqrt((twice + np.log(twice + 1)) / TUNED_FOR)
    peak = total * rho**2 / (n * rho**2 + 1)
    width = rho / np.sqrt(n * rho**2 + 1)

    def weighed(drift):
        return np.exp(drift * total - drift**2 * n / 2 - np.log(1 / alpha)) * 2 * norm.pdf(drift, scale=rho)

    mixture = quad(weighed, 0, peak + 20 * width, points=[peak], limit=200)[0]
    assert 1 <= mixture < 1.2  # in units of 1 / alpha: reached, and not by much


@pytest.mark.parametrize("phi", [0.0, 0.3])
def test_an_equal_challenger_that_is_looked_at_daily_is_wrongly_called_better_in_at_most_five_of_a_hundred(phi):
    random, paths, days, first = np.random.default_rng(7), 2000, 120, 14
    noise = correlated(random, paths, days, phi)
    upper = bounds_of(noise, alpha=0.05).upper[:, first - 1 :]
    wrong = float((upper < 0).any(axis=1).mean())
    assert wrong <= 0.05

    number = np.arange(1, days + 1)
    mean = np.cumsum(noise, axis=1) / number
    deviation = np.sqrt(
        np.maximum(np.cumsum(noise**2, axis=1) / number - mean**2, 0) * number / np.maximum(number - 1, 1)
    )
    daily = mean + student.ppf(0.975, np.maximum(number - 1, 1)) * deviation / np.sqrt(number)
    naive = float((daily[:, first - 1 :] < 0).any(axis=1).mean())
    assert naive > 0.10  # what the sequence is for
