"""Forecasts kept on the hour beside the checkpoint, and the points that compare them with what happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.artifact.untrusted_bytes import pack_arrays, read_regular_file, unpack_arrays
from models.counting.closed_horizons import last_grace_s
from models.dispersion import Dispersion
from models.hour_of_week import hour_of_week
from models.measures.outcomes import Forecast, by_chance, by_district, judge
from schemas.errors import ArtifactError, CheckpointError
from schemas.files import replace_file, write_errors
from schemas.frame import RiskFrame
from schemas.limits import MAX_HISTORY_BYTES
from schemas.spec import HOUR_S, Spec
from streaming.flow.rows import ClosedCounts
from streaming.roster.roster import load_artifact
from streaming.sinks.line_protocol import point_line


@dataclass(frozen=True, slots=True)
class KeptForecasts:
    """Forecasts of whole hours as files in a folder for each region. Raises CheckpointError."""

    folder: Path

    def path(self, region: str, tick_s: int) -> Path:
        return self.folder / region / f"{tick_s}.npz"

    def write(self, forecast: Forecast, spec: Spec, tick_s: int) -> None:
        """Keep a forecast, unless its hour has one, and delete those that have been judged twice."""
        path = self.path(spec.region, tick_s)
        if path.exists():
            return
        content = pack_arrays(
            {
                "spec": _as_array(spec.fingerprint()),
                "model": _as_array(forecast.model),
                "expected": forecast.expected,
                "usual": forecast.usual,
                "dispersion": forecast.dispersion.r,
                "dispersion_power": forecast.dispersion.power,
                "usual_dispersion": forecast.usual_dispersion.r,
                "usual_dispersion_power": forecast.usual_dispersion.power,
            }
        )
        oldest_s = tick_s - max(spec.horizons_s) - last_grace_s(spec) - 2 * HOUR_S
        with write_errors(CheckpointError, path.parent, remedy="free disk space"):
            replace_file(path, content)
            for old in path.parent.glob("*.npz"):
                if old.stem.isdigit() and int(old.stem) < oldest_s:
                    old.unlink()

    def read(self, spec: Spec, tick_s: int) -> Forecast | None:
        """The forecast of an hour; None when there is none for this spec."""
        path = self.path(spec.region, tick_s)
        if not path.exists():
            return None
        try:
            arrays = unpack_arrays(read_regular_file(path, MAX_HISTORY_BYTES), path, MAX_HISTORY_BYTES)
        except ArtifactError as error:
            raise CheckpointError(
                f"{path} is damaged ({error})", remedy="delete it: that hour stays without an outcome"
            ) from error
        if "spec" not in arrays or _as_text(arrays["spec"]) != spec.fingerprint():
            return None  # written before a new checkpoint, for another grid or other categories
        return Forecast(
            model=_as_text(arrays["model"]),
            expected=arrays["expected"],
            usual=arrays["usual"],
            dispersion=_dispersion(arrays, "dispersion"),
            usual_dispersion=_dispersion(arrays, "usual_dispersion"),
        )


class Outcomes:
    """Keeps the first forecast of every hour, and judges it twice when a horizon has closed (see `closed_horizons`)."""

    def __init__(self, checkpoint: Path) -> None:
        self.kept = KeptForecasts(checkpoint / "outcomes")

    def keep(self, frame: RiskFrame, artifact: str) -> None:
        """Keep a frame whose tick is a whole hour, unless that hour has one. Raises CheckpointError on a full disk."""
        if frame.tick_s % HOUR_S == 0:
            constants, of_network = load_artifact(artifact).constants, not frame.baseline_only
            forecast = Forecast.of(frame.model, frame.expected, frame.usual, constants, of_network=of_network)
            self.kept.write(forecast, frame.spec, frame.tick_s)

    def points(self, spec: Spec, closed: Sequence[ClosedCounts]) -> bytes:
        """`outcome`, `outcome_area` and `outcome_chance` lines of the horizons for which a forecast was kept."""
        forecasts = ((one, self.kept.read(spec, one.tick_s)) for one in closed)
        return b"".join(closed_points(forecast, one, spec) for one, forecast in forecasts if forecast is not None)


def _dispersion(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> Dispersion:
    return Dispersion(r=arrays[name], power=arrays[f"{name}_power"])


def _as_array(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _as_text(array: npt.NDArray[np.uint8]) -> str:
    return array.tobytes().decode()


def closed_points(forecast: Forecast, closed: ClosedCounts, spec: Spec) -> bytes:
    """A forecast compared with what happened, as line protocol at the forecast's own time."""
    counts = closed.unpack(spec)
    weekday, hour = divmod(int(hour_of_week(np.array([closed.tick_s]), spec.timezone)[0]), 24)
    # Weekday (Monday is 1) and hour are local, when the horizon began.
    moment = {"weekday": weekday + 1, "hour": hour, "closed_s": closed.judged_s}
    where = {"horizon": spec.horizon_names[closed.horizon], "region": spec.region}
    lines = []

    def add(measurement: str, tags: Mapping[str, str], fields: Mapping[str, float | int | str]) -> None:
        lines.append(point_line(measurement, {**tags, **where}, fields, closed.tick_s))

    for category, values in judge(forecast, counts, spec).items():
        add("outcome", {"category": category}, {**values, **moment, "model": forecast.model})
    for (category, district), (expected, observed) in by_district(forecast, counts, spec).items():
        tags = {"category": category, "district": f"{district:02d}"}
        add("outcome_area", tags, {"expected": expected, "observed": observed})
    for (category, least), (cells, said, came) in by_chance(forecast, counts, spec).items():
        tags = {"category": category, "chance": f"{round(100 * least):02d}"}
        add("outcome_chance", tags, {"cells": cells, "said": said, "came": came})
    return b"".join(lines)
