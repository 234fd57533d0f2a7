"""What came in horizons that have closed, on its way to those who judge a trial.

    <checkpoint>/shadow/closed/<region>/<time>.counts    all last judgements that were due at that time

The job writes them and deletes what nobody has judged for KEEP_S; the judge deletes what it has judged.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import CheckpointError
from schemas.files import replace_file, write_errors
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
