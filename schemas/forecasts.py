"""Forecasts and what came, on their way to those who judge them; and what followers have learned.

    <checkpoint>/outcomes/<region>/<tick>.npz               forecasts of whole hours, of the champion
    <checkpoint>/shadow/forecasts/<region>/<tick>.npz       the same of the challenger
    <checkpoint>/shadow/closed/<region>/<time>.counts       all last judgements that were due at that time
    <checkpoint>/following/<region>/<version>/<hour>.npz    hour: the first one it is for, epoch seconds
    <checkpoint>/following/<region>/<version>/change.json   what a follower says of a change; replaced every hour

Forecasts are kept until their horizons have closed and were judged. The job writes closed counts, and deletes what
nobody has judged for KEEP_S; the judge deletes what it has judged. The judge writes followers' files from counts that
are final; they never change. A forecast uses the newest file of its version that is not for a later hour, and who
judges it later finds the same file again.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.batches import logged_days
from schemas.errors import ArtifactError, CheckpointError
from schemas.files import pack_arrays, read_json, read_regular_file, replace_file, unpack_arrays, write_errors
from schemas.limits import MAX_HISTORY_BYTES
from schemas.spec import DAY_S, HOUR_S, Spec

GRACE_S = HOUR_S  # between the end of a horizon and its first judgement: most reports have come by then
KEEP_S = 3 * DAY_S  # that the judge may stand still without losing an hour


def trial_folder(checkpoint: Path) -> Path:
    """Where a checkpoint has what belongs to trials; the judge writes <region>.jsonl, the judged hours, there."""
    return checkpoint / "shadow"


def closed_folder(checkpoint: Path) -> Path:
    return trial_folder(checkpoint) / "closed"


def last_grace_s(spec: Spec) -> int:
    """The time between the end of a horizon and its last judgement: what is received later is refused as late.

    A message that was received in time but read later still counts; the judgement does not include it.
    """
    return spec.late_limit_s + GRACE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedHorizon:
    """What came in one horizon that has closed."""

    horizon: int  # place in the spec's horizons
    tick_s: int  # when it began, a whole hour
    judged_s: int  # when this judgement was due
    observed: npt.NDArray[np.int32]  # (cells, categories)


class ClosedCounts(msgspec.Struct, frozen=True, kw_only=True):
    """A `ClosedHorizon` in bytes."""

    horizon: int
    tick_s: int
    judged_s: int
    observed: bytes  # little-endian int32, (cells, categories)

    @classmethod
    def of(cls, closed: ClosedHorizon) -> "ClosedCounts":
        return cls(
            horizon=closed.horizon,
            tick_s=closed.tick_s,
            judged_s=closed.judged_s,
            observed=closed.observed.astype("<i4").tobytes(),
        )

    def unpack(self, spec: Spec) -> ClosedHorizon:
        observed = np.frombuffer(self.observed, "<i4").reshape(spec.grid.cells, len(spec.categories))
        return ClosedHorizon(horizon=self.horizon, tick_s=self.tick_s, judged_s=self.judged_s, observed=observed)

    def is_last(self, spec: Spec) -> bool:
        """Whether no later judgement follows."""
        return self.judged_s - self.tick_s - spec.horizons_s[self.horizon] == last_grace_s(spec)


class _File(msgspec.Struct, frozen=True, kw_only=True):
    fingerprint: str  # of the spec
    closed: tuple[ClosedCounts, ...]


@dataclass(frozen=True, slots=True)
class ClosedFiles:
    """The files in a folder for each region."""

    folder: Path

    def keep(self, spec: Spec, closed: Sequence[ClosedCounts]) -> None:
        """Write the last judgements among them, and delete files that are too old. Raises CheckpointError."""
        due: dict[int, list[ClosedCounts]] = {}
        for counts in closed:
            if counts.is_last(spec):
                due.setdefault(counts.judged_s, []).append(counts)
        home = self.folder / spec.region
        with write_errors(CheckpointError, home, remedy="free disk space"):
            for judged_s, of_then in due.items():
                content = msgspec.msgpack.encode(_File(fingerprint=spec.fingerprint(), closed=tuple(of_then)))
                replace_file(home / f"{judged_s}.counts", zlib.compress(content, 1))
            for path in self.waiting(spec.region) if due else ():
                if int(path.stem) < max(due) - KEEP_S:
                    path.unlink(missing_ok=True)

    def waiting(self, region: str) -> list[Path]:
        """The region's files, the oldest first."""
        paths = (path for path in (self.folder / region).glob("*.counts") if path.stem.isdigit())
        return sorted(paths, key=lambda path: int(path.stem))

    @staticmethod
    def read(path: Path, spec: Spec) -> list[ClosedHorizon]:
        """What a file has; nothing where it was written for another spec. Raises CheckpointError."""
        try:
            unpacked = zlib.decompressobj()
            content = unpacked.decompress(path.read_bytes(), MAX_HISTORY_BYTES)
            file = msgspec.msgpack.decode(content, type=_File)
            return [counts.unpack(spec) for counts in file.closed] if file.fingerprint == spec.fingerprint() else []
        except (OSError, ValueError, zlib.error) as error:  # a DecodeError is a ValueError
            raise CheckpointError(f"{path} cannot be read ({error})", "delete it: its hours are not judged") from error


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
    following: str = ""  # hour of the file that was followed: see `FollowerStates`; empty without one


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


OLDEST_S = 3 * DAY_S  # what was learned so long ago is followed no more: whoever teaches stands still
_CHANGE = "change.json"
Arrays = Mapping[str, npt.NDArray[Any]]


class FollowedChange(msgspec.Struct, frozen=True):
    """A change that forecasts follow, by the newest file of its version. says: as `05 to 08 h x 1.9`, local hours."""

    hour_s: int  # of that file
    since_s: int
    says: str

    def in_words(self, timezone: str) -> str:
        """As `since 3 Mar: 05 to 08 h x 1.9`."""
        since = datetime.fromtimestamp(self.since_s, ZoneInfo(timezone))
        return f"since {since.day} {since:%b}: {self.says}"


@dataclass(frozen=True, slots=True)
class FollowerStates:
    """The files of one version in one region."""

    folder: Path

    @classmethod
    def of(cls, checkpoint: Path, region: str, version: str) -> "FollowerStates":
        return cls(checkpoint / "following" / region / version)

    def newest(self, hour_s: int) -> Path | None:
        """The newest file that is not for an hour after `hour_s`."""
        hours = {int(path.stem): path for path in self.folder.glob("*.npz") if path.stem.isdigit()}
        return hours.get(max((each for each in hours if each <= hour_s), default=-1))

    def for_forecast(self, tick_s: int) -> Path | None:
        """The file that a forecast at `tick_s` follows: the newest one that is not for a later hour, nor too old."""
        if not self.folder.exists():
            return None
        hours = range(tick_s // HOUR_S * HOUR_S, tick_s - OLDEST_S - 1, -HOUR_S)
        return next((path for path in map(self.path, hours) if path.exists()), None)

    def write(self, hour_s: int, arrays: Arrays) -> None:
        """Write the file of an hour, and delete those that no recount of the log of batches needs.

        Raises CheckpointError.
        """
        logged = logged_days(self.folder.parents[2])  # by number: they may reach further back than KEEP_DAYS
        oldest_s = int(datetime.fromisoformat(f"{logged[0]}T00:00Z").timestamp()) - DAY_S if logged else 0
        with write_errors(CheckpointError, self.folder, remedy="free disk space"):
            replace_file(self.path(hour_s), pack_arrays(arrays))
            needed = self.newest(oldest_s)
            for path in self.folder.glob("*.npz"):
                if path.stem.isdigit() and int(path.stem) < oldest_s and path != needed:
                    path.unlink()

    def say(self, change: FollowedChange | None) -> None:
        """Replace what is said of a change. Raises CheckpointError."""
        with write_errors(CheckpointError, self.folder, remedy="free disk space"):
            if change is None:
                (self.folder / _CHANGE).unlink(missing_ok=True)
            else:
                replace_file(self.folder / _CHANGE, msgspec.json.encode(change))

    def change(self, tick_s: int) -> FollowedChange | None:
        """The change that forecasts follow at a tick. Raises CheckpointError."""
        said = read_json(self.folder / _CHANGE, FollowedChange, CheckpointError, remedy="delete it: the next one comes")
        return said if said and said.hour_s - HOUR_S <= tick_s <= said.hour_s + OLDEST_S else None

    def path(self, hour_s: int) -> Path:
        return self.folder / f"{hour_s}.npz"


def read_follower_state(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file. Raises CheckpointError."""
    try:
        return unpack_arrays(read_regular_file(path, MAX_HISTORY_BYTES), path, MAX_HISTORY_BYTES)
    except ArtifactError as error:
        raise CheckpointError(f"{path} is damaged ({error})", "delete the folder: following begins anew") from error
