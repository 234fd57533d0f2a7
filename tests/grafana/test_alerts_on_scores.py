"""Alerts on what cells are scored, and on scores that are stale, on a real store; a healthy one has no alert at all."""

import pytest

from tests.harness.alert_world import NORTH, RULES, fires, write_ledgers
from tests.harness.alerting import evaluate
from tests.harness.grafana_world import pipeline

CELL = (("category", "ems"), ("cell", "r001c001"), ("region", "northville"))


def risk_line(now_s: int, cell: str, risk: float, *, support: str = "ok", category: str = "ems") -> bytes:
    tags = f"category={category},cell={cell},geohash=x{cell},horizon=1h,region=northville"
    return f'risk,{tags} expected={risk},risk={risk},support="{support}" {now_s // 60 * 60}\n'.encode()


def test_a_cell_opens_holds_and_closes_as_one_alert(store, now_s):
    uid, already = "risk-cell-high", frozenset()
    story = [(0.2, False), (0.45, False), (0.6, True), (0.45, True), (0.36, True), (0.34, False), (0.45, False)]
    for minute, (risk, is_firing) in enumerate(story):
        at_s = now_s + 60 * minute
        store.write(risk_line(at_s, "r001c001", risk) + risk_line(at_s, "r005c005", 0.01))
        store.write(pipeline("northville", at_s // 60 * 60, minute))
        already = fires(uid, store, at_s, already=already)
        assert already == ({CELL} if is_firing else set()), (minute, risk)


def test_a_cell_that_falls_far_leaves_the_answer_and_so_closes(store, now_s):
    store.write(risk_line(now_s, "r001c001", 0.1) + pipeline("northville", now_s // 60 * 60, 1))
    assert fires("risk-cell-high", store, now_s, already=frozenset({CELL})) == frozenset()


@pytest.mark.parametrize(("risk", "is_firing"), [(0.45, False), (0.6, True)])
def test_between_its_levels_an_alert_ends_after_an_evaluation_without_an_answer(store, now_s, risk, is_firing):
    silent = evaluate(RULES["risk-cell-high"], store, now_s, already=frozenset({CELL}))
    store.write(risk_line(now_s + 60, "r001c001", risk) + pipeline("northville", now_s // 60 * 60 + 60, 1))
    assert silent.firing == {CELL}
    assert fires("risk-cell-high", store, now_s + 60, already=silent.held) == ({CELL} if is_firing else set())


def test_a_cell_without_history_is_no_alert(store, now_s):
    store.write(pipeline("northville", now_s // 60 * 60, 1))
    store.write(risk_line(now_s, "r001c001", 0.9, support="no_history") + risk_line(now_s, "r002c002", 0.9))
    assert [dict(labels)["cell"] for labels in fires("risk-cell-high", store, now_s)] == ["r002c002"]


def test_all_categories_together_are_no_alert_beside_those_of_each(store, now_s):
    store.write(pipeline("northville", now_s // 60 * 60, 1))
    store.write(risk_line(now_s, "r001c001", 0.9) + risk_line(now_s, "r001c001", 0.95, category="all"))
    store.write(risk_line(now_s, "r002c002", 0.6, category="all"))
    assert fires("risk-cell-high", store, now_s) == {CELL}


def test_an_old_score_is_no_alert(store, now_s):
    store.write(risk_line(now_s - 240, "r001c001", 0.9))
    assert evaluate(RULES["risk-cell-high"], store, now_s).no_data


@pytest.mark.parametrize("uid", ["risk-cell-high", "risk-feed-silent"])
def test_a_scorer_that_stopped_ends_no_alert(store, now_s, uid):
    """Nobody should read "resolved" because nobody looks any more."""
    already = frozenset({CELL if uid == "risk-cell-high" else (("category", "fire"), ("region", "northville"))})
    tick_s = now_s // 60 * 60
    store.write(risk_line(tick_s, "r001c001", 0.9) + unusual_line(tick_s, "fire", 0.0, silent=23.4))
    assert fires(uid, store, now_s, already=already) == already
    evaluation = evaluate(RULES[uid], store, now_s + 1200, already=already)
    assert evaluation.no_data
    assert evaluation.firing == already


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
    evaluation = evaluate(RULES["risk-scores-stale"], store, now_s)
    assert evaluation.no_data
    assert evaluation.firing == {()}
    write_ledgers(store, now_s, 1)
    assert fires("risk-scores-stale", store, now_s, already=evaluation.held) == frozenset()


def unusual_line(at_s: int, category: str, days: float, *, silent: float = 0.0) -> bytes:
    fields = f'days=14,own_days={days},silent={silent},says=""'
    return f"unusual,category={category},region=northville {fields} {at_s // 60 * 60}\n".encode()


def test_a_place_with_more_than_usual_is_an_alert_of_its_category_until_all_is_as_usual(store, now_s):
    already, fire = frozenset(), (("category", "fire"), ("region", "northville"))
    for minute, (days, is_firing) in enumerate([(0.0, False), (14.0, True), (36_500.0, True), (0.0, False)]):
        at_s = now_s + 60 * minute
        store.write(unusual_line(at_s, "all", 0.0) + unusual_line(at_s, "fire", days) + unusual_line(at_s, "ems", 0.0))
        already = fires("risk-unusual", store, at_s, already=already)
        assert already == ({fire} if is_firing else set()), (minute, days)


def test_a_place_of_all_categories_together_is_an_alert_of_its_own(store, now_s):
    store.write(unusual_line(now_s, "all", 20.0) + unusual_line(now_s, "fire", 0.0))
    assert fires("risk-unusual", store, now_s) == {(("category", "all"), ("region", "northville"))}


def test_a_feed_that_is_silent_is_an_alert_of_its_category_until_incidents_come(store, now_s):
    already, fire = frozenset(), (("category", "fire"), ("region", "northville"))
    for minute, (silent, is_firing) in enumerate([(0.0, False), (23.4, True), (31.0, True), (0.0, False)]):
        at_s = now_s + 60 * minute
        store.write(unusual_line(at_s, "fire", 0.0, silent=silent) + unusual_line(at_s, "ems", 0.0))
        already = fires("risk-feed-silent", store, at_s, already=already)
        assert already == ({fire} if is_firing else set()), (minute, silent)


# The drawn scores are high; a third of the messages has no region; one place is unusual.
NOT_QUIET = {"risk-cell-high", "risk-rejects-unassigned", "risk-unusual"}


@pytest.mark.parametrize("uid", sorted(set(RULES) - NOT_QUIET))
def test_a_healthy_store_is_quiet(filled, now_s, uid):
    assert fires(uid, filled, now_s) == frozenset()
