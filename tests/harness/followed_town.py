"""A follower of a small town, and what it learns from drawn hours."""

from datetime import UTC, datetime

import numpy as np

from models.dispersion import Dispersion
from models.follower import FinalOutcome, Follower, ScoreGain
from models.following import FollowerState
from schemas.spec import HOUR_S
from tests.harness.toy import toy_spec

SPEC = toy_spec(2, 3, region="town", timezone="America/Chicago")
SHAPE = (SPEC.grid.cells, len(SPEC.categories))
START_S = int(datetime(2026, 5, 4, tzinfo=UTC).timestamp())
DISPERSION = Dispersion.quadratic(np.full(len(SPEC.categories), 30.0))


def follower_of(spec=SPEC):
    gains = (ScoreGain.of(DISPERSION),) * len(spec.horizons_s)
    return Follower(spec=spec, profile=np.ones((2, 168)), gains=gains, step_s=HOUR_S)


FOLLOWER = follower_of()


def outcome(state, hour, raw, observed, horizon=0, follower=FOLLOWER):
    """raw: (cells, categories) in an hour."""
    tick_s = START_S + hour * HOUR_S
    shown = follower.at(state, tick_s)
    return FinalOutcome(horizon=horizon, tick_s=tick_s, raw=raw, observed=observed, following=shown)


def lived(counts, raw, state=None, begin=0):
    """The states after each hour. counts: (hours, cells, categories)."""
    states = [FollowerState.new(SPEC) if state is None else state]
    for hour, observed in enumerate(counts, start=begin):
        states.append(FOLLOWER.learn(states[-1], [outcome(states[-1], hour, raw, observed)]))
    return states
