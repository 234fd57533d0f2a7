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
STEP_S, HOURS, GRACE_S = 600, 9, 3600


def iso(at_s):
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def batches_of(spec):
    """A batch every ten minutes, all received at that very second; one event in ten is 40 minutes old by then."""
    draw = random.Random(5)
    lat, lon = spec.grid.centres()
    events, batches = [], []
    for number in range(HOURS * 3600 // STEP_S + 1):
        now_s, messages = START_S + number * STEP_S, []
        for place in range(draw.randrange(5, 25)):
            cell = min(int(draw.expovariate(0.15)), spec.grid.cells - 1)
            occurred_s = now_s - (2400 if draw.random() < 0.1 else draw.randrange(STEP_S))
            event = {
                "incident_id": f"{number}-{place}",
                "region": spec.region,
                "occurred_at": iso(occurred_s),
                "received_at": iso(now_s),
                "category": draw.choice(spec.categories),
                "lat": lat[cell],
                "lon": lon[cell],
                "origin": "public_call",
            }
            events.append((occurred_s, cell, event["category"]))
            messages.append((json.dumps(event).encode(), 0, len(events), now_s * 1000))
        batches.append(messages)
    return events, batches


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
    events, batches = batches_of(spec)
    half = len(batches) // 2
    job.run_through(batches[:half])
    job.run_through(batches[half:])  # kept forecasts outlive a restart
    points = stored_points(job.sink.writes)
    for key, fields in points.items():  # no column that the data dictionary does not have
        name, *tags = key[0].split(",")
        assert {tag.split("=")[0] for tag in tags} == MEASUREMENTS[name].names("tag")
        assert fields.keys() <= MEASUREMENTS[name].names("float", "string")
    stored = {key: fields for key, fields in points.items() if key[0].startswith("outcome,")}
    areas = {key: fields for key, fields in points.items() if key[0].startswith("outcome_area,")}

    frames = first_frames(job, "riverton")
    end_s = START_S + HOURS * 3600
    due = {
        (tick_s, horizon)
        for tick_s in frames
        for horizon, width_s in enumerate(spec.horizons_s)
        if tick_s + width_s + GRACE_S <= end_s
    }
    assert {horizon for _, horizon in due} == {0, 1}
    assert len(due) > 8
    assert len(stored) == len(due) * len(spec.categories)
    dispersion = load_artifact(str(next((job.artifacts / "riverton").iterdir()))).constants.dispersion
    district = districts(spec.grid.rows, spec.grid.cols)
    for tick_s, horizon in due:
        for c, category in enumerate(spec.categories):
            came = Counter(
                cell
                for at_s, cell, kind in events
                if kind == category and tick_s <= at_s < tick_s + spec.horizons_s[horizon]
            )
            came = [came[cell] for cell in range(spec.grid.cells)]
            where = f"category={category},horizon={spec.horizon_names[horizon]},region=riverton"
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
            for number in set(district.tolist()):
                key = f"outcome_area,category={category},district={number + 1:02d},"
                key += f"horizon={spec.horizon_names[horizon]},region=riverton"
                inside = district == number
                assert float(areas[key, tick_s]["observed"]) == np.array(came)[inside].sum()
                expected = frames[tick_s].expected[inside, c, horizon].sum()
                assert math.isclose(float(areas[key, tick_s]["expected"]), expected, rel_tol=1e-5)


def test_forecasts_that_nobody_waits_for_are_deleted(new_job, toy, networks, publish):
    spec = toy("riverton", horizons_s=(3600,), features=tuple(
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
    assert kept[0] >= end_s - 5 * 3600
