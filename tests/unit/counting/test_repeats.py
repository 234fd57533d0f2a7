"""The rule for repeated calls, anywhere on the globe."""

import numpy as np
import pytest

from models.counting.repeated_calls import Calls, repeats
from schemas.incidents import fixed_places

PAIRS = 400


def calls_in_pairs(lat_deg, away_m, around):
    """Calls up to `around` radians from Greenwich, each followed by one that far away; no two pairs are near."""
    draw = np.random.default_rng(0)
    lat, lon = np.full(PAIRS, np.radians(lat_deg)), draw.uniform(-around, around, PAIRS)
    bearing, angle = np.where(np.arange(PAIRS) % 2, np.pi / 2, draw.uniform(0, 2 * np.pi, PAIRS)), away_m / 6_371_008.8
    lon[:4] = around
    to_lat = np.arcsin(np.sin(lat) * np.cos(angle) + np.cos(lat) * np.sin(angle) * np.cos(bearing))
    east = np.sin(bearing) * np.sin(angle) * np.cos(lat)
    to_lon = (lon + np.arctan2(east, np.cos(angle) - np.sin(lat) * np.sin(to_lat)) + np.pi) % (2 * np.pi) - np.pi
    return Calls(
        occurred_s=np.concatenate([np.arange(PAIRS) * 10_000, np.arange(PAIRS) * 10_000 + 1]),
        order=np.arange(2 * PAIRS, dtype=np.uint64),
        category=np.tile(np.arange(PAIRS) % 3, 2).astype(np.int16),
        place=fixed_places(np.degrees([*lat, *to_lat]), np.degrees([*lon, *to_lon])),
    )


@pytest.mark.parametrize("lat_deg", [0, 41, -60, 75, 89.99, -89.9965, 89.9999])
@pytest.mark.parametrize("around", [0.1, np.pi])
def test_a_call_repeats_one_up_to_200_metres_away_in_any_direction(lat_deg, around):
    for away_m, is_repeat in ((199.9, True), (200.1, False)):
        repeated = repeats(calls_in_pairs(lat_deg, away_m, around))
        assert repeated.dtype == np.bool_
        assert repeated.tolist() == [False] * PAIRS + [is_repeat] * PAIRS
