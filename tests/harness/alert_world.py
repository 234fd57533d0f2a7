"""What the tests of alerts ask: a ledger a minute for each region, and which alerts of a rule fire on it."""

from tests.harness.alerting import evaluate
from tests.harness.grafana_world import pipeline
from tests.harness.influxql import Store
from tests.harness.pages import ALERTS

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
