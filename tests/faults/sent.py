"""A job with one region and a file as its store: what is sent into its topic, and what must come of it."""

import json
import time

from tests.faults.oracle_region import Region
from tests.faults.outcomes import written_in
from tests.faults.promises import waited_s
from tests.faults.rules import Seen, breaches
from tests.faults.witness import Witness
from tests.harness.points import points_in

START = 1_700_000_000


def events(region, numbers, partitions=2):
    return [
        (n % partitions, region.event(n, cell=n % 36, at_s=START + 10 * n), 1000 * (START + 10 * n)) for n in numbers
    ]


class FileLedgers:
    """The `pipeline` points of a file, each as it was written. `taken` is what WrittenStore calls `ledgers`.

    written: as `written_in` gives it, of each write in order.
    """

    def __init__(self, path):
        self.path, self.taken, self.written, self._read = path, [], [], 0

    def consumed(self):
        """Messages that the file knows of."""
        self._take()
        last = {key: float(fields["consumed"]) for key, _, fields in self.taken}
        return int(sum(last.values()))

    def _take(self):
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self.written += written_in(whole.decode())
        self.taken += [point for point in points_in(whole.decode()) if point[0].startswith("pipeline,")]


class Sent:
    """What goes into a job's topic, and what must come of it."""

    def __init__(self, scorer):
        self.scorer, self.messages = scorer, []
        self.ledgers = FileLedgers(scorer.folder / "scores.lp")
        self.witness = Witness(scorer, scorer.topic.name, self.ledgers.consumed)

    def send(self, messages):
        messages = list(messages)
        places = self.scorer.topic.send(messages)
        self.messages += [(*place, value, time_ms) for place, (_, value, time_ms) in zip(places, messages, strict=True)]

    def wait(self):
        self.scorer.wait_until(lambda: self.scorer.consumed() == len(self.messages))

    def recovers(self, began, record_property):
        """I10, where the fault ended at `began`, monotonic time."""
        self.wait()
        seconds = time.monotonic() - began
        record_property("recovery_s", seconds)
        assert seconds <= waited_s(), f"I10: {seconds:.0f} s"

    def check(self):
        """I1 to I5, I7, I8 and I13, by the same rules as in the scenarios. The job has ended."""
        self.witness.stop()
        (manifest,) = self.scorer.artifacts.glob("*/*/manifest.json")
        seen = Seen(
            messages=sorted(self.messages, key=lambda message: message[:2]),
            regions=[Region.of(json.loads(manifest.read_bytes()))],
            versions={"riverton": [manifest.parent.name]},
            batches=self.witness.batches,
            points=self.scorer.points(),
            ledgers=self.ledgers.taken,
            letters=self.scorer.letters(),
            written=self.ledgers.written,
            topic=self.scorer.topic.name,
        )
        assert [*self.witness.faults, *breaches(seen)] == []
