"""What a region's `pipeline` point says of feed, store and job: alerts and the operator's page read it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.forecasts import KeptForecasts, outcomes_folder
from schemas.incidents import Rejection, pack_rejections
from streaming.flow.rows import QueryFacts, Summary
from tests.harness.batch import Rows, publisher_to, row_without_scores, scored_row
from tests.harness.memory_sink import MemorySink
from tests.harness.points import points_in
from tests.harness.toy import CUTOFF_S, toy_artifact, toy_spec

NOW_S = CUTOFF_S + 7200.0


class Store(MemorySink):
    """losses: (tries too many, points refused for good) of each write, in their order."""

    def __init__(self, *losses):
        super().__init__()
        self.losses = list(losses)

    def write(self, lines):
        retries, dropped = self.losses.pop(0) if self.losses else (0, 0)
        return replace(super().write(lines), retries=retries, dropped=dropped)


@pytest.fixture
def folder(tmp_path):
    return str(toy_artifact(tmp_path / "artifacts", toy_spec()))


def batch_of(folder, **changes):
    """One message of the region, at the clock NOW_S."""
    ledger = {"consumed": 1, "counted": 1}
    summary = Summary(as_of_s=int(NOW_S), ledger=ledger, totals=ledger, **changes)
    return Rows(row_without_scores(toy_spec().region, folder, summary))


def figures_of(tmp_path, *batches, store=None, **parts):
    """The fields of each batch's point."""
    store = store or Store()
    publisher = publisher_to(store, tmp_path, now_s=lambda: NOW_S, **parts)
    for number, batch in enumerate(batches):
        publisher(batch, number)
    return [
        {name: value.strip('"') if value.startswith('"') else float(value) for name, value in fields.items()}
        for _, _, fields in points_in(b"".join(store.writes).decode())
    ]


@pytest.mark.parametrize(("received_s", "freshness_s"), [(NOW_S - 90.5, 90.5), (NOW_S, 0), (NOW_S + 5, 0)])
def test_freshness_is_the_age_of_the_newest_message_when_the_batch_is_written(
    tmp_path, folder, received_s, freshness_s
):
    [figures] = figures_of(tmp_path, batch_of(folder, newest_received_ms=int(1000 * received_s)))
    assert figures["freshness_s"] == freshness_s


def test_points_that_the_store_dropped_are_counted_since_the_start_so_that_their_alert_stays(tmp_path, folder):
    store = Store((2, 3), (0, 0), (1, 4))
    figures = figures_of(tmp_path, *[batch_of(folder)] * 4, store=store)
    # Each point is written before its own answer.
    assert [figure["write_dropped"] for figure in figures] == [0, 3, 3, 7]
    assert [figure["write_retries"] for figure in figures] == [0, 2, 2, 3]


def test_what_was_lost_with_scores_counts_as_well_as_what_was_lost_with_the_ledger(tmp_path, folder):
    store, published = Store((2, 3), (1, 4)), []
    publisher = publisher_to(store, tmp_path, watchers=[published.append])
    publisher(Rows(scored_row(Path(folder), int(NOW_S))), 0)
    assert [(one.retries, one.dropped) for one in published] == [(3, 7)]


@pytest.mark.parametrize(
    ("newest_event_s", "silent_s"),
    [(0, NOW_S - CUTOFF_S), (int(NOW_S) - 600, 600)],
    ids=["never connected: since the history's end", "since its newest incident"],
)
def test_a_feed_is_silent_since_its_newest_incident_also_if_it_never_sent_one(
    tmp_path, folder, newest_event_s, silent_s
):
    [figures] = figures_of(tmp_path, batch_of(folder, newest_event_s=newest_event_s))
    assert figures["silent_s"] == silent_s


def test_the_backlog_and_the_state_that_spark_reports_are_in_the_point(tmp_path, folder):
    facts = QueryFacts(lag_events=1200.0, state_bytes=4096.0)
    [figures] = figures_of(tmp_path, batch_of(folder), facts=lambda: facts, unaccounted=lambda *_: -2)
    assert (figures["lag_events"], figures["state_bytes"], figures["unaccounted"]) == (1200, 4096, -2)
    assert figures["started_s"] == NOW_S


@pytest.mark.parametrize(
    ("tried", "shown"), [(None, "none"), ("20260101T000000Z-def00000", "20260101T000000Z-def00000")]
)
def test_how_old_the_data_of_the_artifact_in_force_are_and_what_is_tried_beside_it(tmp_path, folder, tried, shown):
    [figures] = figures_of(tmp_path, batch_of(folder), challenger={toy_spec().region: tried}.get)
    assert (figures["data_end_s"], figures["challenger"]) == (CUTOFF_S, shown)


def test_a_region_has_its_point_by_its_own_ticks_also_after_one_without_news(tmp_path):
    spec = toy_spec(tick_s=300)
    quiet, heard = (str(toy_artifact(tmp_path / "artifacts", region)) for region in (toy_spec(region="a-town"), spec))
    silence = Summary(as_of_s=60, ledger={"consumed": 0}, totals={})
    said = Summary(as_of_s=1261, ledger={"consumed": 1}, totals={})
    rows = Rows(row_without_scores("a-town", quiet, silence), row_without_scores(spec.region, heard, said))
    store = Store()
    publisher_to(store, tmp_path)(rows, 0)
    [(tags, tick_s, _)] = points_in(b"".join(store.writes).decode())
    assert (spec.region in str(tags), tick_s) == (True, 1200)


def test_what_was_refused_goes_to_the_dead_letters(tmp_path, folder):
    letters = []
    desk = SimpleNamespace(
        write=lambda refused: letters.append({region: list(those) for region, those in refused.items()})
    )
    incident = Rejection("schema", "an incident", 0, 7, 1_700_000_000_000)
    figures_of(tmp_path, batch_of(folder, rejections=pack_rejections([incident])), dead_letters=desk)
    assert letters == [{toy_spec().region: [incident]}]


def test_those_who_watch_are_told_of_the_whole_batch_and_its_forecast_is_kept_as_it_was_made(tmp_path, folder):
    hour_s, facts, published = int(NOW_S) // 3600 * 3600, QueryFacts(lag_events=3.0), []
    row, region = scored_row(Path(folder), hour_s), toy_spec().region
    row["scores"] |= {"followed": str(hour_s), "raw": row["scores"]["usual"]}
    publisher_to(Store(), tmp_path, watchers=[published.append], facts=lambda: facts)(Rows(row), 7)
    [told] = published
    assert (told.batch_id, told.facts, told.summaries[region].as_of_s) == (7, facts, hour_s)
    assert (told.artifacts, told.following) == ({region: Path(folder).name}, {region: str(hour_s)})
    assert 0 < told.seconds < 60
    kept = KeptForecasts(outcomes_folder(tmp_path)).read(toy_spec(), hour_s)
    assert (kept.following, kept.raw.tobytes()) == (str(hour_s), row["scores"]["usual"])
