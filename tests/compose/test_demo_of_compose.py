"""The demo: the sample moved to now keeps its counts, and is sent at the right times; what it alone allows."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest

from models.artifact import read_artifact
from schemas.spec import DAY_S
from streaming.rehearse.incident_replay import INCIDENT
from tests.harness.compose_file import COMPOSE, ROOT, SERVICES, read_compose, variables

NOW_S = 1_795_632_420  # 2026-11-25 18:47 UTC


@pytest.fixture(scope="module")
def demo():
    spec = spec_from_file_location("compose_demo", ROOT / "deploy" / "demo.py")
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


def test_the_last_week_covers_now(moved, now_s):
    assert moved.occurred_s[-1] - 7 * DAY_S <= now_s < moved.occurred_s[-1]
    assert moved.occurred_s[0] < now_s - 27 * DAY_S
    assert moved.cut_s % DAY_S == 0
    assert 6 * 3600 <= now_s - moved.cut_s < 30 * 3600


def test_every_incident_is_either_history_or_sent(demo, moved, plan):
    (folder,) = (demo.ARTIFACTS / demo.REGION).iterdir()
    artifact = read_artifact(folder)
    state = demo.history_of(moved, artifact)
    assert state.as_of_s == moved.cut_s
    assert (plan.kind == INCIDENT).sum() == (moved.occurred_s >= moved.cut_s).sum()
    days, original = state.levels["day"], artifact.history().levels["day"]
    inside = artifact.spec.grid.locate(moved.table.lat_deg, moved.table.lon_deg)[1]
    for age in range(1, 60):  # UTC days before the cut
        day = moved.cut_s // DAY_S - age
        counted = days.ring[day % len(days.ring)].sum()
        if day * DAY_S >= moved.occurred_s[0]:
            assert counted == ((moved.occurred_s // DAY_S == day) & inside).sum()
        elif (day + 1) * DAY_S < moved.occurred_s[0] - 3600:  # the first day is split, and an hour is summer time's
            assert counted == original.ring[(day - 7 * moved.weeks) % len(original.ring)].sum()


def test_an_artifact_is_made_that_the_job_takes(demo, moved, now_s, tmp_path):
    artifact = read_artifact(demo.publish_artifact(moved, tmp_path, now_s))
    assert artifact.network_fault is None
    assert artifact.history().as_of_s == moved.cut_s == artifact.manifest.data.cutoff_s
    assert artifact.constants.first_day * DAY_S < moved.cut_s


def test_the_past_takes_five_minutes_and_the_rest_happens_at_its_time(demo, plan, now_s):
    clock = [float(now_s)]
    wait_s = demo.waits_s(plan, start_s=now_s, clock=lambda: clock[0])
    at_s = []
    for position in range(len(plan)):
        clock[0] += wait_s(position)
        at_s.append(clock[0])
    past = plan.send_ms < now_s * 1000
    at_s = np.array(at_s)
    assert past.sum() > 50
    assert at_s[past].max() <= now_s + demo.CATCH_UP_S
    np.testing.assert_allclose(at_s[~past], np.maximum(plan.send_ms[~past] / 1000, at_s[past].max()), atol=0.01)


def test_no_message_is_older_than_the_job_takes(plan, now_s):
    assert plan.occurred_s.min() > now_s - 2 * DAY_S


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
