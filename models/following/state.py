"""What a region's follower (follower.py) knows: arrays that are kept as a file, and read again to the bit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.dispersion import Floats
from schemas.errors import DataError
from schemas.spec import Spec

FILTERS = ("level", "hours", "cells")
GUARDS = len(FILTERS)  # the row of `still` with the first horizon's guard; after the guards the longer horizons' levels
_MOST = 1e12  # far around what counts, seconds and nats can come to; sums of it are finite
STILL = 0.7  # chance that nothing changes, before anything is learned


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerState:
    """What a region's follower knows. Its arrays are never changed in place.

    The first axis of the filters: discounted counts O, discounted expectation E, expectation since the last incident.
    """

    level: Floats  # (3, categories, 1)
    hours: Floats  # (3, categories, 24)
    cells: Floats  # (3, categories, cells)
    still: Floats  # (2 + 2 x horizons, categories) chances that nothing changes: filters, guards, longer levels
    evidence: Floats  # of the same shape: nats for a change since the last incident
    waited_s: Floats  # () that was learned of since the last incident
    silent_until_s: Floats  # () end of the last stretch that was forgotten

    @classmethod
    def new(cls, spec: Spec) -> Self:
        """The state of a first champion: all factors are 1."""
        empty = {name: np.zeros(shape) for name, shape in _shapes(spec).items()}
        return cls(**{**empty, "still": empty["still"] + STILL})

    def arrays(self) -> dict[str, Floats]:
        """The state as it is stored."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    @classmethod
    def checked(cls, arrays: Mapping[str, npt.NDArray[Any]], spec: Spec) -> Self:
        """The state that was stored as `arrays`. Raises DataError where it is not one of the region's."""
        of_file = {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
        if of_file != {name: (shape, "<f8") for name, shape in _shapes(spec).items()}:
            raise DataError("the follower's state has other arrays than the region needs", "start it anew")
        lows = {name: -np.inf if name == "evidence" else 0.0 for name in arrays}
        is_possible = ((np.abs(array) < _MOST).all() and (array >= lows[name]).all() for name, array in arrays.items())
        if not all(is_possible) or (arrays["still"] > 1).any():
            raise DataError("the follower's state has impossible numbers", "start it anew")
        return cls(**arrays)


def _shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    categories, races = len(spec.categories), GUARDS + 2 * len(spec.horizons_s) - 1
    wide = {"level": 1, "hours": 24, "cells": spec.grid.cells}
    filters = {name: (3, categories, places) for name, places in wide.items()}
    return {
        **filters,
        "still": (races, categories),
        "evidence": (races, categories),
        "waited_s": (),
        "silent_until_s": (),
    }


def waiting(state: FollowerState, waits: Iterable[Floats]) -> dict[str, Floats]:
    """The filters' sums as they are, and an expectation that waits."""
    return {name: np.stack([*getattr(state, name)[:2], more]) for name, more in zip(FILTERS, waits, strict=True)}


def forgotten(state: FollowerState, silent_until_s: int) -> FollowerState:
    """The state after a stretch in which the feed was silent: nothing waits any more."""
    none = {"evidence": np.zeros_like(state.evidence), "waited_s": np.zeros(())}
    none |= waiting(state, [np.zeros_like(getattr(state, name)[2]) for name in FILTERS])
    return replace(state, silent_until_s=np.array(float(silent_until_s)), **none)
