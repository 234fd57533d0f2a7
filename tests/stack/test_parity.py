"""Seven days through the real job equal the offline replay."""

import pytest
import torch

from models.artifact import read_artifact
from models.counting.count_registry import counting
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from models.training.replay import IncidentHistory
from models.training.train import TrainingOptions, train
from models.training.train_region import spec_for
from streaming.rehearse.incident_replay import SAMPLE, parse_when
from tests.harness.toy import publish_artifact


def trained(artifacts, *, merge):
    """(artifacts, folder) of a real model of the sample's first four weeks."""
    torch.set_num_threads(1)
    table = read_incidents(SAMPLE, LAYOUTS["sample"])
    cutoff_s = parse_when("2017-10-14", table.timezone)
    spec = spec_for(table, region="chicago", cell_m=3000, cutoff_s=cutoff_s, merge=merge)
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
    ran = commands.run("tests.harness.parity", artifacts, out, days, timeout=600)
    assert ran.stdout.startswith("equal "), ran.stdout + ran.stderr
    return int(ran.stdout.split()[1])
