"""Seven days through the real job equal the offline replay, and a difference would be seen."""

from dataclasses import replace

import pytest
import torch

from models.artifact.artifact import read_artifact
from models.counting.what_counts import counting
from models.features import FeatureEngine
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from models.scoring import score
from models.training.region_spec import spec_for
from models.training.replay import IncidentHistory
from models.training.train import TrainingOptions, train
from schemas.frame import RiskFrame
from streaming.rehearse.replay import parse_when
from streaming.rehearse.sample import SAMPLE
from tests.harness.parity import SCORES, Offline, Parity, plan_days
from tests.harness.toy import publish_artifact

pytestmark = pytest.mark.jvm  # all of them on one worker: it trains once
DAYS = 7


@pytest.fixture(scope="module")
def trained_on_four_weeks(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("parity") / "artifacts", merge="none")


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


def test_a_week_through_the_job_equals_the_offline_replay(trained_on_four_weeks, tmp_path, commands, jar_cache):
    assert frames_that_are_equal(commands, trained_on_four_weeks[0], tmp_path, DAYS) > 10


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


def frame_of(offline, as_of_s):
    """What an honest job would show after `offline.read` messages."""
    state = offline.artifact.history()
    chosen = offline.order[: offline.read]
    state.apply(offline.incidents.select(chosen[chosen >= 0]), as_of_s)
    features = FeatureEngine(offline.artifact.spec, offline.artifact.constants).compute(state)
    scores = score(features.values, offline.network, offline.artifact.constants, offline.artifact.spec)
    return RiskFrame(
        spec=offline.artifact.spec,
        as_of_s=as_of_s,
        model=offline.artifact.version,
        observed_1h=features.observed_1h,
        support=features.support,
        **{name: getattr(scores, name) for name in SCORES},
    )


@pytest.mark.parametrize("wrong", ["nothing", "observed_1h", "support", "attribution"])
def test_one_value_that_differs_is_seen(trained_on_four_weeks, wrong):
    _, folder = trained_on_four_weeks
    table, artifact = read_incidents(SAMPLE, LAYOUTS["sample"]), read_artifact(folder)
    plan = plan_days(table, artifact, 1)
    offline, parity = Offline(artifact, plan), Parity()
    offline.read = 100
    as_of_s = int(plan.received_ms[:100].max()) // 1000
    frame = frame_of(offline, as_of_s)
    if wrong != "nothing":
        values = getattr(frame, wrong).copy()
        values.flat[17] += values.dtype.type(1 if values.dtype.kind in "iu" else max(values.flat[17] * 1e-5, 1e-9))
        frame = replace(frame, **{wrong: values})
    offline.compare(frame, parity)
    assert parity.is_equal == (wrong == "nothing")
    assert parity.wrong_counts == (wrong in ("observed_1h", "support"))
    assert parity.wrong_scores == (wrong in SCORES)
