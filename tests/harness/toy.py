"""A region of a few cells: its spec, constants, incidents, masks, artifacts. A test names only what it changes."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from models.artifact import DataSource, write_artifact, write_untrained
from models.baseline import BaselineConstants
from models.counting.count_state import CountState
from models.dispersion import Dispersion
from models.features import feature_names
from models.files.incident_files import IncidentTable
from models.following import FollowerState
from models.local_time import DAY_BLOCKS, HOURS
from models.network import NetworkShape, ResidualNetwork
from models.network_kinds import TunedOn
from models.scoring import stored_views
from models.training.replay import IncidentHistory
from schemas.decode import Messages
from schemas.fine import square_edges
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS, RiskFrame
from schemas.grid import Grid
from schemas.spec import Spec
from streaming.flow.rows import Published, QueryFacts

CUTOFF_S = 1_700_000_000  # up to here the toy artifacts know incidents
CREATED = "20260101T000000Z"


def toy_grid(rows=3, cols=3, *, south_deg=41.0, west_deg=-87.0, cell_m=1000):
    return Grid(south_deg=south_deg, west_deg=west_deg, cell_m=cell_m, rows=rows, cols=cols)


def toy_spec(rows=3, cols=3, **changes):
    """rows x cols cells of a kilometre, two categories, UTC, all features."""
    fields = {
        "region": "toyville",
        "timezone": "UTC",
        "grid": toy_grid(rows, cols),
        "categories": ("fire", "ems"),
        "features": feature_names(),
    }
    return Spec(**{**fields, **changes})


# Where the examples of the contract (schemas/examples) happen.
RIVERTON = toy_spec(
    grid=toy_grid(48, 48, south_deg=41.3, west_deg=-87.9),
    region="riverton",
    timezone="America/Chicago",
    categories=("traffic_injury", "structure_fire", "medical"),
)


def toy_constants(spec, **changes):
    """Every category alike at all hours and in all cells, one incident a day."""
    categories = len(spec.categories)
    fields = {
        "half_life_days": np.array(60.0),
        "level_half_life_days": np.array(60.0),
        "shrink_days": np.full(categories, 5.0),
        "profile": np.ones((categories, HOURS)),
        "day_lift": np.ones((spec.grid.cells, categories, DAY_BLOCKS)),
        "mean_per_day": np.ones(categories),
        "dispersion": Dispersion.quadratic(np.full((categories, len(spec.horizons_s)), 3.0)),
        "first_day": np.array(1.0),
    }
    return BaselineConstants(**{**fields, **changes})


def toy_table(occurred_s, *, category=0, **changes):
    """Incidents at these times, in their order; one place and one category unless others are given."""
    count = len(occurred_s)
    fields = {
        "layout": "town",
        "timezone": "UTC",
        "occurred_s": np.asarray(occurred_s, np.int64),
        "lat_deg": np.full(count, 41.01),
        "lon_deg": np.full(count, -86.99),
        "category": np.full(count, category, np.int16),
        "row": np.arange(1, count + 1),
        "categories": ("ems", "fire"),
    }
    return IncidentTable(**{**fields, **changes})


def toy_history(spec, occurred_s, cutoff_s, *, cell=0, category=0, **changes):
    """What happened at these times up to a cut-off; cell and category: one for all, or one for each."""
    order = np.argsort(occurred_s, kind="stable")
    cell, category = (np.broadcast_to(of, len(order))[order] for of in (cell, category))
    lat_deg, lon_deg = (of[cell] for of in spec.grid.centres())
    table = toy_table(
        np.asarray(occurred_s)[order],
        timezone=spec.timezone,
        lat_deg=lat_deg,
        lon_deg=lon_deg,
        category=category.astype(np.int16),
        categories=spec.categories,
        **changes,
    )
    return IncidentHistory.of(table, spec, cutoff_s)


def table_in_cells(spec, occurred_s, cell, category):
    """Incidents in the middles of these cells; the table has them in the order of time."""
    order = np.argsort(occurred_s, kind="stable")
    lat_deg, lon_deg = (of_cells[cell[order]] for of_cells in spec.grid.centres())
    places = {"lat_deg": lat_deg, "lon_deg": lon_deg, "categories": spec.categories}
    return toy_table(occurred_s[order], category=category[order].astype(np.int16), **places)


def toy_state(spec, as_of_s, at_s=(), place=()):
    """What is counted until then of incidents at these times and places: cell x categories + category."""
    state = CountState(spec)
    state.advance(as_of_s)
    for level in state.levels.values():
        level.add(np.asarray(at_s, np.int64), np.asarray(place, np.intp), 1)
    return state


def toy_artifact(folder, spec, *, cutoff_s=CUTOFF_S, created=CREATED):
    """An artifact without a network and without history. Gives its folder."""
    return write_untrained(folder, spec, per_day=5, cutoff_s=cutoff_s, created=created)


def publish_artifact(folder, *, history, **parts):
    """An artifact of these parts, those of `write_artifact`; its data are none. Gives its folder."""
    cutoff_s = history.as_of_s
    data = DataSource(file_name="none", sha256="", layout="none", incidents=0, first_s=0, cutoff_s=cutoff_s)
    return write_artifact(
        folder, history=history, **{"data": data, "created": CREATED, "card": "# of a test\n", **parts}
    )


def toy_network(spec):
    """As it begins: without a say in any score."""
    shape = NetworkShape(inputs=len(spec.features), categories=len(spec.categories), horizons=len(spec.horizons_s))
    return ResidualNetwork(shape).eval()


def iso(epoch_s):
    return datetime.fromtimestamp(epoch_s, UTC).isoformat()


def toy_event(spec, *, at_s, cell, **changes):
    """A valid event in the middle of a cell, as bytes."""
    lat, lon = spec.grid.centres()
    place = {"lat": float(lat[cell]), "lon": float(lon[cell])}
    fields = {"region": spec.region, "occurred_at": iso(at_s), "category": spec.categories[0], **place, **changes}
    return json.dumps(toy_record(**fields)).encode()


def square_bounds(grid, fine, cell, square):
    """South, west, north and east of a square of a cell, degrees."""
    (row, col), (south, west) = divmod(cell, grid.cols), divmod(square, fine)
    lat, lon = (edges.tolist() for edges in square_edges(grid, fine))
    row, col = row * fine + south, col * fine + west
    return lat[row], lon[col], lat[row + 1], lon[col + 1]


def toy_record(**changes):
    """The fields of an event; region, time and place are still to be given."""
    return {"incident_id": "A-1", "category": "fire", "origin": "public_call", **changes}


def toy_messages(values, time_ms, *, partition=0, offset=None):
    """A slice of a topic. One time and partition for all or one for each; offsets from 0 unless they are given."""
    count = len(values)
    return Messages.of(
        values,
        partition=np.full(count, partition, np.int32),
        kafka_offset=np.arange(count) if offset is None else np.asarray(offset, np.int64),
        kafka_time_ms=np.full(count, time_ms, np.int64),
    )


def toy_frame(spec, expected=0.0, **changes):
    """Scores of a Poisson count: `expected` everywhere, or an array of it; twice the usual, nothing seen."""
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    expected = np.full(shape, expected, np.float32)
    fields = {
        "as_of_s": CUTOFF_S,
        "model": "toy",
        "expected": expected,
        "risk": -np.expm1(-expected),
        "low": np.zeros(shape, np.float32),
        "high": np.ceil(expected * 3),
        "usual": expected / 2,
        "observed_1h": np.zeros(shape[:2], np.int32),
        "support": np.zeros(shape[:2], np.uint8),
        "attribution": np.ones((0, 1, 1, len(ATTRIBUTION_GROUPS)), np.float32),
    }
    return RiskFrame(spec=spec, **{**fields, **changes})


def toy_views(spec, *, as_of_s=CUTOFF_S, model="toy", seed=7, unusual=(), most_support=2):
    """A frame with drawn numbers, and its view over all categories, as a job publishes them. 0: no history."""
    rng = np.random.default_rng(seed)
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    expected = rng.gamma(0.3, 1.0, shape).astype(np.float32)
    ranks = min(ATTRIBUTED_RANKS, spec.grid.cells)
    frame = toy_frame(
        spec,
        expected,
        as_of_s=as_of_s,
        model=model,
        usual=(expected * rng.uniform(0.5, 2, shape)).astype(np.float32),
        observed_1h=rng.poisson(0.1 * bool(most_support), shape[:2]).astype(np.int32),
        support=rng.integers(0, most_support + 1, shape[:2]).astype(np.uint8),
        attribution=rng.uniform(0.5, 2, (ranks, *shape[1:], len(ATTRIBUTION_GROUPS))).astype(np.float32),
        unusual=unusual,
    )
    return stored_views(frame, toy_constants(spec))


def state_of(spec, level):
    """A follower's state: of 10,000 expected in each category `level` times as many came, and a change is certain."""
    new = FollowerState.new(spec)
    counts = np.multiply.outer([level * 1e4, 1e4, 0.0], np.ones_like(new.level[0]))
    return replace(new, level=counts, still=np.full_like(new.still, 1e-9))


def toy_published(batch_id, **changes):
    """A stored batch of which nothing is known."""
    fields = dict.fromkeys(("points", "retries", "dropped", "seconds", "done_s", "acknowledged_s", "unaccounted"), 0)
    fields |= {
        "frames": {},
        "views": {},
        "summaries": {},
        "artifacts": {},
        "following": {},
        "unfollowed": {},
        "changes": {},
        "facts": QueryFacts(),
    }
    return Published(batch_id=batch_id, **fields | changes)


def toy_tuned_on(**changes):
    fields = {"data_sha256": "0", "layout": "made", "cell_m": 1000, "task": "toyville", "objective": "loss"}
    fields |= {"seed": 0, "trials": 9, "made_at": CREATED}
    return TunedOn(**fields | changes)


def mask_file(path, *rings):
    """Write a GeoJSON file with a polygon for each closed ring of (lon, lat), and give the path."""
    features = [
        {"type": "Feature", "properties": None, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for ring in rings
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def box(west, south, east, north):
    """Closed ring of a rectangle in degrees."""
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]
