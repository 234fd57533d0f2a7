"""A recount of the log of batches gives what Spark stored, and would tell if it did not."""

import numpy as np
import pytest

from models import scoring
from models.likelihood import at_least_one
from streaming.artifacts_in_force import load_artifact
from tests.harness.points import stored_points
from tests.harness.recount import Recount, RecountError, planned
from tests.harness.toy import toy_messages


@pytest.mark.fault("F41")
def test_a_recount_of_the_log_gives_the_points_that_were_stored_over_a_swap_and_a_restart(
    random_job, world, publish, monkeypatch
):
    specs, batches = world
    job = random_job("logged")
    job.run_through(batches[:4])
    spec = specs["lakeside"]
    history = load_artifact(str(next((job.artifacts / "lakeside").iterdir()))).history()
    publish(job.artifacts, spec, created="20260202T000000Z", seed=8, history=history)
    job.run_through(batches[4:])

    checkpoint = job.settings.checkpoint
    sent = dict(zip((published.batch_id for published in job.with_messages()), batches, strict=True))
    logged, frames = planned(checkpoint, specs)
    recount = Recount(frames, checkpoint, job.artifacts, specs)
    lines = [recount.points(batch, slices(sent.get(batch.number, []))) for batch in logged]
    stored = scores_in(job.sink.writes)
    assert scores_in(lines) == stored
    assert len(b"".join(lines).splitlines()) == len(stored)
    assert recount.differing == 0
    assert len({fields["model"] for (key, _), fields in stored.items() if "region=lakeside" in key}) == 2

    of_another_torch = Recount(frames, checkpoint, job.artifacts, specs)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "at_least_one", lambda *given: np.nextafter(at_least_one(*given), np.float32(2)))
        for batch in logged:
            of_another_torch.points(batch, slices(sent.get(batch.number, [])))
    assert of_another_torch.differing == len(frames)

    messages = next(iter(sent.values()))
    again = Recount(frames, checkpoint, job.artifacts, specs)
    with pytest.raises(RecountError, match="gives other counts than the job stored"):
        [again.points(batch, slices(messages)) for batch in logged]  # the same ones for every batch


def scores_in(writes):
    """The stored points of scores: no others are counted again."""
    of_scores = ("risk", "top", "unusual")
    return {key: fields for key, fields in stored_points(writes).items() if key[0].startswith(of_scores)}


def slices(messages):
    """The messages in the order of the topic, seven at a time."""
    messages = sorted(messages, key=lambda message: message[1:3])
    for first in range(0, len(messages), 7):
        value, partition, offset, time_ms = zip(*messages[first : first + 7], strict=True)
        yield toy_messages(value, time_ms, partition=partition, offset=offset)
