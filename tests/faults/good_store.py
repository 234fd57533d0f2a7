"""What the job leaves behind when all goes well, made in a second: its own functions, one batch after another.

No Kafka, Spark or process. It serves to show the oracle what is right, so that each thing wrong stands out.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from models.all_categories import stored_views
from models.counting.count_state import horizons_closed_between
from models.features import FeatureEngine
from schemas.decode import decode_messages
from schemas.forecasts import ClosedCounts
from schemas.incidents import Incidents, encode_dead_letter
from streaming.flow.intake import take_in
from streaming.flow.publish import keep_forecast, outcome_points, pipeline_line
from streaming.flow.rows import add_up, balanced_ledger
from streaming.flow.score import scored_frame
from streaming.sinks.line_protocol import risk_lines, top_lines, unusual_lines
from tests.faults.frame_rules import TOP
from tests.faults.oracle import recount
from tests.faults.oracle_region import Region
from tests.faults.rules import Seen
from tests.faults.scenario import Producer, closing
from tests.faults.written_store import WrittenStore
from tests.harness.toy import toy_messages

PER_BATCH, TOPIC = 60, "t"


def good_store(scenario, artifact, per_batch=PER_BATCH):
    """`Seen` of one region and partition after a scenario's messages."""
    region = region_of(artifact)
    producer = Producer([region])
    sent = [message for action in (*scenario.actions, closing(scenario)) for message in producer.messages(action)]
    return store_after([(value, time_ms) for _, value, time_ms in sent], artifact, region, per_batch)


def region_of(artifact):
    return Region.of(json.loads((artifact.folder / "manifest.json").read_bytes()))


def store_after(sent, artifact, region, per_batch=PER_BATCH):
    """`Seen` of one region and partition after these messages: (value or None, Kafka time in ms)."""
    messages = [(0, offset, value, time_ms) for offset, (value, time_ms) in enumerate(sent)]
    store, letters, batches = WrittenStore(), [], {}
    with TemporaryDirectory() as checkpoint:
        job = _Job(artifact, store, letters, Path(checkpoint))
        for number, start in enumerate(range(0, len(messages), per_batch)):
            part = messages[start : start + per_batch]
            batches[number] = {0: part[-1][1] + 1}
            job.take(part)
    return Seen(
        messages=messages,
        regions=[region],
        versions={"riverton": [artifact.version]},
        batches=batches,
        points=store.snapshot(),
        ledgers=store.ledgers,
        letters=letters,
        written=store.written,
        topic=TOPIC,
        acknowledged={(partition, offset): value for partition, offset, value, _ in messages},
    )


class _Job:
    def __init__(self, artifact, store, letters, checkpoint):
        self.artifact, self.store, self.letters, self.checkpoint = artifact, store, letters, checkpoint
        self.state, self.engine = artifact.history(), FeatureEngine(artifact.spec, artifact.constants)
        self.totals, self.unassigned, self.judged_s = {}, {}, None

    def take(self, part):
        spec = self.artifact.spec
        _, offsets, values, times_ms = zip(*part, strict=True)
        decoded = decode_messages(toy_messages(values, times_ms, offset=offsets), {spec.region: spec})
        incidents = Incidents.concatenate([*decoded.incidents.values()])
        refused = decoded.rejections.get(spec.region, [])
        as_of_s = max(self.state.as_of_s, int(incidents.received_ms.max(initial=0)) // 1000)
        consumed = len(incidents) + len(refused)
        _, rejections, ledger = take_in(self.state, incidents, refused, as_of_s=as_of_s, consumed=consumed)
        self.totals = add_up(self.totals, ledger)
        frame = scored_frame(str(self.artifact.folder), self.engine.compute(self.state), self.state.as_of_s)
        views = stored_views(frame, self.artifact.constants)
        scores = b"".join(risk_lines(view) + top_lines(view, TOP) for view in views) + unusual_lines(frame)
        self.store.take(scores + self._outcomes() + _pipeline(spec.region, frame, self.totals))
        keep_forecast(self.checkpoint, frame, str(self.artifact.folder))
        self.letters += _letters(rejections, spec.region)
        if others := decoded.rejections.get("", []):
            self.letters += _letters(others, None)
            self.unassigned = add_up(self.unassigned, balanced_ledger(len(others), {}, others))
            self.store.take(_pipeline("", frame, self.unassigned))

    def _outcomes(self):
        closed = [] if self.judged_s is None else horizons_closed_between(self.state, self.judged_s)
        self.judged_s = self.state.as_of_s
        return outcome_points(self.checkpoint, self.artifact.spec, [ClosedCounts.of(horizon) for horizon in closed])


def _pipeline(region, frame, totals):
    return pipeline_line(region, frame.tick_s, frame.as_of_s, totals, {"write_dropped": 0}, model=frame.model)


def _letters(rejections, region):
    return [json.loads(encode_dead_letter(refusal, source_topic=TOPIC, region=region)) for refusal in rejections]


def recounted(seen):
    """The recount of all that the store has been told."""
    return recount(seen.messages, seen.regions, [ends for _, ends in sorted(seen.batches.items())])
