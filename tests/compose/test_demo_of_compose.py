"""The demo: the sample moved to now keeps its counts, and is sent at the right times; what it alone allows."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest

from models.artifact import champion_of, read_artifact
from models.local_time import local_from_utc
from schemas.spec import DAY_S
from streaming.rehearse.incident_replay import INCIDENT
from tests.harness.compose_file import COMPOSE, ROOT, SERVICES, read_compose, variables

NOW_S = 1_795_632_420  # 2026-11-25 18:47 UTC


@pytest.fixture(scope="module")
def demo():
    spec = spec_from_file_location("compose_demo", ROOT / "deploy" / "compose_demo.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=[0, 5 * 3600, 3 * DAY_S, 200 * DAY_S], ids=["now", "+5h", "+3d", "+200d"])
def now_s(request):
    return NOW_S + request.param


@pytest.fixture(scope="module")
def moved(demo, now_s):
    return demo.Moved.to(now_s)


@pytest.fixture(scope="module")
def plan(demo, moved):
    return demo.plan_of(moved)


def test_the_storm_comes_every_evening_for_a_week_at_its_hour(demo, moved, now_s):
    local_s = local_from_utc(moved.table.occurred_s, moved.table.timezone)
    of_day, count = np.unique(local_s // DAY_S, return_counts=True)
    assert count.tolist() == [580] * demo.DAYS
    assert (np.diff(of_day) == 1).all()
    hours = np.bincount(local_s % DAY_S // 3600, minlength=24)
    assert hours[[18, 19]].tolist() == [67 * demo.DAYS, 71 * demo.DAYS]
    assert moved.cut_s <= moved.table.occurred_s[0]
    assert local_from_utc(np.array([moved.cut_s]), moved.table.timezone)[0] % DAY_S == 0
    assert 6 * 3600 <= now_s - moved.cut_s < 30 * 3600
    assert moved.table.occurred_s[-1] > now_s + 6 * DAY_S


def test_every_incident_is_either_history_or_sent(demo, moved, plan):
    artifact = champion_of(demo.ARTIFACTS, demo.REGION)
    state, before = demo.history_of(moved, artifact), artifact.history()
    assert state.as_of_s == moved.cut_s
    assert (plan.kind == INCIDENT).sum() == len(moved.table)
    for name, level in state.levels.items():
        counted, original = level.newest_bins(60), before.levels[name].newest_bins(60)
        assert counted.sum() > 0
        np.testing.assert_array_equal(counted, original)
    assert state.levels["day"].ring.sum() == before.levels["day"].ring.sum()


def test_an_artifact_is_made_that_the_job_takes(demo, moved, now_s, tmp_path):
    artifact = read_artifact(demo.publish_artifact(moved, tmp_path, now_s))
    assert artifact.network_fault is None
    assert artifact.history().as_of_s == moved.cut_s == artifact.manifest.data.cutoff_s
    assert artifact.constants.first_day * DAY_S < moved.cut_s


def test_the_past_takes_five_minutes_and_the_rest_happens_at_its_time(demo, plan, now_s):
    assert plan.occurred_s.min() > now_s - 2 * DAY_S  # the job takes nothing older
    due_s = demo.in_time(plan, now_s)
    at_s = now_s + np.array([due_s(send_ms) for send_ms in plan.send_ms.tolist()])
    past = plan.send_ms < now_s * 1000
    assert past.sum() > 50
    assert at_s[past].max() <= now_s + demo.CATCH_UP_S
    np.testing.assert_allclose(at_s[~past], np.maximum(plan.send_ms[~past] / 1000, at_s[past].max()), atol=0.01)


def test_the_demo_alone_lets_anybody_look_at_grafana_and_shares_nothing_with_an_operators_own_services():
    assert variables(SERVICES["grafana"])["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    demo = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / "deploy" / "demo.env").read_text(encoding="utf-8"), re.MULTILINE))
    of_demo = read_compose(**demo)
    grafana = variables(of_demo["services"]["grafana"])
    assert (grafana["GF_AUTH_ANONYMOUS_ENABLED"], grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"]) == ("true", "Viewer")
    assert demo["COMPOSE_PROFILES"] == "demo"
    for own in (
        lambda found: {one["file"] for one in found["secrets"].values()},
        lambda found: {one["image"] for one in found["services"].values() if "build" in one},
    ):
        assert own(of_demo).isdisjoint(own(COMPOSE))
    assert demo["COMPOSE_PROJECT_NAME"] != COMPOSE["name"]  # `down --volumes` of the one must not reach the other's
    assert not any(COMPOSE["volumes"].values()), "a volume with a name of its own belongs to both"
    in_the_demo_alone = {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]}
    assert in_the_demo_alone == {"demo-artifact", "replay", "welcome"}


def test_the_demo_says_where_its_map_is_once_it_is_there():
    services = read_compose(GRAFANA_PORT="3001")["services"]
    (line,) = services["welcome"]["command"]
    (port,) = services["grafana"]["ports"]
    assert f"http://{port.removesuffix(':3000')} " in line
    assert "docker compose --env-file deploy/demo.env ps --all" in line
    assert "\n" not in line
