"""A city whose cells are all alike, in messages as producers send them: calls, and what visits discover."""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import numpy as np
import numpy.typing as npt

from models.cube import Floats
from schemas.decode import Messages
from schemas.event import Event, Origin
from schemas.spec import DAY_S, Spec

START_S = 1_704_067_200  # Monday, 2024-01-01 00:00 UTC
SIDE = 4  # cells
_PER_CELL = 10.0  # true incidents of a day in a cell, the same everywhere
_CALLED = 0.1  # of them, the share that somebody reports where reporting is usual


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualCity:
    """As much happens in every cell. Calls tell of a share of it; a visit of a day discovers the rest of that day."""

    spec: Spec
    category_shares: Floats  # (categories,) of the incidents
    reporting: Floats  # (cells,) of the usual share of calls

    @property
    def called(self) -> Floats:
        """(cells,) incidents of a day that somebody calls about."""
        return np.asarray(_PER_CELL * _CALLED * self.reporting)

    def messages(self, day: int, visited: npt.NDArray[np.intp], random: np.random.Generator) -> Messages:
        """What is sent of a day, counted from 0."""
        discovered = np.zeros(len(self.called))
        discovered[visited] = _PER_CELL - self.called[visited]
        values = self._drawn(day, self.called, "public_call", random)
        values += self._drawn(day, discovered, "officer_initiated", random)
        places, received_ms = np.arange(len(values)), np.full(len(values), (START_S + (day + 1) * DAY_S) * 1000)
        return Messages(values=values, partition=0 * places, kafka_offset=places, kafka_time_ms=received_ms)

    def _drawn(self, day: int, means: Floats, origin: Origin, random: np.random.Generator) -> list[bytes]:
        """Incidents of one origin as JSON. means: (cells,)."""
        counts = random.poisson(means[:, None] * self.category_shares)
        cell, category = np.repeat(np.indices(counts.shape).reshape(2, -1), counts.ravel(), axis=1)
        occurred_s = START_S + day * DAY_S + random.integers(0, DAY_S, len(cell))
        lat_deg, lon_deg = (of_cells[cell].tolist() for of_cells in self.spec.grid.centres())
        events = (
            Event(
                incident_id=f"{day}-{origin}-{number}",
                region=self.spec.region,
                occurred_at=datetime.fromtimestamp(at_s, UTC),
                category=self.spec.categories[category[number]],
                lat=lat_deg[number],
                lon=lon_deg[number],
                origin=origin,
            )
            for number, at_s in enumerate(occurred_s.tolist())
        )
        return [msgspec.json.encode(event) for event in events]
