"""The archive of what the real stages counted, against the events themselves."""

import json
import random
from collections import Counter
from contextlib import closing
from datetime import datetime

import pytest

from lifecycle.archive import ArchiveTable, FeedLog, archive_region, regions_of
from streaming.watchers import BatchLog
from tests.harness.checkpoint import rows_of, spark_files, write_guard
from tests.harness.region_bench import NOW, event
from tests.harness.toy import toy_published

pytestmark = pytest.mark.usefixtures("empty_cache")
DAY_S = 86_400
TODAY = NOW // DAY_S
STEP_S = 2 * 3600


def messages(spec, draw, sent, clock_s):
    """New calls, late ones, corrections of the last day, cancellations, and messages sent again."""
    for _ in range(draw.randrange(6)):
        kind = draw.random()
        if kind < 0.6 or not sent:
            ago_s = draw.randrange(60) if draw.random() < 0.7 else draw.randrange(23 * 3600)
            fields = {"number": len(sent), "cell": draw.randrange(36), "category": draw.choice(["fire", "ems"])}
            sent.append((clock_s - ago_s, 0, fields))
        elif kind < 0.9:
            number = draw.randrange(max(0, len(sent) - 15), len(sent))
            at_s, revision, fields = sent[number]
            if at_s < clock_s - 23 * 3600:
                continue
            moved = {"cell": draw.randrange(36), "status": draw.choice(["open", "closed", "cancelled"])}
            sent[number] = (at_s, revision + 1, {**fields, **moved})
            yield event(spec, at_s, revision=revision + 1, **sent[number][2])
            continue
        at_s, revision, fields = sent[-1]  # the new call, or the last one once more
        yield event(spec, at_s, revision=revision, **fields)


def of_the_events(spec, values, days):
    """{(region, day, cell, category, bin): count} of each incident's last revision, in plain Python."""
    last = {}
    for value in values:
        record = json.loads(value)
        known = last.get(record["incident_id"])
        if known is None or record["revision"] > known["revision"]:
            last[record["incident_id"]] = record
    counts = Counter()
    for record in last.values():
        at_s = int(datetime.fromisoformat(record["occurred_at"]).timestamp())
        lat, lon = spec.grid.corners()
        row = sum(edge <= record["lat"] for edge in lat[1:])
        col = sum(edge <= record["lon"] for edge in lon[1:])
        if at_s // DAY_S in days and record.get("status") != "cancelled":
            counts[spec.region, at_s // DAY_S, row * spec.grid.cols + col, record["category"], at_s % DAY_S // 300] += 1
    return counts


@pytest.mark.parametrize("seed", range(2))
def test_the_archive_of_a_week_equals_the_last_revisions_of_its_events(tmp_path, toy, new_bench, seed):
    spec, draw, sent, values = toy("riverton"), random.Random(seed), [], []
    bench = new_bench(tmp_path, spec)
    write_guard(tmp_path)
    with closing(BatchLog(tmp_path, top_k=3)) as log:
        for number in range(8 * DAY_S // STEP_S):
            clock_s = NOW + number * STEP_S
            new = list(messages(spec, draw, sent, clock_s))
            values += new
            rows = bench.batch(clock_s, *new)
            spark_files(tmp_path, number, read={"0": bench.offset}, at_s=clock_s, begin={"0": 0})
            assert not any(summary.ledger["rejected"] for _, summary in rows.values())
            summaries = {region: summary for region, (_, summary) in rows.items()}
            log.keep(toy_published(number, summaries=summaries, artifacts=dict.fromkeys(rows, "v1")))
    path = tmp_path / "archive"
    assert list(regions_of(tmp_path)) == ["riverton"]
    done = archive_region(ArchiveTable(str(path), {}), FeedLog(tmp_path), spec)
    days = range(TODAY + 1, TODAY + 6)
    assert (done.days, done.missing) == (5, ())
    assert [(day.by_hour, day.open) for day in done.written if day.by_hour or day.open] == []
    counted = {key: count for key, count in rows_of(path).items() if count}
    assert counted == of_the_events(spec, values, days)
    assert sum(counted.values()) > 50
