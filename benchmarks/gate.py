"""How often the gate errs: simulated shadows, looked at every day, by several rules."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

from lifecycle.gate.plan import GatePlan
from models.measures.sequence import bounds

Array = npt.NDArray[np.float64]
PATHS, DAYS = 2000, 120
MARGINS = (0.36, 0.73)  # 10 and 20 % of the skill that Chicago's network has over the best rule
CORRELATIONS = (0.0, 0.3)  # of neighbouring days; Chicago's days have up to 0.3
_SETTLE = 50  # days of noise before the first


def paths_of(random: np.random.Generator, *, paths: int, days: int, correlation: float) -> Array:
    """(paths, days) differences of an equal challenger: mean 0, deviation 1, heavy tails (Student, 5 degrees)."""
    fresh = student.rvs(5, size=(paths, _SETTLE + days), random_state=random)
    fresh *= np.sqrt((1 - correlation**2) * 3 / 5)
    noise = np.zeros_like(fresh)
    for day in range(1, _SETTLE + days):
        noise[:, day] = correlation * noise[:, day - 1] + fresh[:, day]
    return noise[:, _SETTLE:]


def naive_upper(noise: Array) -> Array:
    """Upper end of the plain 95 % t interval of every day: right for one look, wrong for daily ones."""
    number = np.arange(1, noise.shape[1] + 1)
    mean = np.cumsum(noise, axis=1) / number
    free = np.maximum(number - 1, 1)
    variance = np.maximum(np.cumsum(noise**2, axis=1) / number - mean**2, 0) * number / free
    return np.asarray(mean + student.ppf(0.975, free) * np.sqrt(variance / number))


def first_day(decided: npt.NDArray[np.bool_], plan: GatePlan) -> npt.NDArray[np.int64]:
    """(paths,) the first of the plan's days on which something was decided, 0 where it never was."""
    window = decided[:, plan.least_days - 1 : plan.most_days]
    return np.where(window.any(axis=1), plan.least_days + window.argmax(axis=1), 0)


def shadows(differences: Array, margin: float, plan: GatePlan) -> dict[str, float | None]:
    """How the shadows end: the first decision of each counts."""
    both = bounds(differences, alpha=plan.alpha)
    promoted, stopped = first_day(both.upper < margin, plan), first_day(both.lower > 0, plan)
    is_promoted = (promoted > 0) & ((stopped == 0) | (promoted < stopped))
    is_stopped = (stopped > 0) & ~is_promoted
    return {
        "promoted": float(is_promoted.mean()),
        "stopped": float(is_stopped.mean()),
        "median_day": float(np.median(promoted[is_promoted])) if is_promoted.any() else None,
    }


def simulate(*, paths: int = PATHS, seed: int = 7) -> dict[str, Any]:
    """Rates over simulated shadows. Differences are in units of a day's deviation; below 0 the challenger is better."""
    plan, superiority, gate = GatePlan(), [], []
    rules: Mapping[str, Callable[[Array], Array]] = {
        "daily t interval": naive_upper,
        "confidence sequence": lambda values: bounds(values, alpha=plan.alpha).upper,
    }
    for correlation in CORRELATIONS:
        noise = paths_of(np.random.default_rng(seed), paths=paths, days=DAYS, correlation=correlation)
        for rule, upper_of in rules.items():
            for mean in (0.0, -0.2, -0.5):
                better = upper_of(noise + mean)[:, plan.least_days - 1 :] < 0
                share = float(better.any(axis=1).mean())
                superiority.append({"correlation": correlation, "rule": rule, "mean": mean, "called_better": share})
        for margin in MARGINS:
            for mean in (0.0, margin, -0.2):
                ends = shadows(noise + mean, margin, plan)
                gate.append({"correlation": correlation, "margin": margin, "mean": mean, **ends})
    return {"paths": paths, "days": DAYS, "superiority": superiority, "gate": gate}


def print_rates(rates: Mapping[str, Any], console: Console) -> None:
    """The two tables."""
    called = Table(title="a challenger is called better within 120 days, looked at daily from day 14")
    for heading in ("neighbouring days correlate", "rule", "its mean difference, deviations of a day", "called better"):
        called.add_column(heading, justify="right")
    for one in rates["superiority"]:
        called.add_row(f"{one['correlation']:g}", one["rule"], f"{one['mean']:g}", f"{one['called_better']:.1%}")
    ends = Table(title="how shadows of at most 60 days end")
    for heading in ("neighbouring days correlate", "margin", "mean difference", "promoted", "on day", "stopped"):
        ends.add_column(heading, justify="right")
    for one in rates["gate"]:
        figures = (f"{one['promoted']:.1%}", f"{one['median_day'] or 0:g}", f"{one['stopped']:.1%}")
        ends.add_row(f"{one['correlation']:g}", f"{one['margin']:g}", f"{one['mean']:g}", *figures)
    console.print(called, ends)
