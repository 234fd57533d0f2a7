"""A region as its artifact's manifest says it, for the recount, which imports nothing of the product."""

import math
from dataclasses import dataclass

from tests.faults.outcomes import HOUR_S


@dataclass(frozen=True)
class Region:
    """One region's spec, as the artifact's manifest says it. Edges in degrees."""

    name: str
    categories: tuple
    horizons: tuple
    timezone: str
    lat_edges: tuple
    lon_edges: tuple
    slide_s: int
    tick_s: int
    late_limit_s: int
    future_limit_s: int
    start_s: int  # the end of the artifact's history: the clock at first
    history_end_s: int  # the same, but 0 where the history is empty: what was first told with an earlier time is in it
    history: tuple = ()  # (cell, category, occurred_s) of what it holds, which no manifest says
    merges: bool = False  # calls that repeat another do not count
    joins_s: float = 0.0  # when its artifact was published, by the machine's clock; 0 before the job began

    @classmethod
    def of(cls, manifest, joins_s=0.0):
        spec, grid = manifest["spec"], manifest["spec"]["grid"]
        per_lat, per_lon = metres_per_degree(grid["south_deg"], grid["rows"] * grid["cell_m"])
        return cls(
            name=spec["region"],
            categories=tuple(spec["categories"]),
            horizons=tuple(f"{seconds // HOUR_S}h" for seconds in spec["horizons_s"]),
            timezone=spec["timezone"],
            lat_edges=tuple(grid["south_deg"] + i * grid["cell_m"] / per_lat for i in range(grid["rows"] + 1)),
            lon_edges=tuple(grid["west_deg"] + i * grid["cell_m"] / per_lon for i in range(grid["cols"] + 1)),
            slide_s=spec["slide_s"],
            tick_s=spec["tick_s"],
            late_limit_s=spec["late_limit_s"],
            future_limit_s=spec["future_limit_s"],
            start_s=manifest["data"]["cutoff_s"],
            history_end_s=manifest["data"]["cutoff_s"] if manifest["data"]["incidents"] else 0,
            merges=spec.get("merge") == "repeated_calls",
            joins_s=joins_s,
        )

    @property
    def cells(self):
        return [f"r{r:03d}c{c:03d}" for r in range(len(self.lat_edges) - 1) for c in range(len(self.lon_edges) - 1)]

    def cell_of(self, lat, lon):
        row = sum(edge <= lat for edge in self.lat_edges) - 1
        col = sum(edge <= lon for edge in self.lon_edges) - 1
        inside = 0 <= row < len(self.lat_edges) - 1 and 0 <= col < len(self.lon_edges) - 1
        return f"r{row:03d}c{col:03d}" if inside else None


def metres_per_degree(south_deg, height_m):
    """Of latitude and longitude at the grid's middle latitude: WGS 84 radii of curvature M and N."""
    a, e2 = 6_378_137.0, 6.694379990141316e-3
    middle = math.radians(south_deg)
    for _ in range(3):
        w = 1 - e2 * math.sin(middle) ** 2
        per_lat = math.radians(a * (1 - e2) / w**1.5)
        middle = math.radians(south_deg + height_m / per_lat / 2)
    w = 1 - e2 * math.sin(middle) ** 2
    return per_lat, math.radians(a / math.sqrt(w) * math.cos(middle))


def neighbours(cell):
    """The cell itself and the eight around it, also those beyond the grid."""
    row, col = int(cell[1:4]), int(cell[5:8])
    return [f"r{r:03d}c{c:03d}" for r in range(row - 1, row + 2) for c in range(col - 1, col + 2)]
