"""Faults on real Kafka and a process of its own, judged by the recount of tests/faults/oracle.py.

One fault each; in every run those that tell most, one after another in one life of the job.
"""

import gc
import json
import logging
from dataclasses import replace

import pytest

from tests.faults.actions import FIRST_LOAD
from tests.faults.run import run_scenario
from tests.faults.scenario import START_S, Action, Scenario

pytestmark = [
    # kafka-python, here the test's own producer, leaves the socket of a refused connection to the collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

# name -> the faults that it plays, and the actions between the first and the last load of events
SCENARIOS = {
    "baseline": (("F00", "F11", "F12", "F17", "F18"), ()),
    "kill_now": (("F01",), (("kill", "now"),)),
    "kill_after_offsets": (("F01",), (("kill", "after offsets"),)),
    "kill_in_write": (("F01",), (("kill", "in write"),)),
    "kill_after_write": (("F01",), (("kill", "after write"),)),
    "restart": (("F02",), (("restart", None),)),
    "broker_restart": (("F06",), (("broker_restart", 4),)),
    "broker_kill": (("F07",), (("broker_kill", 4),)),
    "broker_freeze": (("F06",), (("broker_freeze", 8),)),
    "broker_freeze_long": (("F06",), (("broker_freeze", 75),)),
    "kafka_cut": (("F06",), (("kafka_cut", None), ("produce", 20), ("kafka_cut", None))),
    "kafka_down": (("F06",), (("kafka_down", 9), ("produce", 20))),
    "kafka_hangs": (("F06",), (("kafka_hangs", 8), ("produce", 20))),
    "kafka_slow": (("F06",), (("kafka_slow", 6), ("produce", 20))),
    "partitions": (("F10",), (("add_partitions", 2), ("produce", 60))),
    "store_down": (("F22",), (("store_down", 9), ("produce", 20))),
    "store_hangs": (("F22",), (("store_hangs", 8), ("produce", 20))),
    "store_slow": (("F22",), (("store_slow", 6), ("produce", 20))),
    "store_503": (("F22",), (("store_503", 3), ("produce", 20))),
    "store_loses_answer": (("F22",), (("store_loses_answer", None), ("store_loses_answer", None))),
    "store_cut": (("F22",), (("cut", None), ("produce", 20), ("cut", None))),
    "region_and_swap": (("F44",), (("add_region", None), ("produce", 20), ("swap_artifact", None))),
}
IN_EVERY_RUN = {
    "kills_and_outages": (
        ("F01", "F06", "F22", "F31"),
        (
            ("lose_commit", None),
            ("produce", 20),
            ("kill", "after write"),
            ("store_down", 9),
            ("produce", 20),
            ("store_half", 5000),
            ("broker_restart", 4),
            ("store_half", 700),
        ),
    ),
}
PLAYED = IN_EVERY_RUN | SCENARIOS
PLAYED_THERE = ("kill_after_write", "broker_restart", "store_down")  # alone only on the wall clock
ON_THE_WALL_CLOCK = ("baseline", "kill_after_write", "kill_in_write", "restart", "broker_restart", "store_down")


def named(names, *marks):
    return [pytest.param(name, marks=[pytest.mark.fault(*PLAYED[name][0]), *marks]) for name in names]


ALONE = [name for name in SCENARIOS if name not in PLAYED_THERE]
ON_THE_EVENTS_CLOCK = [*named(IN_EVERY_RUN), *named(ALONE, pytest.mark.nightly)]


def scenario_of(name, clock):
    steps = [("produce", 60), ("correct", 10), ("cancel", 5), ("repeat", 15), ("rubbish", "each"), ("stray", "each")]
    steps += [("settle", None)]
    steps += [*PLAYED[name][1], ("produce", 20), ("correct", 10), ("repeat", 15), ("rubbish", 12)]
    actions = [Action(kind, value, START_S + 60 + 130 * n, seed=1000 + n) for n, (kind, value) in enumerate(steps)]
    return Scenario(seed=0, partitions=2, write_timeout_s=20, per_batch=60, actions=tuple(actions), clock=clock)


@pytest.mark.parametrize("name", ON_THE_EVENTS_CLOCK)
def test_every_invariant_holds(name, tmp_path, shared_broker, record_property, caplog):
    judge(scenario_of(name, "event"), tmp_path, shared_broker, record_property, caplog)


@pytest.mark.parametrize("name", named(ON_THE_WALL_CLOCK, pytest.mark.nightly))
def test_every_invariant_holds_on_the_wall_clock(name, tmp_path, shared_broker, record_property, caplog):
    judge(scenario_of(name, "wall"), tmp_path, shared_broker, record_property, caplog)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["kill_after_write", "restart"])
def test_every_invariant_holds_where_repeated_calls_are_merged(name, tmp_path, shared_broker, record_property, caplog):
    merging = replace(scenario_of(name, "event"), merge="repeated_calls")
    judge(merging, tmp_path, shared_broker, record_property, caplog)


def judge(scenario, tmp_path, shared_broker, record_property, caplog):
    caplog.set_level(logging.CRITICAL, logger="kafka")  # what pytest keeps of its lines would keep its sockets open
    outcome = run_scenario(scenario, tmp_path, shared_broker)
    gc.collect()
    assert not outcome.broken, "\n".join(outcome.broken)
    assert not outcome.exits, "the job was to go on by itself"
    missed = [kind for kind, hits, *_ in outcome.injected if not hits]
    assert not missed, f"these faults met nothing: {missed}"
    record_property("recovery_s", max(seconds for what, seconds in outcome.recoveries if what != FIRST_LOAD))
    record_property("messages", outcome.messages)
    record_property("injected", json.dumps(outcome.injected))
