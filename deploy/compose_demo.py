"""The demo of compose.yaml: `compose_demo.py artifact`, then `compose_demo.py replay`.

The sample's day happens again on each day of a week, at its hours, so that the storm comes every evening. The cut is
the county's last midnight that is six to thirty hours ago, and the artifact's history is moved so that it ends there.
What comes after the cut is sent to Kafka: the past within five minutes, then each call at its time.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from models.artifact import Artifact, read_artifact, write_artifact
from models.counting.count_state import CountState
from models.files.incident_files import IncidentTable, read_incidents
from models.files.layouts import LAYOUTS
from models.local_time import local_from_utc
from schemas.errors import ArtifactError, SettingsError, errors_in_one_line
from schemas.files import stamp
from schemas.spec import DAY_S, HOUR_S
from streaming.kafka import KafkaConnection
from streaming.rehearse.incident_replay import (
    ARTIFACTS,
    DEMO_DAY,
    MIXED,
    REGION,
    SAMPLE,
    Due,
    ReplayPlan,
    parse_when,
    plan_replay,
    send_plan,
    shifted,
)
from streaming.settings import Settings

CATCH_UP_S = 300.0
DAYS = 8
_LEAST_PAST_S = 6 * HOUR_S  # at least so much of the past is sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The sample's day on each day from the cut on."""

    table: IncidentTable
    days: int  # by which the artifact and the first of these days are moved
    cut_s: int  # what happened before it is history

    @classmethod
    def to(cls, now_s: int) -> "Moved":
        day = read_incidents(SAMPLE, LAYOUTS["sample"])
        midnight_s = np.array([parse_when(DEMO_DAY, day.timezone)])
        at_s = np.array([midnight_s[0], now_s - _LEAST_PAST_S])
        days = int(np.diff(local_from_utc(at_s, day.timezone))[0] // DAY_S)
        occurred_s = [shifted(day.occurred_s, day.timezone, days=days + more) for more in range(DAYS)]
        table = day.select(np.tile(np.arange(len(day)), DAYS))
        return cls(
            table=replace(table, occurred_s=np.concatenate(occurred_s), row=np.arange(1, len(table) + 1)),
            days=days,
            cut_s=int(shifted(midnight_s, day.timezone, days=days)[0]),
        )


def history_of(moved: Moved, artifact: Artifact) -> CountState:
    """The artifact's counts as of the cut. By hour and shorter they keep the county's clock, by day the date in UTC."""
    before, state = artifact.history(), CountState(artifact.spec)
    state.advance(moved.cut_s)
    for name, level in state.levels.items():
        bins = before.levels[name]
        numbers = np.arange(bins.oldest, bins.newest + 1)
        level.ring[(numbers + level.newest - bins.newest) % len(level.ring)] = bins.ring[numbers % len(bins.ring)]
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
        spec=artifact.spec,
        constants=replace(artifact.constants, first_day=first_day + moved.days),
        network=network,
        history=history_of(moved, artifact),
        fine=artifact.fine,
        data=msgspec.structs.replace(manifest.data, cutoff_s=moved.cut_s),
        created=stamp(now_s),
        seed=manifest.seed,
        libraries=manifest.libraries,
        evaluation=manifest.evaluation,
        card=artifact.card,
    )


def plan_of(moved: Moved) -> ReplayPlan:
    """What is sent: the days, with duplicates, corrections and bad messages."""
    return plan_replay(moved.table, region=REGION, mix=MIXED)


def in_time(plan: ReplayPlan, now_s: float) -> Due:
    """Each message at its time; those of the past faster, so that all of them take CATCH_UP_S."""
    first_s = int(plan.send_ms[0]) / 1000
    times_s, due_s = [first_s, now_s, now_s + CATCH_UP_S], [0.0, CATCH_UP_S, CATCH_UP_S]
    return lambda send_ms: max(float(np.interp(send_ms / 1000, times_s, due_s)), send_ms / 1000 - now_s)


def main(arguments: Sequence[str]) -> None:
    settings = Settings.from_environment(os.environ)  # noqa: TID251 - a program of its own
    now_s = time.time()
    moved = Moved.to(int(now_s))
    match arguments:
        case ["artifact"]:
            sys.stdout.write(f"published {publish_artifact(moved, settings.artifacts, int(now_s))}\n")
        case ["replay"]:
            plan = plan_of(moved)
            send_plan(plan, KafkaConnection.of(settings), settings.topic, due_s=in_time(plan, now_s))
        case _:
            raise SettingsError(f"unknown arguments {' '.join(arguments)!r}", "use artifact, or replay")


if __name__ == "__main__":
    with errors_in_one_line():
        main(sys.argv[1:])
