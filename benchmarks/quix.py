"""Rival: Quix Streams counts per cell and hour, on RocksDB. Runs in an environment of its own, without our packages.

What makes it easier for the rival: the topic is keyed by cell already (`group_by` would need a second topic), no
changelog topic, no strict decoding, no de-duplication, no corrections, no scores, and nothing is written to a store.
"""

import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from quixstreams import Application

MARK_EVERY = 5_000
WINDOW = timedelta(hours=1)
GRACE = timedelta(hours=2)  # the events of one hour come in random order


def occurred_ms(value: Any, *_: Any) -> int:
    """Event time of a decoded message."""
    return int(datetime.fromisoformat(value["occurred_at"]).timestamp() * 1000)


def main(orders: dict[str, Any]) -> None:
    marks: list[tuple[int, float]] = []
    done = 0
    started_s = 0.0

    def counted(_: Any) -> None:
        nonlocal done, started_s
        if done == 0:
            started_s = time.time()
        done += 1
        if done % MARK_EVERY == 0 or done == orders["events"]:
            marks.append((done, time.time()))

    application = Application(
        broker_address=orders["bootstrap"],
        consumer_group=orders["group"],
        auto_offset_reset="earliest",
        state_dir=orders["state"],
        use_changelog_topics=False,
        loglevel="WARNING",
    )
    topic = application.topic(orders["topic"], value_deserializer="json", timestamp_extractor=occurred_ms)
    counts = application.dataframe(topic).tumbling_window(WINDOW, grace_ms=GRACE).count().current()
    counts.update(counted)
    application.run(count=orders["events"], collect=False)
    if done != orders["events"]:
        sys.exit(f"invalid run: {orders['events']} events were loaded, {done} counted")
    Path(orders["result"]).write_text(json.dumps({"started_s": started_s, "marks": marks}), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
