"""What `what-if` answers is what the job publishes when the same incidents are sent for real, to the last bit."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from models.all_categories import stored_views
from schemas.errors import ArtifactError, DataError
from schemas.frame import SUPPORT
from streaming.disk.frame_file import MadeOf, frame_path, read_frames, write_frames
from streaming.flow import count
from streaming.flow.publish import frame_of
from streaming.flow.rows import FIELDS
from streaming.flow.score import networks, score_features
from streaming.roster.roster import load_artifact
from streaming.serve.answers import what_if
from streaming.serve.answers.contract import MOST_EVENTS
from streaming.serve.answers.written import SCORED, number
from streaming.serve.frames import instant
from streaming.serve.recompute import Recompute, Supposed
from tests.harness.region_bench import Bench, empty_history, event
from tests.harness.service import Client, running, toy_service

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("empty_cache")]
NOW = 1_700_000_040
DAY_S = 86_400


class Job:
    """A region's batches, counted and scored by the job's functions, its frame left for the service."""

    def __init__(self, folder, spec, publish, network, history_end_s=NOW - 40 * DAY_S):
        self.bench, self.spec = Bench(folder), spec
        history = empty_history(spec, history_end_s)
        history.levels["day"].add(np.arange(NOW - 90 * DAY_S, NOW - 41 * DAY_S, 4000), np.arange(1059) % 72, 1)
        self.folder = publish(self.bench.artifacts, spec, network=network, history=history)
        self.bench.look()
        self.artifact = load_artifact(str(self.folder))

    def batch(self, at_s, *values):
        features, summary = self.bench.batch(at_s, *values)[self.spec.region]
        if features is None:
            return None
        model, scores = score_features(self.artifact, partial(networks("cpu"), str(self.folder)), features)
        packed = {name: getattr(scores, name).astype("<f4").tobytes() for name in FIELDS}
        frame = frame_of({"artifact": str(self.folder), "scores": {"model": model, **packed}}, summary)
        views = stored_views(frame, self.artifact.constants)
        write_frames(self.bench.frames, views, "wall", MadeOf(self.folder.name, summary.counts))
        return views

    @property
    def stored(self):
        return read_frames(frame_path(self.bench.frames, self.spec.region))


@pytest.fixture
def job(tmp_path, toy, publish, networks):
    spec = toy("riverton")
    return Job(tmp_path, spec, publish, networks["random"](spec, 2))


def drawn(draw, spec, at_s, size, *, named):
    """(what is supposed, the same as messages) of incidents in the time that may be asked for."""
    supposed = [
        Supposed(int(draw.integers(2)), int(draw.integers(36)), at_s - int(draw.choice([0, 3, 290, 4000, 80_000])))
        for _ in range(size)
    ]
    messages = [
        event(spec, one.occurred_s, number=f"{named}-{n}", cell=one.cell, category=spec.categories[one.category])
        for n, one in enumerate(supposed)
    ]
    return supposed, messages


def test_it_gives_what_the_job_publishes_when_the_same_incidents_are_sent(job):
    draw = np.random.default_rng(8)
    service = Recompute(artifacts=job.bench.artifacts, frames=job.bench.frames)
    at_s = NOW
    for step in range(14):
        at_s += int(draw.choice([1, 70, 3600, DAY_S]))
        job.batch(at_s, *drawn(draw, job.spec, at_s, int(draw.integers(1, 9)), named=f"happened-{step}")[1])
        supposed, messages = drawn(draw, job.spec, at_s, int(draw.integers(1, 8)), named=f"supposed-{step}")
        stored = job.bench.all_stored()
        answer = service.what_if(job.stored, supposed)
        assert answer.reproduces
        assert answer.before[0].digest() == job.stored.digest
        sent = job.batch(at_s, *messages)
        assert [view.digest() for view in answer.after] == [view.digest() for view in sent]
        assert answer.after[0].digest() != answer.before[0].digest()
        if step % 2:  # the day goes on without them
            job.bench.store_again(stored)
            count._LIVE.clear()


def test_a_question_leaves_no_trace(job):
    service = Recompute(artifacts=job.bench.artifacts, frames=job.bench.frames)
    job.batch(NOW, event(job.spec, NOW - 9))
    one, other = [Supposed(0, 3, NOW - 4000)], [Supposed(1, 30, NOW), Supposed(1, 30, NOW)]
    digests = [[view.digest() for view in service.what_if(job.stored, asked).after] for asked in (one, other, one)]
    assert digests[0] == digests[2] != digests[1]
    job.batch(NOW + 60)
    assert service.what_if(job.stored, one).reproduces


def test_what_the_job_would_refuse_is_refused(job):
    service = Recompute(artifacts=job.bench.artifacts, frames=job.bench.frames)
    job.batch(NOW, event(job.spec, NOW - 9))
    for at_s, why in ((NOW + 1, "after the scores' own time"), (NOW - DAY_S - 1, "late limit")):
        with pytest.raises(DataError, match=f"event 1 .*{why}"):
            service.what_if(job.stored, [Supposed(0, 0, NOW), Supposed(0, 0, at_s)])
    assert service.what_if(job.stored, [Supposed(0, 0, NOW - DAY_S)]).reproduces


def test_a_frame_that_this_machine_computes_otherwise_is_told(job):
    service = Recompute(artifacts=job.bench.artifacts, frames=job.bench.frames)
    frame, over_all = job.batch(NOW, event(job.spec, NOW - 9))
    elsewhere = replace(frame, expected=np.nextafter(frame.expected, np.float32(9)))
    write_frames(job.bench.frames, (elsewhere, over_all), "wall", job.stored.made_of)
    answer = service.what_if(job.stored, [Supposed(0, 3, NOW)])
    assert not answer.reproduces
    assert answer.before[0].digest() == frame.digest()


def test_what_the_history_counts_is_refused(tmp_path, toy, publish, networks):
    spec = toy("riverton")
    job = Job(tmp_path, spec, publish, networks["random"](spec, 2), history_end_s=NOW - 3600)
    job.batch(NOW, event(spec, NOW - 9))
    service = Recompute(artifacts=job.bench.artifacts, frames=job.bench.frames)
    with pytest.raises(DataError, match=r"event 0 .* history"):
        service.what_if(job.stored, [Supposed(0, 0, NOW - 3601)])
    assert service.what_if(job.stored, [Supposed(0, 0, NOW - 3600)]).reproduces


# --- over HTTP


@pytest.fixture
def asked(job):
    """(the job, a client of the service that reads its frames)"""
    job.batch(NOW, event(job.spec, NOW - 9))
    service = toy_service(job.bench.frames, clock=lambda: NOW + 5, artifacts=job.bench.artifacts)
    with running(service) as base:
        yield job, Client(base)


ADDRESS = "/v1/regions/riverton/what-if"


def test_the_answer_has_the_cells_that_change_with_both_numbers(asked):
    job, client = asked
    lat, lon = (float(degrees[14]) for degrees in job.spec.grid.centres())
    events = [
        {"category": "ems", "cell": "r002c002", "occurred_at": instant(NOW - 700)},
        {"category": "ems", "lon": lon, "lat": lat},
    ]
    answer = client.post(f"{ADDRESS}?category=ems&horizon=4h", {"events": events})
    assert answer.status == 200, answer.data
    found = json.loads(answer.data)
    assert {name: found[name] for name in ("region", "stale", "category", "horizon", "events", "reproduces")} == {
        "region": "riverton",
        "stale": False,
        "category": "ems",
        "horizon": "4h",
        "events": 2,
        "reproduces": True,
    }
    assert found["as_of"] == instant(NOW)
    assert "computed by this service" in found["computed"]
    before = job.stored.by_category
    sent = [event(job.spec, at_s, number=90 + at_s - NOW, cell=14, category="ems") for at_s in (NOW - 700, NOW)]
    after, _ = job.batch(NOW, *sent)
    cells = before.spec.grid.cell_ids()
    column = job.spec.categories.index("ems")
    rows = {row["cell"]: row for row in found["changes"]}

    def values(frame, place):
        numbers = [number(getattr(frame, name)[place, column, 1]) for name in SCORED[:5]]
        return [*numbers, int(frame.observed_1h[place, column]), SUPPORT[frame.support[place, column]]]

    for place, cell in enumerate(cells):
        was, now = values(before, place), values(after, place)
        assert (cell in rows) == (was != now), cell
        if cell in rows:
            assert [rows[cell]["before"][name] for name in SCORED] == was
            assert [rows[cell]["after"][name] for name in SCORED] == now
    assert "r002c002" in rows


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], "at least 1"),
        ([None], "valid dictionary"),
        (["cell"], "valid dictionary"),
        ([7], "valid dictionary"),
        ([{"category": "ems", "cell": "r002c002"}] * (MOST_EVENTS + 1), f"at most {MOST_EVENTS}"),
        ([{"category": "theft", "cell": "r002c002"}], "no category"),
        ([{"category": "ems", "cell": "r900c002"}], "no cell"),
        ([{"category": "ems", "lon": 0, "lat": 0}], "outside of riverton's grid"),
        ([{"category": "ems", "cell": "r002c002", "lon": 0, "lat": 0}], "Extra"),
        ([{"category": "ems", "cell": "r002c002", "occurred_at": "2023-02-31T00:00:00Z"}], "is no time"),
        ([{"category": "ems", "cell": "r002c002", "occurred_at": instant(NOW + 1)}], "event 0 lies after"),
        ([{"category": "ems", "cell": "r002c002", "occurred_at": instant(NOW - 2 * DAY_S)}], "late limit"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_reason(asked, events, said):
    _, client = asked
    answer = client.post(ADDRESS, {"events": events})
    assert answer.status == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert said.lower() in json.loads(answer.data)["detail"].lower()


def test_without_what_made_the_frame_it_says_what_to_do(asked):
    job, client = asked
    question = {"events": [{"category": "ems", "cell": "r002c002"}]}
    (job.bench.frames / "riverton.counts").unlink()
    assert client.post(ADDRESS, question).status == 503
    write_frames(job.bench.frames, (job.stored.by_category, job.stored.over_all), "wall")
    answer = client.post(ADDRESS, question)
    assert answer.status == 503
    with pytest.raises(ArtifactError, match="does not say which artifact made it") as unnamed:
        Recompute(artifacts=job.bench.artifacts, frames=job.bench.frames).what_if(job.stored, [Supposed(0, 3, NOW)])
    assert "RISK_ARTIFACTS" not in unnamed.value.remedy  # it has them


def test_more_than_a_few_questions_at_a_time_are_sent_away(asked, monkeypatch):
    _, client = asked
    monkeypatch.setattr(what_if, "MOST_WAITING", 0)
    answer = client.post(ADDRESS, {"events": [{"category": "ems", "cell": "r002c002"}]})
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
