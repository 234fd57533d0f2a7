"""The registry against a dictionary."""

from dataclasses import fields

import numpy as np
import pytest

from models.counting.count_registry import Records, Registry


def records_of(keys, draw, columns):
    numbers = {"occurred_s": "i8", "revision": "i4", "cell": "i4", "category": "i2", "flags": "u1", "latest_s": "i8"}
    drawn = {name: draw.integers(0, 99, len(keys)).astype(dtype) for name, dtype in numbers.items()}
    return Records(key=keys, **drawn, place=draw.integers(-99, 99, (len(keys), columns)).astype(np.int32))


def by_key(records):
    rows = zip(*(getattr(records, field.name).tolist() for field in fields(Records)), strict=True)
    return {row[0]: row for row in rows}


@pytest.mark.parametrize("columns", [0, 2])
def test_it_gives_back_what_it_was_told_last(columns):
    """Half of the keys have equal low bits: the longest probe chains."""
    draw, registry, told = np.random.default_rng(0), Registry(has_places=bool(columns)), {}
    numbers = np.arange(3000, dtype=np.uint64)
    every = np.where(numbers % 2, numbers << np.uint64(40), numbers)
    for _ in range(14):
        batch = records_of(draw.choice(every, 250, replace=False), draw, columns)
        registry.put(batch)
        told |= by_key(batch)
    for _ in range(2):
        assert len(registry) == len(told)
        assert by_key(registry.records()) == told
        entries = registry.find(every)
        assert entries.dtype == np.int32
        assert set(every[entries >= 0].tolist()) == set(told)
        assert by_key(registry.entries(entries[entries >= 0])) == told
        near = registry.entries(registry.near(np.array([20, 70]), 9))
        assert set(near.key.tolist()) == {key for key, row in told.items() if 11 <= row[1] <= 29 or 61 <= row[1] <= 79}
        registry.expire(50)
        told = {key: row for key, row in told.items() if row[6] >= 50}
    unpack = Records.unpack_placed if columns else Records.unpack
    again = unpack(batch.pack())
    for f in fields(Records):
        np.testing.assert_array_equal(getattr(again, f.name), getattr(batch, f.name))
        assert getattr(again, f.name).dtype == getattr(batch, f.name).dtype


def test_what_is_too_old_is_forgotten_once_it_is_a_quarter_of_all():
    registry, ages = Registry(), np.arange(8)
    batch = records_of(ages.astype(np.uint64), np.random.default_rng(0), 0)
    batch.latest_s[:] = ages
    registry.put(batch)
    for before_s, left in ((1, 8), (2, 6), (3, 6)):
        registry.expire(before_s)
        assert len(registry) == left
