"""Forecasts kept on the hour beside the checkpoint, and the points that compare them with what happened."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.artifact.untrusted_bytes import pack_arrays, read_regular_file, unpack_arrays
from models.counting.closed_horizons import last_grace_s
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


class Outcomes:
    """Keeps the first forecast of every hour, and judges it twice when a horizon has closed (see `closed_horizons`)."""

    def __init__(self, checkpoint: Path) -> None:
        self._folder = checkpoint / "outcomes"

    def keep(self, frame: RiskFrame, artifact: str) -> None:
        """Keep a frame whose tick is a whole hour, unless that hour has one. Raises CheckpointError on a full disk."""
        if frame.tick_s % HOUR_S:
            return
        path = self._path(frame.spec.region, frame.tick_s)
        if path.exists():
            return
        dispersion = load_artifact(artifact).constants.dispersion
        content = pack_arrays(
            {
                "spec": _as_array(frame.spec.fingerprint()),
                "model": _as_array(frame.model),
                "expected": frame.expected,
                "usual": frame.usual,
                "dispersion": dispersion,
            }
        )
        with write_errors(CheckpointError, path.parent, remedy="free disk space"):
            replace_file(path, content)
            self._forget(path.parent, frame.tick_s - max(frame.spec.horizons_s) - last_grace_s(frame.spec) - 2 * HOUR_S)

    def points(self, spec: Spec, closed: Sequence[ClosedCounts]) -> bytes:
        """`outcome`, `outcome_area` and `outcome_chance` lines of the horizons for which a forecast was kept."""
        parts = []
        for one in closed:
            forecast = self._read(self._path(spec.region, one.tick_s), spec)
            if forecast is not None:
                parts.append(closed_points(forecast, one, spec))
        return b"".join(parts)

    def _path(self, region: str, tick_s: int) -> Path:
        return self._folder / region / f"{tick_s}.npz"

    def _forget(self, folder: Path, before_s: int) -> None:
        for path in folder.glob("*.npz"):
            if path.stem.isdigit() and int(path.stem) < before_s:
                path.unlink()

    def _read(self, path: Path, spec: Spec) -> Forecast | None:
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
            dispersion=arrays["dispersion"],
        )


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
