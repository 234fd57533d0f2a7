"""The decode stage and the stateful one with a simulated state store and clock: no JVM."""

from functools import partial

import msgspec
import pyarrow as pa
from pyspark.sql.streaming.tws_tester import TwsTester

from models.counting.blobs import Journal
from models.counting.count_state import CountState
from schemas.areas import NO_MASKS
from schemas.records import read_roster
from streaming.artifacts_in_force import refresh_roster
from streaming.flow.count import Head, RegionCounter
from streaming.flow.intake import HEARTBEAT, decode_stage
from streaming.flow.rows import Summary
from tests.harness.toy import toy_event

NOW = 1_700_000_040  # the start of a tick
MIDDLE = 14  # a cell


class Bench:
    """The decode stage and the counter of each region, fed by hand at a clock that the test sets."""

    def __init__(self, folder, *, clock="wall", masks=NO_MASKS):
        self.masks = masks
        self.roster = folder / "roster.json"
        self.artifacts = folder / "artifacts"
        self.artifacts.mkdir(parents=True)
        self.tester = TwsTester(RegionCounter(clock), timeMode="ProcessingTime", outputMode="Update")
        self.offset = 0
        self.beside = {}  # region -> (artifact, features) of its challenger in the last batch

    def look(self):
        return refresh_roster(self.roster, self.artifacts, masked=self.masks.digest)

    def batch(self, at_s, *values, sent_s=None):
        """One micro-batch: region -> (features or None, Summary). sent_s: Kafka's time, if it is not the batch's."""
        now_ms = at_s * 1000
        rows = [(None, HEARTBEAT, 0, 0, now_ms)]
        time_ms = now_ms if sent_s is None else sent_s * 1000
        rows += [(value, 0, self.offset + number, time_ms, now_ms) for number, value in enumerate(values)]
        self.offset += len(values)
        types = [pa.binary(), pa.int32(), pa.int64(), pa.int64(), pa.int64()]
        names = ["value", "partition", "offset", "time_ms", "now_ms"]
        columns = [list(column) for column in zip(*rows, strict=True)]
        record_batch = pa.RecordBatch.from_arrays(
            [pa.array(c, t) for c, t in zip(columns, types, strict=True)], names=names
        )
        packed = pa.Table.from_batches(
            decode_stage(partial(read_roster, self.roster), self.masks)(iter([record_batch]))
        ).to_pandas()
        if at_s * 1000 > self.tester._currentProcessingTimeMs:
            self.tester.setProcessingTime(at_s * 1000)
        out, self.beside = {}, {}
        for region, group in packed.groupby("region"):
            for _, row in self.tester.testInPandas(region, group.reset_index(drop=True)).iterrows():
                if row["summary"] is None:
                    self.beside[region] = (row["artifact"], row["features"])
                else:
                    out[region] = (row["features"], msgspec.msgpack.decode(row["summary"], type=Summary))
        return out

    def stored(self, region):
        """Everything that the store holds of a region."""
        return self.tester.peekValueState("head", region), self.tester.peekMapState("blobs", region)

    def counts(self, spec):
        """The counts of a region as a worker without a cache would open them."""
        (packed,), blobs = self.stored(spec.region)
        head = msgspec.msgpack.decode(packed, type=Head)
        named = {name: bytes(blob) for (name,), (blob,) in blobs.items()}
        return Journal.restore(spec, named, as_of_s=head.as_of_s, digest=head.digest).state


def event(spec, at_s, *, cell=MIDDLE, number=1, category="fire", **changes):
    return toy_event(spec, at_s=at_s, cell=cell, incident_id=f"i-{number}", category=category, **changes)


def empty_history(spec, at_s=NOW - 3600):
    history = CountState(spec)
    history.advance(at_s)
    return history
