"""A small region, its artifact and its events."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from models.features import feature_names
from models.untrained import write_untrained
from schemas.grid import Grid
from schemas.spec import Spec


@dataclass(frozen=True)
class Region:
    """A region of 6 x 6 cells without history, whose clock starts at `start_s`."""

    spec: Spec
    start_s: int

    def publish(self, artifacts, *, created="20260101T000000Z"):
        return write_untrained(artifacts, self.spec, per_day=5, cutoff_s=self.start_s, created=created)

    def event(self, number, *, cell, at_s, **changes):
        """A valid event, as bytes."""
        lat, lon = self.spec.grid.centres()
        record = {
            "incident_id": f"{self.spec.region}-{number}",
            "region": self.spec.region,
            "occurred_at": datetime.fromtimestamp(at_s, UTC).isoformat(),
            "category": self.spec.categories[number % len(self.spec.categories)],
            "lat": float(lat[cell]),
            "lon": float(lon[cell]),
            "origin": "public_call",
        }
        return json.dumps({**record, **changes}).encode()


def make_region(name, *, south_deg=41.0, categories=("fire", "ems")):
    grid = Grid(south_deg=south_deg, west_deg=-88.0, cell_m=1000, rows=6, cols=6)
    spec = Spec(region=name, timezone="America/Chicago", grid=grid, categories=categories, features=feature_names())
    return Region(spec, 1_700_000_000)
