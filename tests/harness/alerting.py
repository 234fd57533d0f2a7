"""Grafana's evaluation of one alert rule, as far as our rules use it: query, reduce, threshold with recovery level.

Not evaluated here: `for`, `missing_series_evals_to_resolve` and notification. Source of the semantics: Grafana's
documentation of expressions ("Threshold, custom recovery threshold") and of the states No Data and Error.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.harness.grafana_world import pipeline
from tests.harness.influxql import Store, filled_in
from tests.harness.pages import ALERTS

Labels = tuple[tuple[str, str], ...]

REDUCERS: Mapping[str, Callable[[list[float]], float]] = {"last": lambda values: values[-1], "max": max, "sum": sum}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """firing: labels of each alert. no_data: the query gave nothing, and the rule's `noDataState` decides."""

    firing: frozenset[Labels]
    values: Mapping[Labels, float]
    no_data: bool

    @property
    def held(self) -> frozenset[Labels]:
        """What the next evaluation takes for firing.

        After one without an answer Grafana forgets it (read in its source: a state with a reason is not loaded), so
        an alert must pass its opening level again.
        """
        return frozenset() if self.no_data else self.firing


def evaluate(
    rule: Mapping[str, Any], store: Store, now_s: float, *, already: frozenset[Labels] = frozenset()
) -> Evaluation:
    """One evaluation at `now_s`. already: alerts that were firing, which end at the recovery level only."""
    query, reduce, threshold = rule["data"]
    assert (query["refId"], reduce["model"]["expression"], threshold["model"]["expression"]) == ("A", "A", "B")
    assert rule["condition"] == threshold["refId"]
    span = query["relativeTimeRange"]
    asked = filled_in(query["model"]["query"], from_s=now_s - span["from"], to_s=now_s - span["to"])
    values = {}
    for series in store.series(asked):
        assert series["columns"][0] == "time", "an alert needs time series"
        assert len(series["columns"]) == 2, "one value column: each would be an alert of its own with the same labels"
        numbers = [float(row[1]) for row in series["values"] if row[1] is not None and math.isfinite(row[1])]
        if numbers:
            values[tuple(sorted(series.get("tags", {}).items()))] = REDUCERS[reduce["model"]["reducer"]](numbers)
    (condition,) = threshold["model"]["conditions"]
    firing = {
        labels
        for labels, value in values.items()
        if (_ends_not(condition, value) if labels in already else holds(condition["evaluator"], value))
    }
    no_data = not values
    if no_data:
        firing = {"Alerting": {()}, "KeepLast": already, "OK": set()}[rule["noDataState"]]
    return Evaluation(firing=frozenset(firing), values=values, no_data=no_data)


def _ends_not(condition: Mapping[str, Any], value: float) -> bool:
    recovery = condition.get("unloadEvaluator")
    return not holds(recovery, value) if recovery else holds(condition["evaluator"], value)


def holds(evaluator: Mapping[str, Any], value: float) -> bool:
    """Whether a threshold is met. The ends of a range do not count, as in Grafana."""
    kind, params = evaluator["type"], evaluator["params"]
    if kind == "gt":
        return value > params[0]
    if kind == "lt":
        return value < params[0]
    if kind == "within_range":
        return params[0] < value < params[1]
    assert kind == "outside_range", kind
    return value < params[0] or value > params[1]


RULES = {rule["uid"]: rule for rule in ALERTS}
NORTH, SOUTH = (("region", "northville"),), (("region", "southville"),)


def write_ledgers(store: Store, now_s: int, minutes: int, **changes_by_region: dict) -> None:
    """A point a minute up to now, for both regions and those named. A callable change gets the minute."""
    lines = []
    for minute in range(minutes):
        tick_s = now_s // 60 * 60 - 60 * (minutes - 1 - minute)
        for region in {"northville": 0, "southville": 0, **changes_by_region}:
            changes = {
                name: change(minute) if callable(change) else change
                for name, change in changes_by_region.get(region, {}).items()
            }
            lines.append(pipeline(region, tick_s, minute + 100, **changes))
    store.write(b"".join(lines))


def fires(uid: str, store: Store, now_s: int, **more):
    return evaluate(RULES[uid], store, now_s, **more).firing
