"""Does the job score as training counted? Days go through Kafka and Spark, and through the offline replay.

`python -m tests.stack.test_parity ARTIFACTS OUT DAYS` compares days like the sample's: it starts Spark in a process.
"""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from models.artifact import champion_of, read_artifact
from models.counting.count_registry import counting
from models.features import FeatureEngine
from models.scoring import score
from models.training.replay import IncidentHistory
from models.training.train import TrainingOptions, train
from models.training.train_region import spec_for
from schemas.spec import DAY_S
from streaming.rehearse.demo import Rehearsal
from streaming.rehearse.incident_replay import REGION, Mix, parse_when, plan_replay
from streaming.settings import Settings
from tests.harness.small_town import sample_weeks
from tests.harness.toy import publish_artifact

TOLERANCE = 1e-6  # of a score
SMALLEST = 1e-6  # expected incidents; the tolerance of a smaller score is a share of this
PER_BATCH = 240  # messages: a week is 14 batches
LONGEST_S = 1800.0
SCORES = ("expected", "risk", "low", "high", "usual", "attribution")


class Offline:
    """The artifact's history, continued by the plan's incidents in their order, without JSON, Kafka or Spark."""

    def __init__(self, artifact, plan):
        self.artifact, self.plan, table = artifact, plan, plan.table
        self.read = 0  # messages that the job has read
        self._counted = 0  # messages that `state` contains
        self.state = artifact.history()
        self.engine = FeatureEngine(artifact.spec, artifact.constants)
        self.network = artifact.network()
        past = IncidentHistory.of(table, artifact.spec, int(table.occurred_s[-1]) + 1)
        self.incidents = past.calls
        place_of = np.full(len(table), -1)
        place_of[past.calls.kafka_offset] = np.arange(len(past.calls))
        self.order = place_of[plan.position[plan.subject]]  # by message: place in the past, -1 outside the grid

    def compare(self, frame):
        """Count what the job has read until now, and score; gives what of it the frame has otherwise."""
        new = self.order[self._counted : self.read]
        self.state.apply(self.incidents.select(new[new >= 0]), frame.as_of_s)
        self._counted = self.read
        features = self.engine.compute(self.state)
        scores = score(features.values, self.network, self.artifact.constants, self.artifact.spec)
        if wrong := int((features.observed_1h != frame.observed_1h).sum() + (features.support != frame.support).sum()):
            yield f"{wrong} counts at {frame.as_of_s}"
        for name in SCORES:
            offline, online = getattr(scores, name), getattr(frame, name)
            difference = np.abs(offline - online) / np.maximum(np.abs(offline), SMALLEST)
            if count := int((difference > TOLERANCE).sum()):
                yield f"{count} of {name} at {frame.as_of_s}, by up to {difference.max():g}"


def main(artifacts, out, days):
    artifact = champion_of(artifacts, REGION)
    from_s = artifact.manifest.data.cutoff_s
    table = sample_weeks()
    offline = Offline(artifact, plan_replay(table, region=REGION, mix=Mix(), from_s=from_s, to_s=from_s + days * DAY_S))
    frames, mismatches = 0, []

    def compare(published):
        nonlocal frames
        summary, frame = published.summaries.get(REGION), published.frames.get(REGION)
        offline.read += summary.ledger["consumed"] if summary else 0
        if frame is not None and offline.read:
            frames += 1
            mismatches.extend(offline.compare(frame))

    rehearsal = Rehearsal(plan=offline.plan, artifacts=artifacts, out=out, due_s=None, longest_s=LONGEST_S)
    rehearsal.run(Settings(max_events_per_batch=PER_BATCH), stop=threading.Event(), watchers=[compare])
    verdict = f"NOT EQUAL: {mismatches[:20]}" if mismatches else "equal"
    sys.stdout.write(f"{verdict} {frames} frames\n")


def trained(artifacts, *, merge):
    """(artifacts, folder) of a real model of four weeks of days like the sample's."""
    torch.set_num_threads(1)
    table = sample_weeks()
    cutoff_s = parse_when("2016-08-22", table.timezone)
    spec = spec_for(table, region=REGION, cell_m=3000, cutoff_s=cutoff_s, merge=merge)
    options = TrainingOptions(step_s=6 * 3600, epochs=3, seed=0)
    made = train(IncidentHistory.of(table, spec, cutoff_s), options, report=lambda what, share: None)
    with torch.no_grad():
        made.network.leave.bias += 0.1  # so that the network has a say, whatever four weeks taught it
    folder = publish_artifact(
        artifacts, spec=spec, constants=made.constants, network=made.network, history=made.history
    )
    return artifacts, folder


def test_a_week_through_the_job_equals_the_offline_replay(tmp_path, commands, jar_cache):
    artifacts, _ = trained(tmp_path / "artifacts", merge="none")
    assert frames_that_are_equal(commands, artifacts, tmp_path, 7) > 10


@pytest.mark.nightly
def test_so_do_two_days_of_a_region_that_merges_repeated_calls(tmp_path, commands, jar_cache):
    artifacts, folder = trained(tmp_path / "artifacts", merge="repeated_calls")
    state = read_artifact(folder).history()
    assert len(state.registry) > counting(state.registry.records()).sum()
    assert frames_that_are_equal(commands, artifacts, tmp_path, 2) > 2


def frames_that_are_equal(commands, artifacts, out, days):
    ran = commands.run("tests.stack.test_parity", artifacts, out, days, timeout=600)
    assert ran.stdout.startswith("equal "), ran.stdout + ran.stderr
    return int(ran.stdout.split()[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
