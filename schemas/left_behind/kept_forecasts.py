"""Forecasts of whole hours, kept until their horizons have closed and were judged.

<checkpoint>/outcomes/<region>/<tick>.npz            of the champion
<checkpoint>/shadow/forecasts/<region>/<tick>.npz    of the challenger
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.arrays import pack_arrays, unpack_arrays
from schemas.errors import ArtifactError, CheckpointError
from schemas.files import read_regular_file, replace_file, write_errors
from schemas.left_behind.closed_counts import KEEP_S, last_grace_s, trial_folder
from schemas.limits import MAX_HISTORY_BYTES
from schemas.spec import HOUR_S, Spec

_SPEC, _MODEL, _FOLLOWING = "spec", "model", "following"
_OPTIONAL = ("has_history", "raw", "raised")
Means = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


def outcomes_folder(checkpoint: Path) -> Path:
    return checkpoint / "outcomes"


def forecasts_folder(checkpoint: Path) -> Path:
    return trial_folder(checkpoint) / "forecasts"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptForecast:
    """What was expected at a whole hour, as arrays: (cells, categories, horizons) each, or of all cells alike."""

    model: str
    expected: Means
    usual: Means
    dispersion: Floats
    dispersion_power: Floats
    usual_dispersion: Floats
    usual_dispersion_power: Floats
    has_history: npt.NDArray[np.uint8] | None = None  # (cells,) 1 where an incident was on record; not of a challenger
    raw: Means | None = None  # expected by the network alone; None: the same
    raised: Floats | None = None  # (categories, horizons) factors of surges in `expected`; None: there was none
    following: str = ""  # hour of the file that was followed: see `follower_states`; empty without one


_ARRAYS = tuple(field.name for field in fields(KeptForecast) if field.name not in (_MODEL, _FOLLOWING, *_OPTIONAL))


@dataclass(frozen=True, slots=True)
class KeptForecasts:
    """The files in a folder for each region. Raises CheckpointError."""

    folder: Path

    def path(self, region: str, tick_s: int) -> Path:
        return self.folder / region / f"{tick_s}.npz"

    def write(self, forecast: KeptForecast, spec: Spec, tick_s: int) -> None:
        """Keep a forecast, unless its hour has one, and delete those whose last judgement is KEEP_S ago."""
        path = self.path(spec.region, tick_s)
        if path.exists():
            return
        arrays = {name: getattr(forecast, name) for name in _ARRAYS}
        arrays |= {name: array for name in _OPTIONAL if (array := getattr(forecast, name)) is not None}
        if forecast.following:
            arrays[_FOLLOWING] = _as_array(forecast.following)
        content = pack_arrays({_SPEC: _as_array(spec.fingerprint()), _MODEL: _as_array(forecast.model), **arrays})
        oldest_s = tick_s - max(spec.horizons_s) - last_grace_s(spec) - 2 * HOUR_S - KEEP_S
        with write_errors(CheckpointError, path.parent, remedy="free disk space"):
            replace_file(path, content)
            for old in path.parent.glob("*.npz"):
                if old.stem.isdigit() and int(old.stem) < oldest_s:
                    old.unlink()

    def read(self, spec: Spec, tick_s: int) -> KeptForecast | None:
        """The forecast of an hour; None when there is none for this spec."""
        path = self.path(spec.region, tick_s)
        if not path.exists():
            return None
        try:
            arrays = unpack_arrays(read_regular_file(path, MAX_HISTORY_BYTES), path, MAX_HISTORY_BYTES)
            if _as_text(arrays[_SPEC]) != spec.fingerprint():
                return None  # written before a new checkpoint, for another grid or other categories
            required: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
            forecast = KeptForecast(model=_as_text(arrays[_MODEL]), **required)
            following = _as_text(arrays[_FOLLOWING]) if _FOLLOWING in arrays else ""
            optional: dict[str, Any] = {name: arrays.get(name) for name in _OPTIONAL}
            return replace(forecast, following=following, **optional)
        except (ArtifactError, KeyError, UnicodeDecodeError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error})", remedy="delete it: that hour stays without an outcome"
            ) from error


def _as_array(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _as_text(array: npt.NDArray[np.uint8]) -> str:
    return array.tobytes().decode()
