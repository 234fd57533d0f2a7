"""A promotion and a rollback reach the running job: counted in batches, from the pointer to the first new frame."""

import itertools
import threading
import time
from contextlib import contextmanager

import pytest

from tests.harness.region_bench import empty_history
from tests.harness.registries import Desk
from tests.harness.toy import toy_event

NOW = 1_700_000_000


@pytest.fixture
def desk(new_job, toy, publish):
    """A job with its desk: three versions with other networks are registered, and the first one scores."""
    job, spec = new_job(), toy("riverton")
    desk = Desk("folder", job.folder)
    desk.job, desk.spec = job, spec
    for day in (1, 2, 3):
        parts = {"seed": day, "history": empty_history(spec, NOW)}
        desk.register(publish(desk.made, spec, created=f"2026010{day}T000000Z", **parts).name, "riverton")
    return desk


def batches_until(job, version, change):
    """How many batches another version still scored after `change`, and the seconds until the first frame."""
    change()
    done, begun_s = len(job.published), time.monotonic()
    job.wait_until(lambda: any(frame.model == version for batch in job.published[done:] for frame in frames_of(batch)))
    seconds = time.monotonic() - begun_s
    return [batch.artifacts["riverton"] for batch in job.published[done:]].index(version), seconds


def frames_of(batch):
    return [frame for region, frame in batch.frames.items() if region == "riverton"]


@contextmanager
def busy(job, spec):
    """One message after the other, so that a batch is under way whenever something changes."""
    stop = threading.Event()

    def send():
        for number in itertools.count():
            at_s = NOW + 600 + number
            event = toy_event(spec, at_s=at_s, cell=number % 36, incident_id=f"A-{number}")
            job.send([(event, 0, number, at_s * 1000)])
            while job.consumed() < job.sent:
                if stop.wait(0.02):
                    return

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()


def test_a_promotion_and_a_rollback_are_in_force_within_two_batches(desk, record_property):
    job, spec = desk.job, desk.spec
    first, second, third = sorted(desk.state("riverton").manifests)
    desk.promote(first, region="riverton")
    desk.sync("riverton")
    waited = []
    with job.running(trigger_s=0.5):
        with busy(job, spec):
            job.wait_until(lambda: len(job.with_messages()) > 3)
            for number, version in enumerate((second, third, second, third, second)):

                def change(version=version, is_back=number in (2, 4)):
                    if is_back:
                        desk.roll_back("riverton")
                    else:
                        desk.promote(version, region="riverton")
                    desk.sync("riverton")

                time.sleep(0.17 * number)  # at another moment of the batch each time
                waited.append(batches_until(job, version, change))
        job.wait_until(lambda: job.consumed() == job.sent)
    record_property("batches_until_in_force", [batches for batches, _ in waited])
    record_property("seconds_until_the_first_frame", [round(seconds, 2) for _, seconds in waited])
    assert max(batches for batches, _ in waited) <= 2
    assert len(job.with_messages()) > 5
    assert job.published[-1].summaries["riverton"].totals["counted"] == job.sent
    events = [name for name, _ in desk.events()]
    assert events.count("model_rolled_back") == 2
    assert events.count("pointer_written") == 6
