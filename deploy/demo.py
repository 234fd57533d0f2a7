"""The demo of compose.yaml: `demo.py artifact`, then `demo.py replay`.

The sample's incidents are moved by whole weeks, so that hour and weekday stay true and its last week covers now. The
cut is a midnight (UTC), six to thirty hours ago. Incidents before the cut become the history of an artifact; the others
are sent to Kafka: those of the past within five minutes, then each at its time.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from models.artifact import Artifact, Model, Provenance, read_artifact, write_artifact
from models.counting.count_state import CountState
from models.files.incident_files import IncidentTable, read_incidents
from models.files.layouts import LAYOUTS
from models.training.replay import IncidentHistory
from schemas.errors import ArtifactError, SettingsError, errors_in_one_line
from schemas.files import stamp
from schemas.spec import DAY_S, HOUR_S
from streaming.kafka import KafkaConnection
from streaming.rehearse.incident_replay import (
    ARTIFACTS,
    MIXED,
    REGION,
    SAMPLE,
    Message,
    ReplayPlan,
    plan_replay,
    send_plan,
    shifted,
    weeks_until,
)
from streaming.settings import Settings

CATCH_UP_S = 300.0
_LEAST_PAST_S = 6 * HOUR_S  # at least so much of the past is sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The sample as if its last week were this one."""

    table: IncidentTable
    weeks: int
    occurred_s: npt.NDArray[np.int64]  # (n,) moved event time, epoch seconds UTC, ascending
    cut_s: int  # moved time; what happened before it is history

    @classmethod
    def to(cls, now_s: int) -> "Moved":
        table = read_incidents(SAMPLE, LAYOUTS["sample"])
        weeks = weeks_until(int(table.occurred_s[-1]), now_s=now_s, timezone=table.timezone) + 1
        moved_s = shifted(table.occurred_s, table.timezone, weeks=weeks)
        return cls(table=table, weeks=weeks, occurred_s=moved_s, cut_s=(now_s - _LEAST_PAST_S) // DAY_S * DAY_S)


def history_of(moved: Moved, artifact: Artifact) -> CountState:
    """Counts as of the cut: the sample's own days from the sample, the days before it from the artifact."""
    spec = artifact.spec
    past = IncidentHistory.of(replace(moved.table, occurred_s=moved.occurred_s), spec, moved.cut_s)
    place = past.incidents.cell.astype(np.intp) * len(spec.categories) + past.incidents.category
    state = CountState(spec)
    state.advance(moved.cut_s)
    for level in state.levels.values():
        level.add(past.incidents.occurred_s, place, 1)
    days, before = state.levels["day"], artifact.history().levels["day"]
    numbers = np.arange(before.oldest, int(moved.table.occurred_s[0]) // DAY_S)
    numbers = numbers[numbers + 7 * moved.weeks >= days.oldest]
    days.ring[(numbers + 7 * moved.weeks) % len(days.ring)] += before.ring[numbers % len(before.ring)]
    return state


def publish_artifact(moved: Moved, artifacts: Path, now_s: int) -> Path:
    """The sample's artifact with the moved history, published under `artifacts`; its folder."""
    (folder,) = (ARTIFACTS / REGION).iterdir()
    artifact = read_artifact(folder)
    network, manifest, first_day = artifact.network(), artifact.manifest, artifact.constants.first_day
    if network is None:
        raise ArtifactError(f"the sample's network cannot be used: {artifact.network_fault}")
    return write_artifact(
        artifacts,
        Model(
            spec=artifact.spec,
            constants=replace(artifact.constants, first_day=first_day + 7 * moved.weeks),
            network=network,
            history=history_of(moved, artifact),
        ),
        Provenance(
            data=msgspec.structs.replace(manifest.data, cutoff_s=moved.cut_s),
            created=stamp(now_s),
            seed=manifest.seed,
            libraries=manifest.libraries,
            evaluation=manifest.evaluation,
        ),
        card=artifact.card,
    )


def plan_of(moved: Moved) -> ReplayPlan:
    """What is sent: everything from the cut on, with duplicates, corrections and bad messages."""
    first = int(np.searchsorted(moved.occurred_s, moved.cut_s))
    return plan_replay(
        moved.table, region=REGION, mix=MIXED, weeks=moved.weeks, from_s=int(moved.table.occurred_s[first])
    )


def waits_s(plan: ReplayPlan, *, start_s: float, clock: Callable[[], float]) -> Callable[[int], float]:
    """A function that gives how long to wait before the message at a position of the plan, seconds."""
    past_s = max(1.0, start_s - int(plan.send_ms[0]) / 1000)

    def wait_s(position: int) -> float:
        due_s = int(plan.send_ms[position]) / 1000
        if due_s < start_s:  # the past: faster, so that all of it takes CATCH_UP_S
            due_s = start_s + (due_s - int(plan.send_ms[0]) / 1000) * CATCH_UP_S / past_s
        return max(0.0, due_s - clock())

    return wait_s


def main(arguments: Sequence[str]) -> None:
    settings = Settings.from_environment(os.environ)  # noqa: TID251 - a program of its own
    now_s = time.time()
    moved = Moved.to(int(now_s))
    match arguments:
        case ["artifact"]:
            sys.stdout.write(f"published {publish_artifact(moved, settings.artifacts, int(now_s))}\n")
        case ["replay"]:
            send_in_time(plan_of(moved), settings, now_s)
        case _:
            raise SettingsError(f"unknown arguments {' '.join(arguments)!r}", "demo.py artifact, or demo.py replay")


def send_in_time(plan: ReplayPlan, settings: Settings, now_s: float) -> None:
    """Send the plan; each message waits until its time."""
    wait_s = waits_s(plan, start_s=now_s, clock=time.time)
    sent = 0

    def wait(_: Message) -> None:
        nonlocal sent
        sent += 1
        if sent < len(plan):
            time.sleep(wait_s(sent))

    send_plan(plan, KafkaConnection.of(settings), settings.topic, speed=0, on_sent=wait)


if __name__ == "__main__":
    with errors_in_one_line():
        main(sys.argv[1:])
