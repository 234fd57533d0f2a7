"""A frame's digest tells any two frames apart."""

from dataclasses import fields, replace

import numpy as np
import pytest

from tests.harness.toy import toy_spec, toy_views

FRAME = toy_views(toy_spec())[0]
ARRAYS = [field.name for field in fields(FRAME) if isinstance(getattr(FRAME, field.name), np.ndarray)]


def test_equal_frames_have_equal_digests():
    assert toy_views(toy_spec())[0].digest() == FRAME.digest()


@pytest.mark.parametrize("name", ARRAYS)
def test_one_changed_number_of_any_array_gives_another_digest(name):
    changed = getattr(FRAME, name).copy()
    changed.flat[-1] += 1
    assert replace(FRAME, **{name: changed}).digest() != FRAME.digest()


@pytest.mark.parametrize("change", [{"as_of_s": FRAME.as_of_s + 1}, {"model": "another"}])
def test_another_time_or_model_gives_another_digest(change):
    assert replace(FRAME, **change).digest() != FRAME.digest()
