"""The artifact's history: counts up to the data's cut-off, from bytes that are not trusted."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.counting.blobs import export_state, restore_state
from models.counting.count_state import CountState
from schemas.arrays import pack_arrays, unpack_arrays
from schemas.errors import ArtifactError
from schemas.incidents import are_places
from schemas.limits import MAX_HISTORY_BYTES
from schemas.spec import Spec

_PARTS = frozenset({"layout", "clock", "history_end", "first_day", "b", "r"})


def pack_history(state: CountState) -> bytes:
    """All of a state as the bytes of an .npz, one array of bytes for each blob."""
    return pack_arrays({name: np.frombuffer(blob, np.uint8) for name, blob in export_state(state).items()})


def unpack_history(packed: bytes, path: Path, spec: Spec, *, first_day: int, cutoff_s: int) -> CountState:
    """A new state at `cutoff_s`, whose history begins with `first_day` and ends there unless it is empty.

    Raises ArtifactError unless every count and record lies inside the spec.
    """
    arrays = unpack_arrays(packed, path, MAX_HISTORY_BYTES)
    try:
        state = restore_state(spec, {name: _bytes(name, array) for name, array in arrays.items()})
    except (ValueError, KeyError, IndexError, OverflowError, MemoryError, msgspec.DecodeError) as error:
        raise ArtifactError(f"{path} does not fit the spec ({error})", "train again") from error
    if state.as_of_s != cutoff_s:
        raise ArtifactError(f"{path} ends at {state.as_of_s}, the manifest says {cutoff_s}", "train again")
    if any(int(level.ring.min()) < 0 for level in state.levels.values()):
        raise ArtifactError(f"{path} counts less than nothing", "train again")
    records = state.registry.records()
    sound = (records.cell >= 0) & (records.cell < spec.grid.cells) & (records.revision >= 0)
    sound &= (records.category >= 0) & (records.category < len(spec.categories)) & (records.occurred_s >= 0)
    sound &= (records.latest_s >= records.occurred_s) & are_places(records.place)
    if not sound.all():
        raise ArtifactError(f"{path} remembers an incident outside the grid or the categories", "train again")
    is_empty = not len(records) and not any(level.ring.any() for level in state.levels.values())
    state.history_end_s = 0 if is_empty else cutoff_s
    state.first_day = first_day
    return state


def _bytes(name: str, array: npt.NDArray[Any]) -> bytes:
    if array.dtype != np.uint8 or name.partition(":")[0] not in _PARTS:
        raise ValueError(f"{name[:40]!r} is no part of a history")
    return array.tobytes()
