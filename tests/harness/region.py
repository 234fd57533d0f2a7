"""A small region, its artifact and its events."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import torch

from models.artifact import read_artifact
from schemas.grid import Grid
from schemas.spec import Spec
from tests.harness.toy import publish_artifact, toy_artifact, toy_event, toy_network, toy_spec


@dataclass(frozen=True)
class Region:
    """A region of 6 x 6 cells, whose clock starts at `start_s`."""

    spec: Spec
    start_s: int

    def publish(self, artifacts, *, created="20260101T000000Z", past=()):
        """An artifact with an opinion: every version's network makes other scores of the same features.

        past: (cell, category, time), numbers, of each incident in its history.
        """
        with TemporaryDirectory() as scratch:
            plain = read_artifact(toy_artifact(Path(scratch), self.spec, cutoff_s=self.start_s, created=created))
            history, (cell, category, at_s) = plain.history(), np.array(past, int).reshape(-1, 3).T
            for level in history.levels.values():
                level.add(at_s, cell * len(self.spec.categories) + category, 1)
            return publish_artifact(
                artifacts,
                spec=plain.spec,
                constants=plain.constants,
                network=opinionated(self.spec, seed=int(created[:8])),
                history=history,
                created=created,
                data=msgspec.structs.replace(plain.manifest.data, incidents=len(past)),
            )

    def event(self, number, *, cell, at_s, **changes):
        """A valid event, as bytes."""
        fields = {
            "incident_id": f"{self.spec.region}-{number}",
            "category": self.spec.categories[number % len(self.spec.categories)],
        }
        return toy_event(self.spec, at_s=at_s, cell=cell, **{**fields, **changes})


def opinionated(spec, *, seed):
    """A network that was drawn: it moves scores by some ten percent, each feature has its say."""
    torch.manual_seed(seed)
    network = toy_network(spec)
    torch.nn.init.normal_(network.category.weight)
    torch.nn.init.normal_(network.leave.weight, std=0.1)
    return network


def make_region(name, *, south_deg=41.0, categories=("fire", "ems"), start_s=1_700_000_000, merge="none"):
    grid = Grid(south_deg=south_deg, west_deg=-88.0, cell_m=1000, rows=6, cols=6)
    spec = toy_spec(grid=grid, region=name, timezone="America/Chicago", categories=categories, merge=merge)
    return Region(spec, start_s)
