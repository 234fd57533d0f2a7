"""Alerts: what each rule says, how one is added from outside, and when each opens and closes on a real InfluxDB.

Grafana's evaluation of a rule as far as ours use it: query, reduce, threshold with recovery level. Not evaluated here:
`for`, `missing_series_evals_to_resolve` and notification. Source of the semantics: Grafana's documentation of
expressions ("Threshold, custom recovery threshold") and of the states No Data and Error.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from generator.alerts import (
    ADDRESS,
    HOUR_S,
    Alert,
    above,
    below,
    guide,
    hours,
    inside,
    outside,
    percent,
    rules,
    runbook,
)
from generator.alerts import ALERTS as ROWS
from generator.build import page, stat
from lifecycle.live_judge import retrain_line
from lifecycle.triggers import Asked
from schemas.spec import DAY_S
from tests.contracts.test_readme import fault_in_name, named_commands
from tests.harness.grafana_world import SPECS, outcome_lines, pipeline
from tests.harness.influxql import Store, filled_in
from tests.harness.pages import ALERTS, PAGES, provisioned

Labels = tuple[tuple[str, str], ...]


class Evaluation(NamedTuple):
    firing: frozenset[Labels]
    values: Mapping[Labels, float]  # none: the query gave nothing, and the rule's `noDataState` decides

    @property
    def held(self) -> frozenset[Labels]:
        """What the next evaluation takes for firing.

        After one without an answer Grafana forgets it (read in its source: a state with a reason is not loaded), so
        an alert must pass its opening level again.
        """
        return self.firing if self.values else frozenset()


def evaluate(
    uid: str, store: Store, now_s: float, *, already: frozenset[Labels] | set[Labels] = frozenset()
) -> Evaluation:
    """One evaluation of the rule at `now_s`. already: alerts that were firing, which end at the recovery level only."""
    rule = RULES[uid]
    query, reduce, threshold = rule["data"]
    assert (query["refId"], reduce["model"]["expression"], threshold["model"]["expression"]) == ("A", "A", "B")
    assert (rule["condition"], reduce["model"]["reducer"]) == (threshold["refId"], "last")
    span = query["relativeTimeRange"]
    asked = filled_in(query["model"]["query"], from_s=now_s - span["from"], to_s=now_s - span["to"])
    values = {}
    for series in store.series(asked):
        assert series["columns"][0] == "time", "an alert needs time series"
        assert len(series["columns"]) == 2, "one value column: each would be an alert of its own with the same labels"
        numbers = [float(row[1]) for row in series["values"] if row[1] is not None and math.isfinite(row[1])]
        if numbers:
            values[tuple(sorted(series.get("tags", {}).items()))] = numbers[-1]
    if not values:
        firing = {"Alerting": {()}, "KeepLast": already, "OK": set()}[rule["noDataState"]]
        return Evaluation(frozenset(firing), values)
    (condition,) = threshold["model"]["conditions"]
    opens, closes = condition["evaluator"], condition.get("unloadEvaluator")
    firing = {
        labels
        for labels, value in values.items()
        if (not holds(closes, value) if labels in already and closes else holds(opens, value))
    }
    return Evaluation(frozenset(firing), values)


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
NORTH, SOUTH, ANY = (("region", "northville"),), (("region", "southville"),), ()


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
    return evaluate(uid, store, now_s, **more).firing


# What each alert rule says beside its query: where to look, and whom it reaches. How one is added from outside.


PANELS_OF = {page["uid"]: {panel["id"]: panel for panel in page["panels"]} for page in PAGES.values()}


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["uid"]) for rule in ALERTS])
def test_a_rule_says_what_it_means_what_to_do_and_where_to_look(rule):
    notes = rule["annotations"]
    runbook, panel = re.fullmatch(re.escape(ADDRESS) + r"/d/([\w-]+)\?viewPanel=(\d+)", notes["runbook_url"]).groups()
    section = PANELS_OF[runbook][int(panel)]
    assert section["title"] == rule["title"]
    assert "](" not in section["options"]["content"]  # Grafana does not have the other pages
    assert rule["panelId"] in PANELS_OF[rule["dashboardUid"]]
    assert "$" not in json.dumps(notes), "provisioning may take it for an environment variable"
    assert "/d/" not in "".join(notes.values()).replace(f"{ADDRESS}/d/", ""), "a link without an address"
    assert not re.search(r"\$(?!timeFilter)", rule["data"][0]["model"]["query"]), "a rule knows no variables"


def test_an_alert_waits_for_a_store_that_does_not_answer_but_stale_scores_do_not():
    assert {row.uid for row in ROWS if row.on_error == "Alerting" or row.without_rows == "Alerting"} == {
        "risk-scores-stale"
    }


def test_each_alert_goes_to_a_contact_point_that_exists():
    names = {point["name"] for point in provisioned("alerting/contact-points.yaml")["contactPoints"]}
    assert {policy["receiver"] for policy in provisioned("alerting/policies.yaml")["policies"]} == names


def test_commands_that_an_alert_names_exist():
    commands = list(named_commands(guide(ROWS)))
    assert len(commands) > 4
    assert {str(command): said for command in commands if (said := fault_in_name(*command))} == {}


ADDED = Alert(
    uid="risk-retries",
    title="Many retries",
    severity="warning",
    panel=("risk-added", "Retries"),
    query='SELECT max("write_retries") AS "retries"\n FROM "pipeline" WHERE $timeFilter',
    measure="retries",
    opens=above(100),
    closes=below(50),
    summary="The store is slow",
    means="Scores come late.",
    to_do="Look at the [store](store.md).",
)


def test_a_row_from_outside_becomes_a_rule_a_panel_of_the_runbook_and_a_section_of_the_page():
    added = page("risk-added", "Added", "x", [stat("Retries", "x", (4, 4), ADDED.query, "none", without="STALE")], [])
    book = runbook([ADDED])
    (rule,) = rules([ADDED], [added, book])["groups"][0]["rules"]
    (panel,), (section,) = added["panels"], book["panels"]
    assert (
        rule["data"][0]["model"]["query"]
        == 'SELECT max("write_retries") AS "retries" FROM "pipeline" WHERE $timeFilter'
    )
    assert rule["data"][2]["model"]["conditions"] == [
        {"evaluator": {"type": "gt", "params": [100]}, "unloadEvaluator": {"type": "lt", "params": [50]}}
    ]
    assert (rule["panelId"], rule["annotations"]["description"]) == (
        panel["id"],
        "Scores come late. Opens: retries above 100. Closes: below 50.",
    )
    assert rule["annotations"]["runbook_url"].endswith(f"/d/{book['uid']}?viewPanel={section['id']}")
    assert section["options"]["content"] == "*Opens: retries above 100. Closes: below 50.*\n\nLook at the store."
    assert guide([ADDED]) == (
        "## Many retries\n\n*Opens: retries above 100. Closes: below 50.*\n\nLook at the [store](store.md)."
    )


def test_an_alert_on_a_panel_that_no_page_has_is_refused():
    with pytest.raises(KeyError, match="Retries"):
        rules([ADDED], PAGES.values())


@pytest.mark.parametrize(
    ("level", "words", "met", "not_met"),
    [
        (above(0.05, percent), "above 5 %", [0.051], [0.05, 0]),
        (below(3 * HOUR_S, hours), "below 3 h", [10_799], [10_800]),
        (outside(0.8, 1.25), "outside 0.8 to 1.25", [0.79, 1.26], [0.8, 1, 1.25]),
        (inside(0.87, 1.15), "inside 0.87 to 1.15", [1], [0.87, 1.15]),
        (above(0, said="any"), "any", [1], [0]),
    ],
)
def test_a_level_says_where_it_lies(level, words, met, not_met):
    assert level.words == words
    assert all(holds(level.evaluator(), value) for value in met)
    assert not any(holds(level.evaluator(), value) for value in not_met)


# Alerts on what cells are scored, and on scores that are stale, on a real store; a healthy one has no alert at all.


CELL = (("category", "ems"), ("cell", "r001c001"), ("region", "northville"))
ALL, EMS, FIRE = ((("category", category), ("region", "northville")) for category in ("all", "ems", "fire"))


def risk_line(now_s: int, risk: float, cell: str = "r001c001", *, support: str = "ok", category: str = "ems") -> bytes:
    tags = f"category={category},cell={cell},geohash=x{cell},horizon=1h,region=northville"
    return f'risk,{tags} expected={risk},risk={risk},support="{support}" {now_s // 60 * 60}\n'.encode()


def unusual_line(at_s: int, category: str, days: float = 0.0, *, silent: float = 0.0) -> bytes:
    fields = f'days=14,own_days={days},silent={silent},says=""'
    return f"unusual,category={category},region=northville {fields} {at_s // 60 * 60}\n".encode()


def test_a_cell_opens_holds_and_closes_as_one_alert(store, now_s):
    already = frozenset()
    story = [(0.2, False), (0.45, False), (0.6, True), (0.45, True), (0.36, True), (0.34, False), (0.45, False)]
    for minute, (risk, is_firing) in enumerate(story):
        at_s = now_s + 60 * minute
        store.write(risk_line(at_s, risk) + risk_line(at_s, 0.01, "r005c005"))
        store.write(pipeline("northville", at_s // 60 * 60, minute))
        already = fires("risk-cell-high", store, at_s, already=already)
        assert already == ({CELL} if is_firing else set()), (minute, risk)


@pytest.mark.parametrize(
    ("cells", "already", "wanted"),
    [
        pytest.param([(0.1, {})], {CELL}, set(), id="one that falls far leaves the answer, and so closes"),
        pytest.param([(0.9, {"support": "no_history"})], set(), set(), id="none without history"),
        pytest.param(
            [(0.9, {}), (0.95, {"category": "all"}), (0.6, {"category": "all", "cell": "r002c002"})],
            set(),
            {CELL},
            id="all categories together are none beside those of each",
        ),
    ],
)
def test_a_cell_is_an_alert_while_its_own_score_is_high(store, now_s, cells, already, wanted):
    lines = [risk_line(now_s, risk, **changes) for risk, changes in cells]
    store.write(b"".join(lines) + pipeline("northville", now_s // 60 * 60, 1))
    assert fires("risk-cell-high", store, now_s, already=already) == wanted


@pytest.mark.parametrize(("risk", "is_firing"), [(0.45, False), (0.6, True)])
def test_between_its_levels_an_alert_ends_after_an_evaluation_without_an_answer(store, now_s, risk, is_firing):
    store.write(risk_line(now_s - 240, 0.9))  # an old score is no answer
    silent = evaluate("risk-cell-high", store, now_s, already={CELL})
    store.write(risk_line(now_s + 60, risk) + pipeline("northville", now_s // 60 * 60 + 60, 1))
    assert (silent.firing, silent.values) == ({CELL}, {})
    assert fires("risk-cell-high", store, now_s + 60, already=silent.held) == ({CELL} if is_firing else set())


@pytest.mark.parametrize(("uid", "alert"), [("risk-cell-high", CELL), ("risk-feed-silent", FIRE)])
def test_a_scorer_that_stopped_ends_no_alert(store, now_s, uid, alert):
    """Nobody should read "resolved" because nobody looks any more."""
    store.write(risk_line(now_s, 0.9) + unusual_line(now_s, "fire", silent=23.4))
    assert fires(uid, store, now_s, already={alert}) == {alert}
    assert evaluate(uid, store, now_s + 1200, already={alert}) == ({alert}, {})


def test_scores_of_one_region_stale_while_the_other_goes_on(store, now_s):
    write_ledgers(store, now_s, 30)
    assert fires("risk-scores-stale", store, now_s) == frozenset()
    assert fires("risk-scores-stale", store, now_s + 120) == frozenset()
    for minute in range(1, 6):
        store.write(pipeline("southville", now_s // 60 * 60 + 60 * minute, 130))
    assert fires("risk-scores-stale", store, now_s + 300) == {NORTH}


def test_scores_of_one_region_are_stale_for_a_day(store, now_s):
    store.write(pipeline("northville", now_s - 23 * 3600, 1) + pipeline("southville", now_s // 60 * 60, 130))
    assert fires("risk-scores-stale", store, now_s) == {NORTH}


def test_scores_stale_when_nothing_is_there_at_all_until_something_is(store, now_s):
    """The alert of no region must not outlive the first tick by more than a few evaluations."""
    store.write(pipeline("northville", now_s - 25 * 3600, 1))
    evaluation = evaluate("risk-scores-stale", store, now_s)
    assert evaluation == ({ANY}, {})
    write_ledgers(store, now_s, 1)
    assert fires("risk-scores-stale", store, now_s, already=evaluation.held) == frozenset()


@pytest.mark.parametrize(
    ("uid", "figure", "story"),
    [
        ("risk-unusual", "days", [(0.0, False), (14.0, True), (36_500.0, True), (0.0, False)]),
        ("risk-feed-silent", "silent", [(0.0, False), (23.4, True), (31.0, True), (0.0, False)]),
    ],
)
@pytest.mark.parametrize("alert", [FIRE, ALL])
def test_a_place_or_a_silence_is_an_alert_of_its_category_until_all_is_as_usual(
    store, now_s, uid, figure, story, alert
):
    already, own = frozenset(), dict(alert)["category"]
    for minute, (value, is_firing) in enumerate(story):
        at_s = now_s + 60 * minute
        figures = {"all": {}, "fire": {}, "ems": {}, own: {figure: value}}
        store.write(b"".join(unusual_line(at_s, category, **given) for category, given in figures.items()))
        already = fires(uid, store, at_s, already=already)
        assert already == ({alert} if is_firing else set()), (minute, value)


# The drawn scores are high; a third of the messages has no region; one place is unusual.
NOT_QUIET = {"risk-cell-high", "risk-rejects-unassigned", "risk-unusual"}


@pytest.mark.parametrize("uid", sorted(set(RULES) - NOT_QUIET))
def test_a_healthy_store_is_quiet(filled, now_s, uid):
    assert fires(uid, filled, now_s) == frozenset()


# Alerts on the feed, the ledger and refused messages, on a real store: they fire on data that must, and only then.


@pytest.mark.parametrize(
    ("uid", "changes", "alert"),
    [
        ("risk-ledger-unbalanced", {"consumed": lambda minute: 30 * (minute + 100) - 1}, SOUTH),
        ("risk-ledger-unbalanced", {"consumed": lambda minute: 30 * (minute + 100) + 1}, SOUTH),
        ("risk-points-dropped", {"dropped": 3}, ANY),
    ],
)
def test_a_ledger_with_a_gap_and_points_that_the_store_dropped_are_alerts(store, now_s, uid, changes, alert):
    write_ledgers(store, now_s, 10)
    assert fires(uid, store, now_s) == frozenset()
    write_ledgers(store, now_s, 10, southville=changes)
    assert fires(uid, store, now_s) == {alert}


@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("older", [True, False])
def test_a_ledger_with_and_without_repeated_calls(store, now_s, gap, older):
    """An older version wrote no `repeated`."""
    totals = {"consumed": 10 + gap, "counted": 6, "corrected": 1, "duplicate": 1, "excluded": 1, "rejected": 1}
    totals |= {} if older else {"counted": 4, "repeated": 2}
    fields = ",".join(f"{name}={count}" for name, count in totals.items())
    store.write(f"pipeline,region=southville {fields} {now_s // 60 * 60}\n".encode())
    assert fires("risk-ledger-unbalanced", store, now_s) == (frozenset({SOUTH}) if gap else frozenset())


@pytest.mark.parametrize("missing", [-2, 3])
def test_messages_that_are_unaccounted_for(store, now_s, missing):
    write_ledgers(store, now_s, 10)
    assert fires("risk-unaccounted", store, now_s) == frozenset()
    for region in ("northville", "southville"):  # it is the job's, and stands in every region's point
        store.write(f"pipeline,region={region} unaccounted={missing} {now_s // 60 * 60}\n".encode())
    assert fires("risk-unaccounted", store, now_s) == {ANY}


def totals(consumed, rejected):
    return {"consumed": consumed, "rejected": rejected}


def every(minutes, *, begin=0):
    """A total that grows by one in so many minutes."""
    return lambda minute: begin + minute // minutes


def test_too_many_rejects(store, now_s):
    write_ledgers(store, now_s, 31)  # one of 30 a minute: 3.3 %
    assert fires("risk-rejects", store, now_s) == frozenset()
    assert fires("risk-rejects", store, now_s, already={NORTH}) == {NORTH}
    write_ledgers(store, now_s, 31, northville={"rejected": lambda minute: 3 * minute})  # 10 %
    assert fires("risk-rejects", store, now_s) == {NORTH}


def test_a_few_messages_are_too_few_to_judge(store, now_s):
    write_ledgers(store, now_s, 31, northville=totals(every(2), every(2)))
    assert fires("risk-rejects", store, now_s) == frozenset()


def test_a_small_feed_of_which_most_is_refused(store, now_s):
    few, too_few = totals(every(30), every(50)), totals(every(100), every(100))  # 7 of 12 in six hours, and 3 of 3
    write_ledgers(store, now_s, 361, northville=few, southville=too_few)
    assert fires("risk-rejects", store, now_s) == frozenset()
    assert fires("risk-rejects-small", store, now_s) == {NORTH}


def test_rejects_of_before_a_reset_of_the_counts_do_not_count(store, now_s):
    """Totals begin anew at a `checkpoint --reset`."""
    begun_anew = totals(
        lambda minute: 100_000 if minute < 200 else 10 * (minute - 200), lambda minute: 9_000 if minute < 200 else 0
    )
    write_ledgers(store, now_s, 361, northville=begun_anew)
    assert evaluate("risk-rejects", store, now_s).values[NORTH] == 0


@pytest.mark.parametrize("uid", ["risk-rejects", "risk-rejects-small"])
def test_refusals_end_when_nothing_was_refused_for_six_hours(store, now_s, uid):
    few = totals(every(120, begin=30), 25)
    write_ledgers(store, now_s, 361, northville=few, southville=few)
    assert fires(uid, store, now_s, already={NORTH, SOUTH}) == frozenset()


@pytest.mark.parametrize("uid", ["risk-rejects", "risk-rejects-small", "risk-rejects-unassigned"])
def test_refusals_go_on_being_told_when_the_feed_becomes_quiet(store, now_s, uid):
    """A burst three hours ago, nothing since: that mends nothing."""

    def burst(minute):
        return 1000 + 2 * min(max(minute - 170, 0), 20)

    name = "_unassigned" if uid == "risk-rejects-unassigned" else "northville"
    quiet = {"northville": totals(0, 0), "southville": totals(0, 0)}
    write_ledgers(store, now_s, 361, **quiet | {name: totals(burst, burst)})
    assert fires(uid, store, now_s) == {ANY if name == "_unassigned" else NORTH}


@pytest.mark.parametrize(("per_minute", "is_firing"), [(1, False), (10, True)])
def test_messages_of_no_region(store, now_s, per_minute, is_firing):
    # 60 a minute in regions
    write_ledgers(store, now_s, 31, _unassigned={"consumed": lambda minute: per_minute * minute})
    evaluation = evaluate("risk-rejects-unassigned", store, now_s)
    assert bool(evaluation.firing) == is_firing
    assert evaluation.values[ANY] == pytest.approx(per_minute / (60 + per_minute), rel=0.05)


def test_a_few_messages_of_no_region_are_too_few_to_judge(store, now_s):
    rare = {"_unassigned": 4, "northville": 3, "southville": 99}
    write_ledgers(store, now_s, 31, **{name: totals(every(minutes), 0) for name, minutes in rare.items()})
    assert evaluate("risk-rejects-unassigned", store, now_s).values == {ANY: 0}


def test_a_burst_of_no_region_within_one_minute(store, now_s):
    """Its point has one of the minute before, also where never any such message had come."""
    write_ledgers(store, now_s, 31, _unassigned={"consumed": lambda minute: 100_000 if minute >= 12 else 0})
    assert fires("risk-rejects-unassigned", store, now_s) == {ANY}


def test_no_message_of_no_region_ends_that_alert(store, now_s):
    write_ledgers(store, now_s, 361)
    assert fires("risk-rejects-unassigned", store, now_s, already={ANY}) == frozenset()


# Alerts on models: outcomes, drift, trials, retraining, on a real store. They fire where they must, and only there.


def test_only_the_baseline_scores(store, now_s):
    uid = "risk-baseline-only"
    write_ledgers(store, now_s, 10, northville={"model": "baseline:network unusable"})
    assert fires(uid, store, now_s) == {NORTH}
    write_ledgers(store, now_s + 600, 10)
    assert fires(uid, store, now_s + 600, already={NORTH}) == frozenset()
    write_ledgers(store, now_s + 1200, 2, northville={"model": "baseline"})
    assert fires(uid, store, now_s + 1200) == frozenset()  # for a batch or two nobody is woken


def write_outcomes(store, now_s, days, **ratios):
    """Two hours of each of those days before today get so many incidents for one expected, in the regions named."""
    draw, midnight_s = np.random.default_rng(3), now_s - now_s % DAY_S
    for region, ratio in ratios.items():
        hours = [midnight_s - day * DAY_S + hour * 3600 for day in days for hour in (0, 12)]
        store.write(b"".join(outcome_lines(SPECS[region], hour, draw, ratio=ratio) for hour in hours))


@pytest.mark.parametrize(
    ("days", "ratio", "is_firing"),
    [(20, 1.0, False), (20, 1.5, True), (20, 0.6, True), (9, 3.0, True), (6, 3.0, False)],
)
def test_calibration_drift_is_of_a_week_or_more(store, now_s, days, ratio, is_firing):
    write_outcomes(store, now_s, range(days, 0, -1), northville=ratio, southville=1.0)
    assert fires("risk-calibration", store, now_s) == ({NORTH} if is_firing else set())


def test_few_expected_incidents_are_no_drift(store, now_s):
    tags, midnight_s = "outcome,category=ems,horizon=24h,region=northville", now_s - now_s % DAY_S
    days = [f"{tags} expected=5,observed=50 {midnight_s - day * DAY_S}\n" for day in range(1, 13)]
    store.write("".join(days).encode())
    assert fires("risk-calibration", store, now_s) == frozenset()


@pytest.mark.parametrize(
    ("low", "high", "is_firing"),
    [(0.85, 1.3, False), (1.05, 1.3, False), (1.12, 1.3, True), (0.7, 0.95, False), (0.7, 0.89, True)],
)
def test_drift_of_a_category_is_an_alert_when_its_whole_band_lies_outside(store, now_s, low, high, is_firing):
    midnight_s = now_s - now_s % DAY_S
    for category, bounds in (("ems", f"low={low},high={high}"), ("all", "low=0.9,high=1.1")):
        tags = f"drift,category={category},region=northville"
        store.write(f"{tags} ratio=1,{bounds} {midnight_s - 2 * DAY_S}\n".encode())
        store.write(f"{tags} ratio=1,low=2,high=3 {midnight_s - 4 * DAY_S}\n".encode())  # of the version before
    assert fires("risk-drift", store, now_s) == ({EMS} if is_firing else set())


def gate_points(now_s, awaited, region="northville"):
    """A judgement a day; the newest day began the day before yesterday, as late reports are waited for."""
    midnight_s = now_s - now_s % DAY_S
    days = zip(range(len(awaited) + 1, 1, -1), awaited, strict=True)
    return "".join(
        f"gate,region={region} awaited={is_awaited} {midnight_s - back * DAY_S}\n" for back, is_awaited in days
    ).encode()


@pytest.mark.parametrize(("awaited", "is_firing"), [((0, 0), False), ((0, 1), True), ((1, 0), False), ((), False)])
@pytest.mark.parametrize("hour", [0, 12, 23])
def test_a_person_is_awaited_while_the_newest_judgement_says_so(store, now_s, awaited, hour, is_firing):
    at_s = now_s - now_s % DAY_S + 3600 * hour + 3590
    store.write(gate_points(at_s, awaited) + gate_points(at_s, (0, 0), "southville"))
    assert fires("risk-trial-decided", store, at_s) == ({NORTH} if is_firing else set())


@pytest.mark.parametrize(("hours", "is_firing"), [(0, False), (5.9, False), (6.1, True), (72, True), (None, False)])
@pytest.mark.parametrize(
    ("uid", "field", "alert"),
    [("risk-watch-stopped", "watch_ago_s", ANY), ("risk-follows-nothing", "followed_ago_s", NORTH)],
)
def test_a_watch_or_a_follower_that_does_nothing_any_more_is_an_alert_and_none_that_never_began(
    store, now_s, uid, field, alert, hours, is_firing
):
    ago = {field: None if hours is None else int(3600 * hours)}
    write_ledgers(store, now_s, 10, northville=ago, southville={field: None} if alert else ago)  # or of no region
    assert fires(uid, store, now_s) == ({alert} if is_firing else set())


@pytest.mark.parametrize(("hours", "is_firing"), [(None, False), (2, True), (23, True), (25, False)])
def test_a_new_challenger_is_told_for_a_day(store, now_s, hours, is_firing):
    hour_s = now_s // 3600 * 3600
    for region, made_h in (("northville", hours), ("southville", 100)):
        for at_s, made in ((hour_s - 7200, None), (hour_s - 3600, made_h)):
            made_s = None if made is None else at_s - 3600 * made
            asked = Asked(at_s=at_s, outcome="waits", because="x", made_s=made_s)
            store.write(retrain_line(region, asked, at_s))
    assert fires("risk-challenger-made", store, now_s) == ({NORTH} if is_firing else set())
