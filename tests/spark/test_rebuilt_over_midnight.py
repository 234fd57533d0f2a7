"""The host's clock steps back over midnight: the log stays in the newer day, and a rebuild finds the counts for it."""

from contextlib import closing

import numpy as np
import pytest

from streaming.disk.batch_log import logged_batches, logged_days
from streaming.rebuild.plan import plan_rebuild
from streaming.rebuild.recount import Recount
from streaming.watch.batch_writer import BatchLog
from tests.harness.checkpoint import spark_files
from tests.harness.region_bench import NOW, Bench, empty_history, event
from tests.harness.toy import toy_messages, toy_published

pytestmark = [pytest.mark.spark, pytest.mark.usefixtures("empty_cache")]
DAY_S = 86_400
MIDNIGHT = NOW - NOW % DAY_S + DAY_S
#        before midnight, after it, set back, once more, midnight again, later than ever
HOST = [MIDNIGHT + step_s for step_s in (-600, 1800, -1800, -1740, 60, 2400)]
SENDS = {"riverton": (0, 1, 2, 3, 4, 5), "hilltop": (0, 2, 3, 4, 5), "lakeside": (2, 3, 4, 5)}  # in which batches
JOINS = 2  # the batch before which lakeside joins


@pytest.fixture(params=["event", "wall"])
def logged(request, tmp_path, toy, publish):
    """(clock, specs, by batch its messages) of a log that was made so."""
    specs, sent = {region: toy(region) for region in SENDS}, {}
    bench = Bench(tmp_path, clock=request.param)

    def join(spec):
        publish(bench.artifacts, spec, history=empty_history(spec))
        bench.look()

    join(specs["riverton"])
    join(specs["hilltop"])
    with closing(BatchLog(tmp_path, top_k=3)) as log:
        for number, at_s in enumerate(HOST):
            if number == JOINS:
                join(specs["lakeside"])
            of = [specs[region] for region, numbers in SENDS.items() if number in numbers]
            values = [event(spec, at_s - 30, cell=number, number=number) for spec in of]
            sent[number] = toy_messages(values, at_s * 1000, offset=np.arange(len(of)) + bench.offset)
            bench.tester._currentProcessingTimeMs = at_s * 1000  # Spark's own test clock refuses to go back
            rows = bench.batch(at_s, *values)
            spark_files(tmp_path, number, read={"0": bench.offset}, at_s=at_s, begin={"0": 0})
            summaries = {region: summary for region, (_, summary) in rows.items()}
            log.keep(toy_published(number, summaries=summaries, artifacts=dict.fromkeys(rows, "v1")))
    return request.param, specs, sent


@pytest.mark.parametrize(("from_s", "first"), [(0, 0), (MIDNIGHT + 1, 1)])
def test_a_rebuild_over_a_clock_that_was_set_back_over_midnight_comes_out(tmp_path, logged, from_s, first):
    clock, specs, sent = logged
    days = logged_days(tmp_path)
    assert [[batch.number for batch in logged_batches(tmp_path, day)] for day in days] == [[0], [1, 2, 3, 4, 5]]
    plan = plan_rebuild(tmp_path, specs, range(from_s, 1 << 40), clock=clock)
    assert [(batch.number, batch.day) for batch in plan.batches] == [(n, days[n > 0]) for n in range(first, len(HOST))]
    rebuild = Recount(plan=plan, checkpoint=tmp_path, artifacts=tmp_path / "artifacts", specs=specs)
    lines = b"".join(rebuild.points(batch, [sent[batch.number]]) for batch in plan.batches)
    for region, numbers in SENDS.items():
        newest = [line for line in lines.splitlines() if f"region={region}".encode() in line][-1]
        assert f",counted={len(numbers)}.0,".encode() in newest


def test_beside_a_running_job_the_newest_tick_is_open_also_when_its_clock_was_set_back(tmp_path, logged):
    _, specs, _ = logged
    path = tmp_path / "batches" / logged_days(tmp_path)[-1] / "batches.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))  # the clock has just been set back
    plan = plan_rebuild(tmp_path, specs, range(0, 1 << 40), clock="wall")
    assert plan.open_ticks["riverton"] == MIDNIGHT + 1800
