"""What all measurements share: one broker, one store, untrained artifacts, topics."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.local_store import local_store
from benchmarks.plan import Sizes
from models.artifact.untrained import write_untrained
from schemas.instants import stamp
from schemas.spec import DAY_S, Spec
from streaming.rehearse.broker import TOPIC_PARTITIONS, start_broker
from streaming.settings import Settings
from streaming.topics.kafka import KafkaConnection, ensure_topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running broker and store, and the folder that everything is written in."""

    folder: Path
    bootstrap: str
    store_url: str
    cache: Path
    plan: Sizes

    def artifacts(self, specs: Sequence[Spec]) -> Path:
        """A folder with one untrained artifact per spec; their history ends today at midnight."""
        folder = self.folder / f"artifacts-{specs[0].region}-{len(specs)}"
        if not folder.exists():
            now_s = int(time.time())
            created = stamp(now_s)
            for spec in specs:
                write_untrained(folder, spec, per_day=200.0, cutoff_s=now_s - now_s % DAY_S, created=created)
        return folder

    def topic(self, name: str) -> str:
        """Make a topic with as many partitions as `python -m streaming broker` gives."""
        ensure_topics(KafkaConnection(self.bootstrap), {name: TOPIC_PARTITIONS})
        return name

    def settings(self, *, topic: str, specs: Sequence[Spec], checkpoint: str) -> Settings:
        """As the product ships, except where things are, the batch size of a quick run, and no pause between batches.

        The default pause leaves an idle machine half free; a latency would mostly measure it.
        """
        return Settings.from_environment({}).with_options(
            kafka_bootstrap=self.bootstrap,
            topic=topic,
            dead_letter_topic=self.topic("dead-letters"),
            artifacts=self.artifacts(specs),
            checkpoint=self.folder / checkpoint,
            audit=self.folder / "audit.jsonl",
            sink="influxdb",
            trigger_s=0.0,
            influx_url=self.store_url,
            cache=self.cache,
            max_events_per_batch=self.plan.events_per_batch,
        )


@contextmanager
def running_stack(plan: Sizes) -> Iterator[Stack]:
    """Broker and store in a temporary folder, on free ports. Both are gone on the way out."""
    cache = Settings.from_environment({name: os.environ[name] for name in ("RISK_CACHE",) if name in os.environ}).cache
    with (
        tempfile.TemporaryDirectory(prefix="risk-bench-") as folder,
        start_broker(Path(folder) / "broker", cache=cache, port=0) as broker,
        local_store("victoria-metrics", Path(folder) / "store") as store_url,
    ):
        yield Stack(folder=Path(folder), bootstrap=broker.bootstrap, store_url=store_url, cache=cache, plan=plan)
