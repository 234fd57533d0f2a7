"""How forecasts came out, told by the job itself, against a recount of the messages in plain Python."""

import random
from collections import Counter, defaultdict

from streaming.artifacts_in_force import load_artifact
from tests.faults.outcomes import Judgement, due_between, written_in, wrong
from tests.harness.points import stored_points
from tests.harness.region_bench import empty_history
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
    assert list(wrong(points, written, judgements)) == []
