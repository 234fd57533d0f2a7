"""How forecasts came out, told by the job itself, against a recount of the messages in plain Python."""

import json
import math
import random
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.stats import nbinom

from models.evaluation.totals import districts
from schemas.measurements import MEASUREMENTS
from streaming.roster import load_artifact
from tests.spark.bench import empty_history
from tests.spark.random_world import stored_points

pytestmark = pytest.mark.spark
START_S = 1_700_002_800  # a whole hour
STEP_S, HOURS, GRACE_S, LATE_S = 1800, 28, 3600, 86_400
OUTAGE_H = (13, 16)  # when the job does not run; what is sent meanwhile comes after it


def iso(at_s):
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def batches_of(spec):
    """(messages as they are known, batches): a batch every half an hour, all received at that very second.

    Of ten events one is 40 minutes old by then and one three hours, which is after the first judgement of the next
    hour. One of ten is corrected half an hour later: it moves, or it is taken back.
    """
    draw = random.Random(5)
    lat, lon = spec.grid.centres()
    told, batches, corrections = [], [], {}

    def message(now_s, name, revision, occurred_s, cell, category, status):
        told.append((now_s, name, revision, occurred_s, cell, category, status))
        event = {
            "incident_id": name,
            "region": spec.region,
            "occurred_at": iso(occurred_s),
            "received_at": iso(now_s),
            "category": category,
            "lat": lat[cell],
            "lon": lon[cell],
            "origin": "public_call",
            "revision": revision,
            "status": status,
        }
        return json.dumps(event).encode(), 0, len(told), now_s * 1000

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
    return told, batches


def came_of(told, judged_s, category, first_s, end_s):
    """cell -> incidents of the span, as the newest revisions told by `judged_s` have it."""
    newest = {}
    for now_s, name, revision, *known in told:
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


def hits(mean, came, percent):
    k = max(1, round(percent / 100 * len(mean)))
    return sum(came[cell] for cell in sorted(range(len(mean)), key=lambda cell: -mean[cell])[:k])


def test_the_job_tells_how_its_forecasts_came_out(new_job, toy, networks, publish):
    spec = toy("riverton")
    job = new_job("outcomes")
    publish(
        job.artifacts, spec, created="20260101T000000Z", network=networks["random"](spec, 1),
        history=empty_history(spec, START_S - 7200),
    )  # fmt: skip
    told, batches = batches_of(spec)
    half = OUTAGE_H[0] * 3600 // STEP_S + 1
    job.run_through(batches[:half])
    job.run_through(batches[half:])  # kept forecasts outlive a restart and three hours in between
    points = stored_points(job.sink.writes)
    for key, fields in points.items():  # no column that the data dictionary does not have
        name, *tags = key[0].split(",")
        assert {tag.split("=")[0] for tag in tags} == MEASUREMENTS[name].names("tag")
        assert fields.keys() <= MEASUREMENTS[name].names("float", "string")
    stored = {key: fields for key, fields in points.items() if key[0].startswith("outcome,")}
    chances = {key: fields for key, fields in points.items() if key[0].startswith("outcome_chance,")}
    areas = {key: fields for key, fields in points.items() if key[0].startswith("outcome_area,")}

    frames = first_frames(job, "riverton")
    end_s = START_S + HOURS * 3600
    times = sorted({now_s for now_s, *_ in told})
    due = {}  # (tick, horizon) -> the batch that judged it last
    for tick_s in frames:
        for horizon, width_s in enumerate(spec.horizons_s):
            for grace_s in (GRACE_S, LATE_S + GRACE_S):
                if tick_s + width_s + grace_s <= end_s:
                    due[tick_s, horizon] = next(now_s for now_s in times if now_s >= tick_s + width_s + grace_s)
    assert {horizon for _, horizon in due} == {0, 1, 2}
    assert len(due) > 40
    assert any(judged_s > tick_s + LATE_S for (tick_s, horizon), judged_s in due.items() if horizon == 0)
    assert len(stored) == len(due) * len(spec.categories)
    dispersion = load_artifact(str(next((job.artifacts / "riverton").iterdir()))).constants.dispersion
    district = districts(spec.grid.rows, spec.grid.cols)
    for (tick_s, horizon), judged_s in due.items():
        for c, category in enumerate(spec.categories):
            came = came_of(told, judged_s, category, tick_s, tick_s + spec.horizons_s[horizon])
            came = [came[cell] for cell in range(spec.grid.cells)]
            rest = f"horizon={spec.horizon_names[horizon]},region=riverton"
            where = f"category={category},{rest}"
            fields = {k: float(v) for k, v in stored[f"outcome,{where}", tick_s].items() if k != "model"}
            assert fields["observed"] == sum(came)
            for prefix, name in (("", "expected"), ("baseline_", "usual")):
                mean = getattr(frames[tick_s], name)[:, c, horizon].astype(float)
                size = dispersion[c, horizon]
                law = nbinom(size, size / (size + mean))
                assert fields[name] == pytest.approx(mean.sum(), rel=1e-6)
                assert fields[f"{prefix}log_score"] == pytest.approx(-law.logpmf(came).mean(), rel=1e-4)
                brier = ((law.sf(0) - (np.array(came) > 0)) ** 2).mean()
                assert fields[f"{prefix}brier"] == pytest.approx(brier, rel=1e-4)
                if len(set(mean.tolist())) == len(mean):  # ties are shared out, not ordered
                    for percent in (5, 10):
                        assert fields[f"{prefix}hits_{percent}"] == hits(mean, came, percent)
            for percent in (5, 10):
                assert fields[f"ideal_hits_{percent}"] == hits(came, came, percent)
            size, mean = dispersion[c, horizon], frames[tick_s].expected[:, c, horizon].astype(float)
            said = nbinom(size, size / (size + mean)).sf(0)
            for percent, least, most in ((0, 0, 0.01), (1, 0.01, 0.05), (5, 0.05, 0.2), (20, 0.2, 0.5), (50, 0.5, 2)):
                here = (said >= least) & (said < most)
                found = chances.get((f"outcome_chance,category={category},chance={percent:02d}," + rest, tick_s))
                if not here.any():
                    assert found is None
                    continue
                assert (float(found["cells"]), float(found["came"])) == (here.sum(), (np.array(came)[here] > 0).sum())
                assert float(found["said"]) == pytest.approx(said[here].sum(), rel=1e-4)
            for number in set(district.tolist()):
                key = f"outcome_area,category={category},district={number + 1:02d},{rest}"
                inside = district == number
                assert float(areas[key, tick_s]["observed"]) == np.array(came)[inside].sum()
                expected = frames[tick_s].expected[inside, c, horizon].sum()
                assert math.isclose(float(areas[key, tick_s]["expected"]), expected, rel_tol=1e-5)


def test_forecasts_that_nobody_waits_for_are_deleted(new_job, toy, networks, publish):
    spec = toy("riverton", horizons_s=(3600,), late_limit_s=3600, features=tuple(
        name for name in toy("riverton").features if name not in ("log_usual_4h", "log_usual_24h")
    ))  # fmt: skip
    job = new_job("forgotten")
    publish(
        job.artifacts, spec, created="20260101T000000Z", network=networks["random"](spec, 1),
        history=empty_history(spec, START_S - 7200),
    )  # fmt: skip
    job.run_through(batches_of(spec)[1])
    kept = sorted(int(path.stem) for path in (job.folder / "outcomes" / "riverton").iterdir())
    end_s = START_S + HOURS * 3600
    assert kept[-1] == end_s
    assert kept[0] >= end_s - 6 * 3600
