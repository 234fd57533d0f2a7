"""The live map page: one HTML file that contains its data and shows by itself when they are old."""

import base64
import hashlib
import html
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import DataError, SinkError
from schemas.files import replace_file, write_errors
from schemas.frame import RiskFrame
from schemas.grid import Grid
from streaming.flow.ledger import OUTCOMES_SHOWN
from streaming.flow.rows import Published
from streaming.page.parts import filled, joined, part

LEVEL_FLOOR = 1e-7  # smaller values are shown as zero
LEVEL_STEP = math.log(1e5 / LEVEL_FLOOR) / 65_534  # one step is 0.042 %: finer than any figure on the page
STALE_INTERVALS = 3  # ticks or refreshes that may be missed before the picture counts as old


@dataclass(frozen=True, slots=True, kw_only=True)
class MapView:
    """What the page shows: the newest frame of each region and what happened to its messages."""

    title: str
    clock: Literal["wall", "event"]
    refresh_s: float  # how often the page loads itself again
    frames: tuple[RiskFrame, ...] = ()  # one per region
    written_at_s: float = 0.0  # wall clock, epoch seconds UTC
    ledger: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # region -> outcome -> messages so far
    last_event_s: Mapping[str, int | None] = field(default_factory=dict)  # region -> its clock at its newest incident
    finished: bool = False  # the job has ended: nothing will replace this page


@dataclass(slots=True)
class MapWatch:
    """Writes the page after a batch, at most every `refresh_s`; `finish` marks it as no longer live."""

    path: Path
    view: MapView
    now_s: Callable[[], float] = time.time

    def show(self, published: Published) -> None:
        summaries = published.summaries.items()
        ledger = {
            region or "unassigned": {name: one.totals[name] for name in OUTCOMES_SHOWN if name in one.totals}
            for region, one in summaries
        }
        last_event_s = {region: one.newest_event_s or None for region, one in summaries}
        frames = {**{frame.spec.region: frame for frame in self.view.frames}, **published.frames}
        self.view = replace(
            self.view,
            frames=tuple(frame for _, frame in sorted(frames.items())),
            ledger={**self.view.ledger, **ledger},
            last_event_s={**self.view.last_event_s, **last_event_s},
        )
        if published.done_s - self.view.written_at_s >= self.view.refresh_s:
            self._write()

    def finish(self) -> None:
        self.view = replace(self.view, finished=True)
        self._write()

    def _write(self) -> None:
        if self.view.frames:
            self.view = replace(self.view, written_at_s=self.now_s())
            write_page(self.path, render(self.view))


def render(view: MapView) -> str:
    """The page as HTML: no network, no inline handler, a policy that lets only its own script run.

    Equal views give equal text. Raises DataError when there is no frame.
    """
    if not view.frames:
        raise DataError("there is no frame to draw", remedy="write the map page after the first score")
    style, script = part("page.css"), joined("from_file.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    return filled(
        title=html.escape(view.title),
        head=f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{style}</style>',
        data=f'<script type="application/json" id="page-data">{_data_block(view)}</script>\n<script>{script}</script>',
    )


def write_page(path: Path, page: str) -> None:
    """Write `page` to `path` in one step, so that no browser ever loads half of it. Raises SinkError."""
    with write_errors(SinkError, f"map page {path}", remedy="choose another path"):
        replace_file(path, page.encode(), outlives_power_cut=False)


def quantise(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint16]:
    """Logarithmic codes of values from 0 to 1e5, same shape: 0 below LEVEL_FLOOR, else steps of LEVEL_STEP."""
    codes = 1 + np.rint(np.log(np.maximum(values, LEVEL_FLOOR) / LEVEL_FLOOR) / LEVEL_STEP)
    return np.where(values < LEVEL_FLOOR, 0, np.minimum(codes, 65_535)).astype(np.uint16)


def _hash(text: str) -> str:
    """Of a style or a script, as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data_block(view: MapView) -> str:
    """JSON that is safe inside a script element: no character in it can end the element."""
    data = {
        "written_at_s": int(view.written_at_s),
        "clock": view.clock,
        "refresh_s": view.refresh_s,
        "finished": view.finished,
        "stale_intervals": STALE_INTERVALS,
        "level_floor": LEVEL_FLOOR,
        "level_step": LEVEL_STEP,
        "regions": [_region(frame, view) for frame in view.frames],
    }
    text = msgspec.json.encode(data).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _region(frame: RiskFrame, view: MapView) -> dict[str, Any]:
    """One region's numbers, for its active cells only: arrays are (categories, horizons, active), flattened."""
    spec = frame.spec
    active = np.flatnonzero((frame.support > 0).any(axis=1) | (frame.observed_1h > 0).any(axis=1))

    def packed(values: npt.NDArray[np.floating[Any]]) -> str:
        return _base64(quantise(values[active].transpose(1, 2, 0)))

    def listed(values: npt.NDArray[Any]) -> str:
        numbers = np.moveaxis(values[active], 0, -1).ravel().tolist()
        return ",".join(f"{value:.3g}" if value else "" for value in numbers)  # most are 0: an empty text is 0

    return {
        "region": spec.region,
        "timezone": spec.timezone,
        "tick_s": spec.tick_s,
        "as_of_s": frame.as_of_s,
        "last_event_s": view.last_event_s.get(spec.region),
        "model": frame.model,
        "baseline_only": frame.baseline_only,
        "ledger": [*view.ledger.get(spec.region, {}).items(), *_of_no_region(view)],
        **_place(spec.grid),
        "categories": spec.categories,
        "horizons": spec.horizon_names,
        "whole_expected": _sums(frame.expected),
        "whole_usual": _sums(frame.usual),
        "active": _base64(active.astype(np.uint16)),
        "expected": packed(frame.expected),
        "risk": packed(frame.risk),
        "usual": packed(frame.usual),
        "low": listed(frame.low),
        "high": listed(frame.high),
        "observed_1h": listed(frame.observed_1h),
        "support": "".join(map(str, frame.support[active].T.ravel().tolist())),
    }


def _place(grid: Grid) -> dict[str, float]:
    per_lat, per_lon = grid.metres_per_degree
    steps = {"cell_lat_deg": grid.cell_m / per_lat, "cell_lon_deg": grid.cell_m / per_lon}
    return {**msgspec.structs.asdict(grid), **steps}


def _sums(values: npt.NDArray[np.float32]) -> list[list[float]]:
    """Sums over all cells, (categories, horizons), to 4 decimals."""
    return [[round(value, 4) for value in line] for line in values.sum(axis=0, dtype=np.float64).tolist()]


def _base64(values: npt.NDArray[np.uint16]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<u2").tobytes()).decode()


def _of_no_region(view: MapView) -> list[tuple[str, int]]:
    """Messages that are in no region's ledger, because they name no known region."""
    consumed = view.ledger.get("unassigned", {}).get("consumed", 0)
    return [("refused, of no region", consumed)] if consumed else []
