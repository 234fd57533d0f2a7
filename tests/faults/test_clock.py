"""The machine's clock is set back while the job runs: the real job under libfaketime, and the recount."""

import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.sent import Sent, events

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
pytestmark = [
    pytest.mark.stack,
    pytest.mark.long,
    pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian: apt-get install libfaketime)"),
]


def test_a_machines_clock_that_is_set_back_an_hour_stops_no_score(new_scorer, new_topic, new_region, record_property):
    scorer, region = new_scorer("set-back", new_topic("set-back", partitions=2)), new_region("riverton")
    region.publish(scorer.artifacts)
    clock = scorer.folder / "clock"
    clock.write_text("+0", encoding="utf-8")
    sent = Sent(scorer)
    with ExitStack() as stack:
        stack.enter_context(sent.witness)
        scorer.start(
            LD_PRELOAD=str(LIBRARY),
            FAKETIME_TIMESTAMP_FILE=str(clock),
            FAKETIME_CACHE_DURATION="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            FAKETIME_DONT_RESET="1",
        )
        sent.send(events(region, range(30)))
        sent.wait()
        clock.write_text("-3600", encoding="utf-8")
        began = time.monotonic()
        sent.send(events(region, range(30, 60)))
        sent.recovers(began, record_property)
        assert "set back by 3600 s" in " ".join(scorer.output.split())
        assert scorer.end(signal.SIGTERM) == 0
        sent.check()
