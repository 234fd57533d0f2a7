"""A store that lost its scores gets them back from Kafka, byte for byte, by the command that an operator would use.

A reset of the checkpoint does not bring them back: its job judges the messages by the clock of today.
"""

import dataclasses
import json
import random
import re
import signal
import time
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaAdminClient, TopicPartition

from models.artifact.untrained import write_untrained
from schemas.errors import ArtifactError, EventsGone
from streaming.rebuild import rebuild_span
from streaming.rehearse.poison import poison_messages, template_event
from streaming.settings import Settings
from tests.harness.toy import iso

START = 1_700_000_000
EVENTS, PER_BATCH, STEP_S = 120, 8, 4  # about two batches a minute of events
KILLED_JOB = str(Path(__file__).with_name("killed_job.py"))


def careless_stream(regions, *, events, start_s, step_s, seed):
    """(partition, value, time_ms): repeats, corrections, cancellations, late, future, excluded and bad messages."""
    draw = random.Random(seed)
    bad = [poison.value for poison in poison_messages(template_event(regions[0].spec, as_of_s=start_s))]
    sent = []
    for number in range(events):
        at_s = start_s + step_s * number
        incident = draw.randrange(events // 3)
        region = regions[incident % len(regions)]
        value = region.event(
            incident,
            cell=draw.randrange(36),
            at_s=at_s - draw.randrange(5000),
            revision=draw.randrange(4),
            status=draw.choice(["open", "open", "cancelled"]),
            origin=draw.choice(["public_call", "public_call", "officer_initiated"]),
        )
        match draw.randrange(15):
            case 0 | 1:
                value = draw.choice(bad)
            case 2:  # a backlog of days ago, behind the region's clock
                old_s = at_s - 60 * 3600
                value = region.event(incident, cell=3, at_s=old_s - 60, received_at=iso(old_s))
            case 3:
                value = region.event(incident, cell=3, at_s=at_s + 290, received_at=iso(at_s))  # ahead, just allowed
            case 4:
                value = region.event(incident, cell=3, at_s=at_s - 25 * 3600)
        sent.append((incident % 2, value, at_s * 1000))
    return sent


def rebuild(scorer, name, from_, to):
    """Run the command into a file of its own; (exit code, what it said, the file)."""
    path = scorer.folder / name
    ran = scorer.command("rebuild", "--from", from_, "--to", to, RISK_SINK=f"file:{path}")
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.returncode, ran.stdout + ran.stderr, path


def rebuild_here(scorer, name, span):
    """The same in this process, which is faster; the file."""
    environment = {name: value for name, value in scorer.environment.items() if name.startswith("RISK_")}
    settings = Settings.from_environment({**environment, "RISK_SINK": f"file:{scorer.folder / name}"})
    rebuild_span(settings, span, on_batch=lambda *_: None)
    return scorer.folder / name


def last_lines(path):
    """(series, time) -> the last line of that point as bytes, for `risk` and `top`, which are always written whole."""
    lines = {}
    for line in path.read_bytes().splitlines():
        if not line.startswith(b"pipeline"):
            lines[line.split(b" ", 1)[0], int(line.rsplit(b" ", 1)[1])] = line
    return lines


def within(points, from_s, to_s):
    return {key: value for key, value in points.items() if from_s <= key[1] < to_s}


def publish(region, artifacts, *, per_day, created):
    """An artifact whose scores follow `per_day`."""
    return write_untrained(artifacts, region.spec, per_day=per_day, cutoff_s=region.start_s, created=created)


@pytest.mark.fault("F41")
@pytest.mark.nightly
def test_on_the_events_clock_after_kills_a_swap_and_a_new_region(new_scorer, new_topic, new_region):
    riverton, lakeside = new_region("riverton"), new_region("lakeside", south_deg=44.0)
    topic = new_topic("lost", partitions=2)
    topic.send(careless_stream([riverton, lakeside], events=EVENTS, start_s=START, step_s=STEP_S, seed=3))
    scorer = new_scorer("lost", topic, RISK_MAX_EVENTS_PER_BATCH=str(PER_BATCH), RISK_TRIGGER_S="0.05")
    first = publish(riverton, scorer.artifacts, per_day=5, created="20260101T000000Z")
    scorer.start(KILLED_JOB, "in-write", "4")
    assert scorer.end() == -signal.SIGKILL
    publish(lakeside, scorer.artifacts, per_day=9, created="20260101T000000Z")
    scorer.start(KILLED_JOB, "after-write", "3")
    assert scorer.end() == -signal.SIGKILL
    second = publish(riverton, scorer.artifacts, per_day=50, created="20260201T000000Z")
    scorer.start()
    scorer.wait_until(lambda: scorer.consumed() == EVENTS)
    assert scorer.end(signal.SIGTERM) == 0

    lost = (scorer.folder / "scores.lp").rename(scorer.folder / "lost.lp")
    wanted = last_lines(lost)
    assert {f'model="{folder.name}"'.encode() in b"".join(wanted.values()) for folder in (first, second)} == {True}
    code, said, path = rebuild(scorer, "all.lp", "earliest", "latest")
    assert code == 0, said
    assert last_lines(path) == wanted
    assert len(path.read_bytes().splitlines()) == len(wanted), "a point was written twice"

    ticks = sorted({time_s for _, time_s in wanted})
    from_s, to_s = ticks[len(ticks) // 3], ticks[2 * len(ticks) // 3]
    span = range(from_s, to_s)
    path = rebuild_here(scorer, "span.lp", span)
    assert 0 < len(last_lines(path)) < len(wanted)
    assert last_lines(path) == within(wanted, from_s, to_s)

    first.rename(first.with_name(".away"))
    with pytest.raises(ArtifactError, match=str(first)):
        rebuild_here(scorer, "some.lp", range(0, ticks[-1]))
    first.with_name(".away").rename(first)
    with KafkaAdminClient(bootstrap_servers=topic.bootstrap) as admin:
        admin.delete_records({TopicPartition(topic.name, 1): 7})
    with pytest.raises(EventsGone, match="offsets 0 to 6 of partition 1"):
        rebuild_here(scorer, "none.lp", span)
    assert not (scorer.folder / "none.lp").exists(), "a refused rebuild wrote something"


@pytest.mark.nightly
@pytest.mark.fault("F41")
def test_on_the_wall_clock_beside_the_running_job(new_scorer, new_topic, new_region):
    made = new_region("riverton")
    region = dataclasses.replace(made, spec=msgspec.structs.replace(made.spec, tick_s=2))
    topic = new_topic("lostnow", partitions=2)
    scorer = new_scorer("lostnow", topic, RISK_CLOCK="wall", RISK_TRIGGER_S="0.1")
    publish(region, scorer.artifacts, per_day=5, created="20260101T000000Z")
    scorer.start()
    scorer.wait_until(scorer.points)
    began_s, sent = time.time(), 0
    for second in range(60):  # a busy machine scores fewer ticks in as many seconds
        ticks = set(re.findall(rb" (\d+)\n", (scorer.folder / "scores.lp").read_bytes()))
        if second > 5 and sum(int(tick) > began_s for tick in ticks) > 3:
            break
        now_s = int(time.time())
        part = careless_stream([region], events=40, start_s=now_s - 1, step_s=0, seed=second)
        topic.send(part)
        sent += len(part)
        if second == 3:
            publish(region, scorer.artifacts, per_day=50, created="20260201T000000Z")
        time.sleep(1)
    scorer.wait_until(lambda: scorer.consumed() == sent)

    code, said, beside = rebuild(scorer, "beside.lp", iso(began_s), "latest")
    assert code == 0, said
    assert scorer.end(signal.SIGTERM) == 0
    audit = (scorer.folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in audit].count("rebuild") == 1
    wanted = last_lines(scorer.folder / "scores.lp")
    written = last_lines(beside)
    assert len({time_s for _, time_s in written}) > 2
    assert written == within(wanted, began_s, 1 + max(time_s for _, time_s in written))
    assert last_lines(rebuild_here(scorer, "all.lp", range(0, int(time.time())))) == wanted

    totals = scorer.totals()["riverton"]
    assert min(totals[name] for name in ("counted", "corrected", "duplicate", "excluded", "rejected_late")) > 3
