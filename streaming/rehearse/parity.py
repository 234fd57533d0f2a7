"""Does the job score as training counted? The same days go through Kafka and Spark, and through the offline replay."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.artifact.artifact import Artifact
from models.features import FeatureEngine
from models.files.incident_files import IncidentTable
from models.scoring import score
from models.training.replay import IncidentHistory
from schemas.frame import RiskFrame
from schemas.spec import DAY_S
from streaming.flow.rows import Published
from streaming.rehearse.rehearsal import Rehearsal
from streaming.rehearse.replay import Mix, ReplayPlan, plan_replay
from streaming.settings import Settings

TOLERANCE = 1e-6  # of a score
_SMALLEST = 1e-6  # expected incidents; the tolerance of a smaller score is a share of this
_PER_BATCH = 50  # messages; few, so that there are many batches
_LONGEST_S = 1800.0
SCORES = ("expected", "risk", "low", "high", "usual", "attribution")


@dataclass(slots=True)
class Parity:
    """The result of the comparison. A frame is a region's scores after a batch."""

    incidents: int
    frames: int = 0
    values: int = 0
    wrong_counts: int = 0
    wrong_scores: int = 0
    largest: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SCORES, 0.0))  # difference by score
    examples: list[str] = field(default_factory=list)  # the first mismatches

    @property
    def is_equal(self) -> bool:
        return self.frames > 0 and not self.wrong_counts and not self.wrong_scores


def run_parity(
    settings: Settings,
    offline: "Offline",
    *,
    out: Path,
    stop: threading.Event,
    on_frame: Callable[[RiskFrame, Parity], None],
) -> Parity:
    """Send the plan of `offline` through the job, and compare each frame with the offline scores. Raises RiskError."""
    region, parity = offline.artifact.spec.region, Parity(len(offline.plan))

    def compare(published: Published) -> None:
        summary = published.summaries.get(region)
        offline.read += summary.ledger["consumed"] if summary else 0
        frame = published.frames.get(region)
        if frame is not None and offline.read:
            offline.compare(frame, parity)
            on_frame(frame, parity)

    artifacts = offline.artifact.folder.parent.parent
    rehearsal = Rehearsal(plan=offline.plan, artifacts=artifacts, out=out, speed=0, longest_s=_LONGEST_S)
    rehearsal.run(settings.with_options(max_events_per_batch=_PER_BATCH), stop=stop, watchers=[compare])
    return parity


def plan_days(table: IncidentTable, artifact: Artifact, days: int) -> ReplayPlan:
    """The replay of the `days` after the artifact's data end."""
    from_s = artifact.manifest.data.cutoff_s
    return plan_replay(table, region=artifact.spec.region, mix=Mix(), from_s=from_s, to_s=from_s + days * DAY_S)


class Offline:
    """The artifact's history, continued by the plan's incidents in their order, without JSON, Kafka or Spark."""

    def __init__(self, artifact: Artifact, plan: ReplayPlan) -> None:
        self.artifact, self.plan, table = artifact, plan, plan.table
        self.read = 0  # messages that the job has read
        self._counted = 0  # messages that `state` contains
        self.state = artifact.history()
        self.engine = FeatureEngine(artifact.spec, artifact.constants)
        self.network = artifact.network()
        past = IncidentHistory.of(table, artifact.spec, int(table.occurred_s[-1]) + 1)
        self._incidents = past.calls
        place_of = np.full(len(table), -1)
        place_of[past.calls.kafka_offset] = np.arange(len(past.calls))
        self._order = place_of[plan.position[plan.subject]]  # by message: place in the past, -1 outside the grid

    def compare(self, frame: RiskFrame, parity: Parity) -> None:
        """Count what the job has read until now, score, and add the differences to `parity`."""
        new = self._order[self._counted : self.read]
        self.state.apply(self._incidents.select(new[new >= 0]), frame.as_of_s)
        self._counted = self.read
        features = self.engine.compute(self.state)
        scores = score(features.values, self.network, self.artifact.constants, self.artifact.spec)
        parity.frames += 1
        wrong = int((features.observed_1h != frame.observed_1h).sum() + (features.support != frame.support).sum())
        parity.wrong_counts += wrong
        if wrong:
            parity.examples.append(f"{wrong} counts differ at {frame.as_of_s}")
        for name in SCORES:
            offline, online = getattr(scores, name), getattr(frame, name)
            difference = np.abs(offline - online) / np.maximum(np.abs(offline), _SMALLEST)
            parity.values += difference.size
            parity.largest[name] = max(parity.largest[name], float(difference.max()))
            parity.wrong_scores += (count := int((difference > TOLERANCE).sum()))
            if count:
                place = np.unravel_index(int(difference.argmax()), difference.shape)
                parity.examples.append(
                    f"{name} at {frame.as_of_s}: {count} differ; at {tuple(map(int, place))} the job has "
                    f"{online[place]}, the offline replay {offline[place]}"
                )
