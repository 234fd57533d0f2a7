"""A batch counts as stored when the store has answered, also where there was nothing to write."""

import pytest

from schemas.errors import SinkUnavailable
from streaming.flow.publish import ASK_EVERY_S
from streaming.flow.rows import Summary
from streaming.job_health import LONGEST_SILENCE_S
from tests.harness.batch import Rows, publisher_to, row_without_scores, scored_row
from tests.harness.memory_sink import MemorySink
from tests.harness.points import OF_THE_MACHINE, points_in
from tests.harness.toy import toy_artifact, toy_spec

START_S = 1_764_000_000.0
EVERY_S = 0.5


def batch_of(messages=0, *, ticks=False):
    """Messages of no region, which need no artifact. ticks: it is a new minute."""
    ledger = {"consumed": messages, "rejected": messages}
    summary = Summary(as_of_s=60, ledger=ledger, totals=ledger)
    return Rows(row_without_scores("", None, summary)) if messages or ticks else Rows()


class Store(MemorySink):
    """is_there: whether it answers. asked: when it was."""

    def __init__(self, clock):
        super().__init__()
        self.is_there, self.asked, self.clock = True, [], clock

    def write_all(self, parts):
        assert parts  # a file waits for its disk at each of them
        return super().write_all(parts)

    def write(self, lines):
        self.asked.append(self.clock.now_s)
        if not self.is_there:
            raise SinkUnavailable("no answer: start the store")
        return super().write(lines)


class Clock:
    now_s = START_S

    def __call__(self):
        return self.now_s


@pytest.fixture
def job(tmp_path):
    """(publisher, what it published, its store, its clock)"""
    clock, published = Clock(), []
    store = Store(clock)
    return publisher_to(store, tmp_path, now_s=clock, watchers=[published.append]), published, store, clock


def silent_for(job, seconds):
    publisher, published, _, clock = job
    for _ in range(int(seconds / EVERY_S)):
        clock.now_s += EVERY_S
        publisher(batch_of(), len(published))


def test_a_store_that_is_there_is_asked_often_enough_to_be_ready_and_no_more(job):
    _, published, store, _ = job
    silent_for(job, 600)
    assert max(batch.done_s - batch.acknowledged_s for batch in published) < LONGEST_SILENCE_S
    assert store.asked == [START_S + n * ASK_EVERY_S for n in range(1, 21)]
    assert not any(store.writes)


def test_a_store_that_has_gone_is_noticed_when_nothing_is_to_be_written(job):
    _, published, store, clock = job
    store.is_there = False
    with pytest.raises(SinkUnavailable):
        silent_for(job, 600)
    assert clock.now_s - START_S == ASK_EVERY_S
    assert {batch.acknowledged_s for batch in published} == {START_S}


def test_points_are_an_acknowledgement_and_are_never_put_off(job):
    publisher, published, store, clock = job
    clock.now_s += 7
    publisher(batch_of(messages=1), 0)
    clock.now_s += 1
    publisher(batch_of(), 1)
    times = [(batch.done_s, batch.acknowledged_s) for batch in published]
    assert times == [(START_S + 7, START_S + 7), (START_S + 8, START_S + 7)]
    assert [lines.startswith(b"pipeline,") for lines in store.writes] == [True]


def test_a_minute_without_a_message_of_no_region_has_its_point_and_says_nothing_of_the_machine(job):
    """That point stays for the minute: what it said of the job would hold while batches without news go by."""
    publisher, _, store, _ = job
    publisher(batch_of(ticks=True), 0)
    publisher(batch_of(messages=2, ticks=True), 1)
    quiet, heard = store.writes
    assert quiet.startswith(b"pipeline,region=_unassigned ")
    assert quiet.endswith(b" 60\n")
    assert b"consumed=0" in quiet
    assert not any(name in quiet + heard for name in (b"silent_s", b"data_end_s"))  # no region, no data
    assert b"consumed=2" in heard
    said = [{name for name in OF_THE_MACHINE if f"{name}=".encode() in lines} for lines in (quiet, heard)]
    assert said == [set(), set(OF_THE_MACHINE) - {"freshness_s", "challenger", "watch_ago_s"}]


@pytest.mark.parametrize(("until_s", "ago"), [(START_S - 60, b"watch_ago_s=60.0"), (START_S + 60, b"watch_ago_s=0.0")])
def test_a_ledger_says_since_when_nothing_is_watched_beside_the_job(job, until_s, ago, monkeypatch):
    publisher, _, store, _ = job
    monkeypatch.setattr("streaming.flow.publish.watched_until_s", lambda checkpoint: until_s)
    publisher(batch_of(messages=2), 0)
    assert ago in store.writes[0]


def test_each_batch_is_checked_against_kafkas_offsets_by_its_number_and_all_its_messages(job):
    publisher, published, _, _ = job
    publisher.unaccounted = lambda number, consumed: 10 * number - consumed
    publisher(batch_of(messages=3), 4)
    publisher(batch_of(), 5)
    assert [batch.unaccounted for batch in published] == [37, 50]


def test_a_ledger_is_written_when_all_scores_of_its_tick_are_acknowledged(job, tmp_path):
    """What reads the newest ledger's time finds whole scores there."""
    publisher, published, store, clock = job
    row = scored_row(toy_artifact(tmp_path / "artifacts", toy_spec()), 60)
    clock.now_s += 7
    publisher(Rows(row), 0)
    scores, ledgers = ({line.split(",")[0] for line in lines.decode().splitlines()} for lines in store.writes)
    assert (scores, ledgers) == ({"risk", "top", "unusual"}, {"pipeline"})
    assert published[0].points == b"".join(store.writes).count(b"\n")
    assert {key.split(",")[1] for key, _, _ in points_in(store.writes[0].decode())} > {"category=all"}
    assert 'model="baseline' in store.writes[1].decode()


def test_within_a_minute_only_what_changed_is_written_again_also_of_all_categories(job, tmp_path):
    publisher, _, store, _ = job
    folder, beside = (toy_artifact(tmp_path / "artifacts", toy_spec(region=name)) for name in ("toyville", "riverton"))
    for number, (of, as_of_s) in enumerate(((folder, 60), (beside, 60), (folder, 61), (folder, 120))):
        publisher(Rows(scored_row(of, as_of_s)), number)
    risks = [lines.count(b"\nrisk,") + lines.startswith(b"risk,") for lines in store.writes[::2]]
    assert risks == [toy_spec().series, toy_spec().series, 0, toy_spec().series]


def test_scores_without_an_acknowledgement_have_no_ledger(job, tmp_path):
    publisher, _, store, _ = job
    row = scored_row(toy_artifact(tmp_path / "artifacts", toy_spec()), 60)
    store.is_there = False
    with pytest.raises(SinkUnavailable):
        publisher(Rows(row), 0)
    assert len(store.asked) == 1
    store.is_there = True
    publisher(Rows(row), 0)
    assert len(store.writes) == 2


def test_a_clock_that_was_set_back_does_not_put_off_the_question(job):
    _, published, store, clock = job
    clock.now_s -= 3600
    silent_for(job, EVERY_S)
    assert store.asked == [clock.now_s] == [published[-1].acknowledged_s]
