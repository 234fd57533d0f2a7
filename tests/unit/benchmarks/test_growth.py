"""What is said of growth: slopes against SciPy's, and a leak must be seen."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from benchmarks.drive import LoadPlan
from benchmarks.growth import BOUNDS, Bound, judge, ledger_faults, noise_per_hour, slope_per_hour
from benchmarks.report import what_is_wrong
from benchmarks.samples import beyond_heap_bytes

T_S = np.arange(0.0, 1800.0, 5.0)
MEMORY = Bound(name="mib", words="memory", unit="MiB", share=0.0, at_least=100.0, reason="it must not grow")
SHARE = Bound(name="mib", words="memory", unit="MiB", share=0.5, at_least=10.0, reason="it must not grow")


def noisy(growth_per_hour, *, level=900.0, seed=0):
    return level + growth_per_hour * T_S / 3600 + np.random.default_rng(seed).normal(0, 5, len(T_S))


_VALUES = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))  # SciPy's correlation divides by their squares


@given(st.lists(st.tuples(st.integers(0, 4000), _VALUES), min_size=3, max_size=40, unique_by=lambda p: p[0]))
def test_the_slope_is_that_of_scipy(points):
    t_s, values = np.array(points, np.float64).T
    expected = linregress(t_s / 3600, values).slope
    assert slope_per_hour(t_s, values) == pytest.approx(expected, rel=1e-6, abs=1e-6 * (1 + np.abs(values).max()))


def test_samples_that_are_missing_do_not_count():
    values = noisy(40)
    holes = np.where(np.arange(len(T_S)) % 3 == 0, values, np.nan)
    assert slope_per_hour(T_S, holes) == pytest.approx(linregress(T_S[::3] / 3600, values[::3]).slope)


def test_two_samples_make_no_slope():
    with pytest.raises(ValueError, match="2 samples are too few"):
        slope_per_hour(T_S[:3], np.array([1.0, np.nan, 2.0]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("growth", "is_beyond"), [(0, False), (-500, False), (60, False), (200, True), (5000, True)])
def test_a_leak_is_flagged_and_noise_is_not(growth, is_beyond, seed):
    samples = {"t_s": T_S, "mib": noisy(growth, seed=seed)}
    (verdict,) = judge(samples, [MEMORY], from_s=900.0)
    assert verdict.is_beyond == is_beyond
    assert (verdict.words == "beyond") == is_beyond


def test_noise_is_twice_scipys_standard_error_of_the_means_over_a_minute():
    values = noisy(40)
    minutes = T_S.reshape(30, 12).mean(axis=1) / 3600
    expected = 2 * linregress(minutes, values.reshape(30, 12).mean(axis=1)).stderr
    assert noise_per_hour(T_S, values) == pytest.approx(expected)


def test_a_slope_that_noise_explains_is_called_so_and_a_short_run_is_excused_nothing():
    swings = 900 + 120 * T_S / 3600 + 80 * np.sin(T_S / 97)
    (verdict,) = judge({"t_s": T_S, "mib": swings}, [MEMORY], from_s=900.0)
    assert verdict.noise_per_hour > 100
    (short,) = judge({"t_s": T_S[:20], "mib": swings[:20]}, [MEMORY], from_s=0.0)
    assert (short.noise_per_hour, short.is_beyond) == (0.0, True)


def test_what_grows_before_the_fitted_half_is_no_leak():
    samples = {"t_s": T_S, "mib": np.where(T_S < 900, T_S, 900.0)}
    (verdict,) = judge(samples, [MEMORY], from_s=900.0)
    assert (verdict.slope_per_hour, verdict.at_middle, verdict.at_end, verdict.words) == (0.0, 900.0, 900.0, "within")


def test_a_bound_by_share_follows_the_mean_but_never_falls_below_its_least():
    def most(level):
        return judge({"t_s": T_S, "mib": np.full(len(T_S), level)}, [SHARE], from_s=0)[0].most_per_hour

    assert (most(1000.0), most(4.0)) == (500.0, 10.0)


def test_every_bound_says_why_and_allows_something():
    assert len({bound.name for bound in BOUNDS}) == len(BOUNDS)
    assert all(bound.reason and bound.per_hour(1000.0) > 0 for bound in BOUNDS)


def test_growth_is_wrong_once_the_run_was_long_enough_to_tell():
    growth = [judge({"t_s": T_S, "mib": noisy(growth)}, [MEMORY], from_s=900.0)[0] for growth in (0, 5000)]
    plans = [LoadPlan(rate_per_s=100, minutes=minutes, speed=2880) for minutes in (29, 30)]
    said = [what_is_wrong({"plan": plan, "growth": growth, "faults": []}) for plan in plans]
    assert said == [[], ["memory: beyond; it must not grow"]]
    assert what_is_wrong({"plan": plans[0], "faults": ["counted: 8"]}) == ["counted: 8"]


def test_a_ledger_that_is_not_what_was_sent_is_named():
    expected = {"consumed": 10, "counted": 7, "duplicate": 3}
    assert ledger_faults(expected, expected) == []
    said = ledger_faults({"consumed": 10, "counted": 8, "duplicate": 3}, expected)
    assert said[0] == "counted: 8 in the ledger, 7 were sent"
    assert "does not balance" in said[1]


def test_the_heap_of_a_jvm_is_told_apart_by_its_address():
    smaps = """80000000-95a80000 rw-p 00000000 00:00 0
Rss:              900000 kB
Pss:              800000 kB
Pss_Dirty:        700000 kB
100000000-1001e0000 rw-p 00000000 00:00 0
Pss:                2000 kB
7f924cec7000-7f924ee57000 rwxp 00000000 00:00 0 /usr/lib/some-library.so
Pss:                  64 kB
SwapPss:               8 kB
"""
    assert beyond_heap_bytes(smaps) == 2064 * 1024


def test_of_a_sawtooth_what_the_cleaning_leaves_is_judged():
    """Teeth that grow higher because batches come faster are no leak; a level that rises between them is one."""
    t_s = np.arange(0, 1800, 5.0)
    higher = (t_s % 60) * (1 + t_s / 1800)
    bound = Bound(name="files", words="", unit="", share=0, at_least=20, reason="", is_sawtooth=True)
    (calm,) = judge({"t_s": t_s, "files": 300 + higher}, [bound], from_s=900)
    assert (round(calm.slope_per_hour), calm.is_within) == (0, True)
    (leak,) = judge({"t_s": t_s, "files": 300 + higher + t_s / 36}, [bound], from_s=900)
    assert (round(leak.slope_per_hour), leak.is_beyond) == (100, True)
    (raw,) = judge({"t_s": t_s, "files": 300 + higher}, [replace(bound, is_sawtooth=False)], from_s=900)
    assert raw.slope_per_hour > 20
