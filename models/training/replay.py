"""Replays an incident file in the order of time: the counts that the stream would have had, and what happened next."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from models.counting.count_registry import Calls, repeats
from models.counting.count_state import CountState
from models.files.incident_files import IncidentTable, places_of
from schemas.decode import incident_keys
from schemas.errors import DataError
from schemas.incidents import COUNTED_ORIGIN, Incidents
from schemas.spec import DAY_S, HOUR_S, Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentHistory:
    """The incidents of one region that lie inside its grid and before the cut-off, in the order of time.

    calls: what was reported of them, as the stream receives it. Where the spec merges repeated calls, an incident is a
    call that repeats no earlier one; else the two are the same.

    In cut hours the feed was silent, or many messages were refused. What is counted before a forecast includes them, as
    in the stream; what a forecast is about does not.
    """

    spec: Spec
    incidents: Incidents
    calls: Incidents
    first_s: int
    cutoff_s: int
    cut_hours: npt.NDArray[np.int64]  # since 1970, ascending
    calendar: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))  # of `Calendar.days`

    @classmethod
    def of(cls, table: IncidentTable, spec: Spec, cutoff_s: int) -> "IncidentHistory":
        """The history of a table's incidents."""
        return cls.placed(table, *spec.grid.locate(table.lat_deg, table.lon_deg), spec, cutoff_s)

    @classmethod
    def placed(
        cls,
        table: IncidentTable,
        cell: npt.NDArray[np.int32],
        inside: npt.NDArray[np.bool_],
        spec: Spec,
        cutoff_s: int,
    ) -> "IncidentHistory":
        """The history of incidents whose cells are known: (n,) the cell of each, and whether it lies inside."""
        chosen = np.flatnonzero(inside & (table.occurred_s < cutoff_s))
        count = len(chosen)
        calls = Incidents(
            key=incident_keys([table.incident_id(position) for position in chosen.tolist()]),
            revision=np.zeros(count, np.int32),
            occurred_s=table.occurred_s[chosen],
            received_ms=table.occurred_s[chosen] * 1000,
            cell=cell[chosen],
            category=table.category[chosen],
            flags=np.full(count, COUNTED_ORIGIN, np.uint8),
            place=places_of(table)[chosen],
            partition=np.zeros(count, np.int32),
            kafka_offset=chosen.astype(np.int64),
            kafka_time_ms=table.occurred_s[chosen] * 1000,
        )
        return cls(
            spec=spec,
            incidents=calls.select(~repeats(Calls.of(calls))) if spec.merges_calls else calls,
            calls=calls,
            first_s=int(table.occurred_s[0]),
            cutoff_s=cutoff_s,
            cut_hours=table.cut_hours,
        )

    def until(self, cutoff_s: int) -> "IncidentHistory":
        """The part of this history that was known at an earlier cut-off."""
        calls = self.calls.select(self.calls.occurred_s < cutoff_s)
        return replace(
            self,
            calls=calls,
            incidents=self.incidents.select(self.incidents.occurred_s < cutoff_s) if self.spec.merges_calls else calls,
            cutoff_s=cutoff_s,
        )

    def position(self, at_s: int) -> int:
        """How many incidents happened before `at_s`."""
        return int(np.searchsorted(self.incidents.occurred_s, at_s))

    def counts(self, start_s: int, stop_s: int) -> npt.NDArray[np.int32]:
        """(cells, categories) incidents in [start_s, stop_s)."""
        part = slice(self.position(start_s), self.position(stop_s))
        categories = len(self.spec.categories)
        place = self.incidents.cell[part].astype(np.intp) * categories + self.incidents.category[part]
        counts = np.bincount(place, minlength=self.spec.grid.cells * categories)
        return counts.astype(np.int32).reshape(-1, categories)

    def counts_before(self, day: int) -> npt.NDArray[np.int32]:
        """(cells, categories) incidents before a UTC day (days since 1970)."""
        return self.counts(self.first_s, day * DAY_S)

    def uncut(self, start_s: int, stop_s: int) -> npt.NDArray[np.intp]:
        """Positions of the incidents in [start_s, stop_s) outside of cut hours."""
        part = np.arange(self.position(start_s), self.position(stop_s))
        return part[~np.isin(self.incidents.occurred_s[part] // HOUR_S, self.cut_hours)]

    def cut_spans(self, start_s: int, stop_s: int) -> list[tuple[int, int]]:
        """The parts of [start_s, stop_s) that are cut out, in seconds."""
        first, last = np.searchsorted(self.cut_hours, [start_s // HOUR_S, -(-stop_s // HOUR_S)])
        hours = self.cut_hours[first:last].tolist()
        return [(max(hour * HOUR_S, start_s), min((hour + 1) * HOUR_S, stop_s)) for hour in hours]

    def clear_of_cuts(self, moments: Sequence[int], horizon_s: int) -> list[int]:
        """The moments whose forecasts are about no cut hour. Raises DataError when there is none."""
        clear = [at_s for at_s in moments if not self.cut_spans(at_s, at_s + horizon_s)]
        if moments and not clear:
            raise DataError(
                f"each of {len(moments)} moments has an hour that is cut out within {horizon_s // HOUR_S} h",
                remedy="find out why the feed was silent or its messages were refused, or give a longer span",
            )
        return clear

    def coming(self, as_of_s: int) -> npt.NDArray[np.int32]:
        """(cells, categories, horizons) incidents from `as_of_s` on: what a forecast made then is about."""
        return np.stack([self.counts(as_of_s, as_of_s + horizon) for horizon in self.spec.horizons_s], axis=-1)


def refuse_lag(spec: Spec, lag_s: int) -> None:
    """Raises DataError when incidents that are reported so late would not be counted."""
    if lag_s > spec.late_limit_s:
        raise DataError(f"incidents {lag_s} s late would not be counted", remedy=f"use at most {spec.late_limit_s} s")


class Replay:
    """Leads a CountState through the incidents of a region, only forward in time.

    An incident is counted `lag_s` seconds after it happened, at most the spec's limit for late ones. state: has counted
    all that happened before its own time; without it the replay starts with the first incident.
    """

    def __init__(self, past: IncidentHistory, lag_s: int = 0, state: CountState | None = None) -> None:
        refuse_lag(past.spec, lag_s)
        self.past, self.lag_s = past, lag_s
        if state is None:
            state = CountState(past.spec)
            state.advance(past.first_s)
        self.state = state
        self._counted = self._position(state.as_of_s)

    def lead_to(self, as_of_s: int) -> CountState:
        """The state at `as_of_s`, with all that happened before it; counted day by day, so that nothing is late."""
        while self.state.as_of_s < as_of_s:
            stop_s = min(self.state.as_of_s + DAY_S, as_of_s)
            until = self._position(stop_s - self.lag_s)
            self.state.apply(self.past.calls.select(np.arange(self._counted, until)), stop_s)
            self._counted = until
            self.state.registry.expire(self.state.asked_from_s)
        return self.state

    def _position(self, at_s: int) -> int:
        """How many calls happened before `at_s`."""
        return int(np.searchsorted(self.past.calls.occurred_s, at_s))
