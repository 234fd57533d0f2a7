"""Five weeks of real incidents, stored as the job would store them: what the pictures of the pages show.

The sample's incidents, moved by whole weeks to after the end of the artifact's data, are counted, scored and judged by
the job's own functions, without Kafka and Spark. The model has learnt from most of them before, so what "Does it help?"
shows is no evidence (docs/explanation/evaluation.md has that). The job's lag, times and memory are made up.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from models.all_categories import stored_views
from models.artifact.artifact import Artifact, newest_artifacts, read_artifact
from models.features import FeatureEngine
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from models.measures.outcomes import Forecast
from models.training.replay import IncidentHistory, Replay
from schemas.event import REASONS
from schemas.frame import RiskFrame
from schemas.left_behind.closed_counts import ClosedCounts
from schemas.spec import DAY_S, HOUR_S
from streaming.flow.outcomes import closed_points
from streaming.flow.pipeline_point import PipelinePoint
from streaming.flow.score import scored_frame
from streaming.rehearse.sample import ARTIFACTS, REGION, SAMPLE
from streaming.sinks.line_protocol import risk_lines, top_lines, unusual_lines
from tests.harness.grafana_world import OURS

WEEKS = 5
EVENING_S = 20 * HOUR_S + 20  # of the last Friday: the moment that the pictures show
HOURS_OF_MINUTES = 6
_WHOLE_FRAMES = 4  # of the newest minutes; of earlier ones only the cell that has a page of its own


@dataclass(slots=True)
class World:
    artifact: Artifact
    past: IncidentHistory
    replay: Replay
    engine: FeatureEngine

    @property
    def now_s(self) -> int:
        return self.artifact.manifest.data.cutoff_s + WEEKS * 7 * DAY_S - DAY_S + EVENING_S

    def frame(self, as_of_s: int) -> RiskFrame:
        """Scores with all that happened before `as_of_s`; only forward in time."""
        return scored_frame(str(self.artifact.folder), self.engine.compute(self.replay.lead_to(as_of_s)), as_of_s)

    def outcomes(self, frame: RiskFrame) -> bytes:
        """The points of a forecast made on the hour, of its horizons that have closed by now."""
        constants, of_network = self.artifact.constants, not frame.baseline_only
        forecast = Forecast.of(frame.model, frame.expected, frame.usual, constants, of_network=of_network)
        forecast = replace(forecast, has_history=(frame.support > 0).any(axis=1))
        came, parts = self.past.coming(frame.as_of_s), []
        for number, horizon_s in enumerate(frame.spec.horizons_s):
            judged_s = frame.as_of_s + horizon_s + HOUR_S
            if judged_s <= self.now_s:
                counts = came[:, :, number].astype("<i4").tobytes()
                closed = ClosedCounts(horizon=number, tick_s=frame.as_of_s, judged_s=judged_s, observed=counts)
                parts.append(closed_points(forecast, closed, frame.spec))
        return b"".join(parts)

    def pipeline(self, as_of_s: int) -> bytes:
        counted = self.past.position(as_of_s)
        none = ("corrected", "duplicate", "repeated", "excluded", "rejected", *(f"rejected_{one}" for one in REASONS))
        newest_s = int(self.past.incidents.occurred_s[counted - 1])
        point = PipelinePoint(
            region=REGION,
            tick_s=as_of_s - as_of_s % 60,
            as_of_s=as_of_s,
            totals={"consumed": counted, "counted": counted} | dict.fromkeys(none, 0),
            newest_event_s=newest_s,
            model=self.artifact.version,
        )
        return point.line(OURS | {"started_s": float(self.now_s - 3 * DAY_S)})


def open_world() -> World:
    artifact = read_artifact(newest_artifacts(ARTIFACTS)[REGION][0])
    table = read_incidents(SAMPLE, LAYOUTS["sample"])
    moved = replace(table, occurred_s=table.occurred_s + WEEKS * 7 * DAY_S)
    past = IncidentHistory.of(moved, artifact.spec, int(moved.occurred_s[-1]) + 1)
    return World(
        artifact=artifact,
        past=past,
        replay=Replay(past, state=artifact.history()),
        engine=FeatureEngine(artifact.spec, artifact.constants),
    )


def hours(world: World) -> Iterator[bytes]:
    """`outcome` points of every hour of four weeks."""
    first_s = world.artifact.manifest.data.cutoff_s + 6 * DAY_S
    last_s = world.now_s - HOURS_OF_MINUTES * HOUR_S
    for hour_s in range(first_s, last_s, HOUR_S):
        yield world.outcomes(world.frame(hour_s))


def minutes(world: World) -> Iterator[bytes]:
    """Scores of the newest hours, minute by minute; call it after `hours`."""
    busiest = None
    for as_of_s in range(world.now_s - HOURS_OF_MINUTES * HOUR_S, world.now_s + 1, 60):
        frame = world.frame(as_of_s)
        if busiest is None:
            busiest = int(frame.expected.sum(axis=(1, 2)).argmax())
        is_newest = as_of_s > world.now_s - 60 * _WHOLE_FRAMES
        for view in stored_views(frame, world.artifact.constants):
            mask = np.zeros(view.risk.shape, np.bool_)
            mask[slice(None) if is_newest else busiest] = True
            yield risk_lines(view, mask) + (top_lines(view, 10) if is_newest else b"")
        yield unusual_lines(frame) + world.pipeline(as_of_s)
