"""What the store has of a region's scores, batch by batch, also while scores are withheld."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from incident_risk import app
from schemas.audit import read_log, records
from schemas.errors import SettingsError, SinkUnavailable
from schemas.frame import write_frames
from schemas.records import read_withheld, withheld_path
from streaming.flow.publish import VISIBLE, StoredRegion, StoredView
from streaming.job_health import HealthWatch, read_health
from streaming.sinks.line_protocol import VALUES, changed, risk_lines
from tests.harness.batch import MemorySink, Rows, publisher_to, scored_row
from tests.harness.points import points_in, tags_of
from tests.harness.toy import toy_artifact, toy_spec, toy_views

SPEC = toy_spec(3, 2)
TICK_S = 1_700_000_040
WITHHELD = b'{"since_s": 60, "because": "asked"}'


def by_point(lines):
    """The store: a later line of the same series and time takes the place of an earlier one."""
    written = {}
    for line in lines.decode().splitlines():
        series, *fields, time_s = line.split(" ")
        written[series, time_s] = fields
    return written


def moved(frame, draw, as_of_s):
    """A next frame: few values move much, most by less than a reader sees, and a count at times."""
    size = np.where(draw.random(frame.risk.shape) < 0.1, 0.5, VISIBLE / 3)
    values = {
        name: (getattr(frame, name) * (1 + size * draw.uniform(-1, 1, size.shape))).clip(0, 1).astype("f4")
        for name in VALUES
    }
    counts = (frame.observed_1h + (draw.random(frame.observed_1h.shape) < 0.05)).astype("i4")
    return replace(frame, as_of_s=as_of_s, observed_1h=counts, **values)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(1, 45), st.sampled_from("skq")), min_size=1, max_size=14))
def test_an_ended_minute_is_whole_and_a_running_one_as_near_as_a_reader_sees(tmp_path_factory, seed, batches):
    """Each batch comes some seconds after the one before: s with new scores, k the same after a kill, q without any."""
    draw, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("frames")
    views = toy_views(SPEC, as_of_s=TICK_S, seed=seed % 1000)
    views = tuple(moved(view, draw, TICK_S) for view in views)
    store, whole, stored, as_of_s = {}, {}, None, TICK_S
    for pause_s, kind in batches:
        as_of_s += pause_s
        if kind == "q" and stored:
            rests, stored = zip(*(old.rest() for old in stored), strict=True)
            store |= by_point(b"".join(rests))
            assert store == whole
            assert not any(old.in_store is not old.last for old in stored)
            continue
        views = tuple(moved(view, draw, as_of_s) for view in views)
        before = (None if kind == "k" else stored) or StoredRegion.left(folder, views).views
        scores, stored = zip(*(old.then(view) for old, view in zip(before, views, strict=True)), strict=True)
        store |= by_point(b"".join(scores))
        write_frames(folder, views, "wall")
        whole |= by_point(b"".join(map(risk_lines, views)))
        running = str(as_of_s - as_of_s % SPEC.tick_s)
        assert {point: of for point, of in store.items() if point[1] != running} == {
            point: of for point, of in whole.items() if point[1] != running
        }
        for view, old in zip(views, stored, strict=True):
            assert by_point(risk_lines(old.in_store)).items() <= store.items()
            assert (view.observed_1h == old.in_store.observed_1h).all()
            for name in VALUES:
                np.testing.assert_allclose(getattr(old.in_store, name), getattr(view, name), rtol=0.021, atol=1e-6)


def test_what_no_reader_sees_waits_and_what_he_sees_does_not():
    view = toy_views(SPEC, as_of_s=TICK_S)[0]
    _, stored = StoredView(view).then(view)
    risk = view.risk.copy()
    risk.flat[:2] = risk.flat[:2] * np.array([1 - 0.9 * VISIBLE, 1 - 1.1 * VISIBLE], "f4")
    lines, stored = stored.then(replace(view, risk=risk))
    assert lines == risk_lines(replace(view, risk=risk), np.arange(risk.size).reshape(risk.shape) == 1)
    risk = risk.copy()
    risk.flat[0] = view.risk.flat[0] * np.float32(1 - 1.1 * VISIBLE)  # as seen from what is in the store
    assert stored.then(replace(view, risk=risk))[0].count(b"\n") == 1
    assert changed(stored.last, stored.in_store).sum() == stored.rest()[0].count(b"\n") == 1


def test_a_frame_that_is_damaged_or_a_day_old_ends_no_minute(tmp_path, caplog):
    views = toy_views(SPEC, as_of_s=TICK_S)
    write_frames(tmp_path, views, "wall")
    left = StoredRegion.left(tmp_path, views).views
    for later_s, ends in ((SPEC.tick_s, 2), (86_400, 2), (86_400 + SPEC.tick_s, 1), (-SPEC.tick_s, 1)):
        lines = left[0].then(replace(views[0], as_of_s=TICK_S + later_s))[0]
        assert lines.count(b"\n") == ends * views[0].risk.size
    (tmp_path / f"{SPEC.region}.frame").write_bytes(b"damaged")
    for folder, said in ((tmp_path / "elsewhere", ""), (tmp_path, "is damaged")):
        assert [view.in_store for view in StoredRegion.left(folder, views).views] == [None, None]
        assert said in caplog.text
        assert bool(caplog.records) == bool(said)


@pytest.fixture
def waiting(tmp_path):
    """(a publisher after two batches, of which the last digits of the second wait; its sink; points of each; folder)"""
    sink, folder, frames = MemorySink(), toy_artifact(tmp_path / "artifacts", toy_spec()), tmp_path / "frames"
    frames.mkdir()
    publisher = publisher_to(sink, tmp_path / "checkpoint", frames_folder=frames)
    rows, points = [scored_row(folder, 60), scored_row(folder, 70)], []
    scores = rows[1]["scores"]
    scores["risk"] = (np.frombuffer(scores["risk"], "<f4") * np.float32(0.99)).tobytes()
    for number, row in enumerate(rows):
        publisher(Rows(row), number)
        points.append(by_point(b"".join(sink.writes)))
        sink.writes.clear()
    return publisher, sink, points, folder


@pytest.mark.parametrize("then", ["stop", "rest", "batch"])
def test_what_waits_is_written_at_a_stop_in_a_rest_or_in_a_batch_without_scores(then, waiting, caplog):
    publisher, sink, points, _ = waiting
    assert not any(series.startswith("risk,") for series, _ in points[1])
    if then == "stop":
        publisher.sink = SimpleNamespace(write_all=Mock(side_effect=SinkUnavailable("no answer", "start the store")))
        publisher.end_minute()
        assert "no answer: start the store; the next start writes the last digits" in caplog.text
        publisher.sink = sink
        publisher.end_minute()
    elif then == "rest":
        publisher.pause()
    else:
        publisher(Rows(), 2)
    waited = by_point(b"".join(sink.writes))
    assert set() < waited.keys() <= {point for point in points[0] if point[0].startswith("risk,")}
    sink.writes.clear()
    publisher.pause()
    publisher(Rows(), 3)
    assert not sink.writes


def test_a_job_that_rests_or_ends_withheld_writes_nothing_and_what_is_shown_again_is_written_whole(waiting, tmp_path):
    publisher, sink, points, folder = waiting
    withheld_path(tmp_path / "frames").write_bytes(WITHHELD)
    publisher.pause()  # at once, before a batch of the job knows of it
    publisher.end_minute()
    publisher(Rows(), 2)
    publisher.pause()
    publisher.end_minute()
    assert not sink.writes
    withheld_path(tmp_path / "frames").unlink()
    publisher(Rows(scored_row(folder, 80)), 3)  # the store may have been emptied meanwhile
    again, whole = (
        {series for series, _ in of if series.startswith("risk,")}
        for of in (by_point(b"".join(sink.writes)), points[0])
    )
    assert again == whole


WHY = "the council asked for it"


@pytest.fixture
def withhold(tmp_path, monkeypatch):
    """The command, for one deployment in `tmp_path`."""
    for name, place in {"FRAMES": "frames", "AUDIT": "audit.jsonl", "CHECKPOINT": "checkpoint"}.items():
        monkeypatch.setenv(f"RISK_{name}", str(tmp_path / place))
    monkeypatch.setenv("RISK_BY", "eve")
    (tmp_path / "frames").mkdir()

    def run(*words, **options):
        return CliRunner().invoke(app, ["withhold", *words], catch_exceptions=False, **options).output

    return run


def told(sink):
    """Measurement -> fields of its points, of all that was written since the last time."""
    written = b"".join(sink.writes).decode()
    sink.writes.clear()
    points = {}
    for key, _, fields in points_in(written):
        points.setdefault(key.partition(",")[0], {})[tags_of(key)["region"]] = fields
    return points


def test_no_score_is_published_meanwhile_and_all_are_from_the_next_batch_on(withhold, tmp_path):
    published, sink, frames, checkpoint = [], MemorySink(), tmp_path / "frames", tmp_path / "checkpoint"
    health = HealthWatch(checkpoint=checkpoint, clock="wall", trigger_s=0.5)
    watchers = [published.append, health.show, lambda _: health.write()]
    publisher = publisher_to(sink, checkpoint, watchers=watchers, frames_folder=frames)
    folder = toy_artifact(tmp_path / "artifacts", toy_spec())
    region = toy_spec().region

    publisher(Rows(scored_row(folder, 60)), 0)
    shown = told(sink)
    assert {"risk", "top", "unusual", "pipeline"} <= shown.keys()
    assert shown["pipeline"][region]["scores_of"] == "60.0"

    assert WHY in withhold(f"  {WHY}\n")
    publisher(Rows(scored_row(folder, 120)), 1)
    hidden = told(sink)
    assert hidden.keys() == {"pipeline"}
    ledger = hidden["pipeline"][region]
    assert (ledger["scores_of"], ledger["as_of"], ledger["model"], ledger["counted"]) == (
        *("0.0", "120.0", '"withheld"', "1.0"),
    )
    assert not published[-1].frames
    assert not published[-1].views
    assert published[-1].withheld.endswith(f": {WHY}")
    assert read_health(checkpoint, datetime.now(UTC))[0].withheld == published[-1].withheld
    assert published[-1].summaries[region].as_of_s == 120

    withhold("--end")
    publisher(Rows(scored_row(folder, 180)), 2)
    again = told(sink)
    assert len(again["risk"]) == len(shown["risk"])
    assert again["pipeline"][region]["model"] == shown["pipeline"][region]["model"]
    assert published[-1].views.keys() == {region}
    assert read_health(checkpoint, datetime.now(UTC))[0].withheld == ""


def test_both_are_on_record_and_a_second_reason_keeps_the_first_time(withhold, tmp_path):
    withhold(WHY)
    first = read_withheld(tmp_path / "frames")
    path = withheld_path(tmp_path / "frames")
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(first, since_s=first.since_s - 100)))
    withhold("another reason")
    assert read_withheld(tmp_path / "frames").since_s == first.since_s - 100
    withhold("--end")
    assert "are not withheld" in withhold("--end")
    noted = list(records(read_log(tmp_path / "audit.jsonl")))
    assert [each.event for each in noted] == ["scores_withheld", "scores_withheld", "scores_shown_again"]
    assert [each.details["because"] for each in noted] == [WHY, "another reason", ""]
    assert [each.details["before"].rpartition(": ")[2] for each in noted] == ["shown", WHY, "another reason"]
    assert {each.details["by"] for each in noted} == {"eve"}


@pytest.mark.parametrize(
    ("words", "said"),
    [(("  ",), "nothing to do"), (("because", "--end"), "nothing to do"), (("x" * 201,), "a reason of 201 characters")],
)
def test_a_reason_that_can_be_shown_or_an_end_is_asked_for(withhold, words, said, tmp_path):
    with pytest.raises(SettingsError, match=said):
        withhold(*words)
    assert not (tmp_path / "audit.jsonl").exists()
    withhold("a\x1b[2J b\n\nc")
    assert read_withheld(tmp_path / "frames").because == "a [2J b c"


def test_it_holds_for_a_first_start_and_its_end_makes_no_folder(withhold, tmp_path):
    frames, sink = tmp_path / "deep" / "frames", MemorySink()
    said = withhold(WHY, env={"RISK_FRAMES": str(frames)})
    assert WHY in said
    assert f"{frames} is new: job and service must have the same RISK_FRAMES" in said
    publisher = publisher_to(sink, tmp_path / "checkpoint", frames_folder=frames)
    publisher(Rows(scored_row(toy_artifact(tmp_path / "artifacts", toy_spec()), 60)), 0)
    assert told(sink).keys() == {"pipeline"}
    assert "is new" not in withhold(WHY)
    assert "are not withheld" in withhold("--end", env={"RISK_FRAMES": str(tmp_path / "other")})
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("content", ["{", '{"since_s":1796069613000,"because":"x"}', '{"since_s":-1,"because":"x"}'])
def test_a_file_that_nobody_can_read_withholds(withhold, tmp_path, content):
    path = withheld_path(tmp_path / "frames")
    path.write_text(content, encoding="utf-8")
    assert "cannot be read" in read_withheld(path.parent).in_words()
    withhold(WHY)
    assert "1970" not in read_withheld(path.parent).in_words()
    path.write_text(content, encoding="utf-8")
    withhold("--end")
    assert read_withheld(path.parent) is None
