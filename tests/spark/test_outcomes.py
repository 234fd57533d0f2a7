"""How forecasts came out, told by the job itself, against a recount of the messages in plain Python."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy.stats import nbinom

from lifecycle.live_judge import TrialJudge
from lifecycle.shadow import read_shadow, shadow_path
from models.features import FeatureEngine
from schemas.records import Pointer, write_pointer
from schemas.spec import HOUR_S
from streaming.artifacts_in_force import load_artifact
from tests.faults.oracle import due_between
from tests.faults.rules import Judgement, written_in, wrong_outcomes
from tests.harness.points import stored_points
from tests.harness.region_bench import NOW, Bench, empty_history, event
from tests.harness.toy import iso, toy_event

START_S = 1_700_002_800  # a whole hour
STEP_S, HOURS = 7200, 28
OUTAGE_H = (13, 16)  # when the job does not run; what is sent meanwhile comes after it


def batches_of(spec):
    """(messages as they are known, batches): a batch every two hours, all received at that very second.

    Of ten events one is 40 minutes old by then and one three hours, which is after the first judgement of the next
    hour. One of ten is corrected with the next batch: it moves, or it is taken back.
    """
    draw = random.Random(5)
    sent, batches, corrections = [], [], {}

    def message(now_s, name, revision, occurred_s, cell, category, status):
        sent.append((now_s, name, revision, occurred_s, cell, category, status))
        fields = {"received_at": iso(now_s), "category": category, "revision": revision, "status": status}
        event = toy_event(spec, at_s=occurred_s, cell=cell, incident_id=name, **fields)
        return event, 0, len(sent), now_s * 1000

    for number in range(HOURS * 3600 // STEP_S + 1):
        now_s = START_S + number * STEP_S
        if OUTAGE_H[0] * 3600 < now_s - START_S < OUTAGE_H[1] * 3600:
            continue
        messages = [message(now_s, *correction) for correction in corrections.pop(number, [])]
        for place in range(draw.randrange(5, 25)):
            cell, category = min(int(draw.expovariate(0.15)), spec.grid.cells - 1), draw.choice(spec.categories)
            age_s = draw.choices([draw.randrange(STEP_S), 2400, 3 * 3600], [8, 1, 1])[0]
            name, occurred_s = f"{number}-{place}", now_s - age_s
            messages.append(message(now_s, name, 0, occurred_s, cell, category, "open"))
            if draw.random() < 0.1:
                status = draw.choice(["open", "cancelled"])
                later = (name, 1, occurred_s, (cell + 7) % spec.grid.cells, category, status)
                corrections.setdefault(number + 1, []).append(later)
        batches.append(messages)
    return sent, batches


def came_of(sent, judged_s, category, first_s, end_s):
    """cell -> incidents of the span, as the newest revisions told by `judged_s` have it."""
    newest = {}
    for now_s, name, revision, *known in sent:
        if now_s <= judged_s and revision >= newest.get(name, (0,))[0]:
            newest[name] = (revision, *known)
    return Counter(
        cell
        for _, occurred_s, cell, kind, status in newest.values()
        if kind == category and status != "cancelled" and first_s <= occurred_s < end_s
    )


def first_frames(job, region):
    """tick -> the first frame of it, for whole hours."""
    found = {}
    for frame in job.frames(region):
        if frame.tick_s % 3600 == 0:
            found.setdefault(frame.tick_s, frame)
    return found


def judgements_of(sent, frames, spec, dispersion, end_s):
    """All that were due by `end_s`, in order, each as the batch had it that came first after it was due."""
    times = sorted({now_s for now_s, *_ in sent})
    for tick_s, frame in frames.items():
        for h, width_s in enumerate(spec.horizons_s):
            for due_s in due_between(tick_s, width_s, spec.late_limit_s, 0, end_s):
                judged_s = next(now_s for now_s in times if now_s >= due_s)
                for c, category in enumerate(spec.categories):
                    came = came_of(sent, judged_s, category, tick_s, tick_s + width_s)
                    yield Judgement(
                        region=spec.region,
                        category=category,
                        horizon=f"{width_s // 3600}h",
                        tick_s=tick_s,
                        due_s=due_s,
                        model=frame.model,
                        rows=spec.grid.rows,
                        cols=spec.grid.cols,
                        timezone=spec.timezone,
                        size=float(dispersion[c, h]),
                        expected=tuple(frame.expected[:, c, h].tolist()),
                        usual=tuple(frame.usual[:, c, h].tolist()),
                        came=tuple(came[cell] for cell in range(spec.grid.cells)),
                        has_history=tuple((frame.support > 0).any(axis=1).tolist()),
                    )


def test_the_job_tells_how_its_forecasts_came_out(new_job, toy, publish):
    spec = toy("riverton")
    job = new_job("outcomes")
    publish(job.artifacts, spec, history=empty_history(spec, START_S - 7200))
    sent, batches = batches_of(spec)
    half = OUTAGE_H[0] * 3600 // STEP_S + 1
    job.run_through(batches[:half])
    job.run_through(batches[half:])  # kept forecasts outlive a restart and three hours in between
    points = stored_points(job.sink.writes)
    dispersion = load_artifact(str(next((job.artifacts / "riverton").iterdir()))).constants.dispersion.r
    frames = first_frames(job, "riverton")
    judgements = list(judgements_of(sent, frames, spec, dispersion, START_S + HOURS * 3600))
    of_place = defaultdict(list)
    for judgement in judgements:
        of_place[judgement.place].append(judgement)
    assert {horizon for _, _, horizon, _ in of_place} == {"1h", "4h", "24h"}
    assert len(of_place) > 20 * len(spec.categories)
    assert any(len(ones) == 2 and ones[0].came != ones[1].came for ones in of_place.values())
    written = list(written_in(b"".join(job.sink.writes).decode()))
    assert list(wrong_outcomes(points, written, judgements)) == []


LAST_GRACE_S = 25 * HOUR_S


def two_versions(artifacts, spec, publish, at_s):
    """(champion, challenger) folders of different networks; the champion is the newer one."""
    history = empty_history(spec, at_s)
    challenger = publish(artifacts, spec, history=history, seed=2, created="20260101T000000Z")
    return publish(artifacts, spec, history=history, seed=1, created="20260102T000000Z"), challenger


def judged(frame_expected, observed, size):
    """Minus the log probability of (cells,) counts, summed."""
    return -nbinom.logpmf(observed, size, size / (size + frame_expected.astype(np.float64))).sum()


def judged_by(job, spec):
    """What the judge stores of all that the job left."""
    stored = []
    TrialJudge(checkpoint=job.settings.checkpoint, artifacts=job.artifacts, store=stored.append).judge(spec)
    return b"".join(stored)


@pytest.mark.nightly
def test_a_challenger_is_judged_by_the_counts_of_the_champion_and_changes_no_point_of_it(new_job, toy, publish):
    spec = toy("riverton")
    sent, batches = batches_of(spec)
    jobs = {name: new_job(name) for name in ("alone", "beside")}
    for name, job in jobs.items():
        champion, challenger = two_versions(job.artifacts, spec, publish, START_S - 7200)
        beside = challenger.name if name == "beside" else None
        write_pointer(job.artifacts, "riverton", Pointer(champion=champion.name, challenger=beside))
        half = len(batches) // 3
        job.run_through(batches[:half])
        job.run_through(batches[half:])  # kept forecasts outlive a restart
    alone, both = (b"".join(job.sink.writes) for job in jobs.values())
    judged_points = judged_by(jobs["beside"], spec)
    shadows = [line for line in judged_points.splitlines() if line.startswith(b"shadow,")]
    kept = ("risk", "top", "unusual", "outcome", "outcome_area", "outcome_chance")

    def of_the_map(written):
        return sorted(line for line in written.splitlines() if line.split(b",")[0].decode() in kept)

    assert of_the_map(both) == of_the_map(alone)
    assert len(of_the_map(both)) > 1000
    assert not any(challenger.name.encode() in line for line in of_the_map(both))

    hours = list(read_shadow(shadow_path(jobs["beside"].settings.checkpoint, "riverton")))
    frames = first_frames(jobs["beside"], "riverton")
    due = [
        (tick_s, h)
        for tick_s in frames
        for h, horizon_s in enumerate(spec.horizons_s)
        if tick_s + horizon_s + LAST_GRACE_S <= START_S + HOURS * HOUR_S
    ]
    assert {(hour.tick_s, hour.horizon) for hour in hours} == {(tick_s, spec.horizon_names[h]) for tick_s, h in due}
    assert len(hours) == len(shadows) == len(due) == 2
    times = sorted({now_s for now_s, *_ in sent})
    champion_size, challenger_size = (
        load_artifact(str(folder)).constants.dispersion.r for folder in (champion, challenger)
    )
    for one in hours:
        h = spec.horizon_names.index(one.horizon)
        frame, horizon_s = frames[one.tick_s], spec.horizons_s[h]
        due_s = one.tick_s + horizon_s + LAST_GRACE_S
        judged_s = next(now_s for now_s in times if now_s >= due_s)
        expected_sum = {"champion": 0.0, "baseline": 0.0}
        for c, category in enumerate(spec.categories):
            came = came_of(sent, judged_s, category, one.tick_s, one.tick_s + horizon_s)
            observed = np.array([came[cell] for cell in range(spec.grid.cells)])
            assert one.observed[category] == observed.sum()
            assert one.champion_expected[category] == pytest.approx(frame.expected[:, c, h].sum(), rel=1e-5)
            expected_sum["champion"] += judged(frame.expected[:, c, h], observed, champion_size[c, h])
            expected_sum["baseline"] += judged(frame.usual[:, c, h], observed, champion_size[c, h])
        assert one.champion == pytest.approx(expected_sum["champion"], rel=1e-6)
        assert one.baseline == pytest.approx(expected_sum["baseline"], rel=1e-6)
        assert one.challenger != pytest.approx(one.champion, rel=1e-4)
        assert (one.champion_version, one.challenger_version) == (champion.name, challenger.name)
        assert one.values == spec.grid.cells * len(spec.categories)
    assert challenger_size.shape == champion_size.shape


@pytest.fixture
def challenged(tmp_path, toy, publish, empty_cache):
    """(bench, spec, folder of the challenger, a whole hour); the bench has looked, and refused nothing."""
    spec, hour_s = toy("riverton"), NOW // HOUR_S * HOUR_S + HOUR_S
    bench = Bench(tmp_path)
    champion, challenger = two_versions(bench.artifacts, spec, publish, hour_s - 7200)
    write_pointer(bench.artifacts, "riverton", Pointer(champion=champion.name, challenger=challenger.name))
    roster, refused = bench.look()
    assert (roster["riverton"].challenger, refused) == (str(challenger), [])
    return bench, spec, challenger, hour_s


def test_the_challenger_sees_the_counts_of_the_first_frame_of_the_hour(challenged):
    bench, spec, challenger, hour_s = challenged
    bench.batch(hour_s - 60, event(spec, hour_s - 70, number=1))
    assert bench.beside == {}
    features, _ = bench.batch(hour_s + 5, event(spec, hour_s + 1, number=2))["riverton"]
    folder, beside = bench.beside["riverton"]
    assert folder == str(challenger)
    assert beside == features  # their constants are equal, and so are their counts
    bench.batch(hour_s + 20, event(spec, hour_s + 18, number=3))
    assert bench.beside == {}  # the hour has its forecast


def test_a_challenger_whose_features_fail_is_left_out_once_said_and_the_region_goes_on(challenged, monkeypatch, caplog):
    bench, spec, challenger, hour_s = challenged
    engines, compute = [], FeatureEngine.compute

    def fail_for_the_second(engine, state):
        engines.append(engine)
        return compute(engine, state) if engine is engines[0] else 1 / 0

    monkeypatch.setattr(FeatureEngine, "compute", fail_for_the_second)
    for number in range(2):
        features, _ = bench.batch(hour_s + 5, event(spec, hour_s + 3, number=number))["riverton"]
        assert (features is not None, bench.beside) == (True, {})
    (said,) = caplog.messages
    assert said == f"challenger={challenger} is left out reason=ZeroDivisionError('division by zero')"


def test_a_challenger_that_is_damaged_later_is_left_out_and_reported_and_the_region_goes_on(challenged):
    bench, _, challenger, hour_s = challenged
    (challenger / "baseline.npz").write_bytes(b"rubbish")
    load_artifact.__init__(load_artifact._read)  # another process has not read it yet
    features, _ = bench.batch(hour_s + 5)["riverton"]
    assert features is not None
    assert bench.beside == {}
    roster, refused = bench.look()
    assert roster["riverton"].challenger == ""
    assert [each.folder for each in refused] == [str(challenger)]
