"""How the watch beside the job goes: its heartbeat, for its container's health check, `health`, and the job's figures.

<checkpoint>/watch.json
"""

from pathlib import Path

import msgspec

from schemas.errors import CheckpointError, RiskError
from schemas.files import read_json, replace_file, write_errors
from schemas.instants import instant_text

LONGEST_SILENCE_S = 300  # the watch writes it every minute
START_IT = "start `python -m lifecycle watch` beside the job"


class WatchedPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the watch: `judge`, `archive` or `retrain`. Times: epoch seconds."""

    ended_s: int = 0  # when a run last came to its end without a fault; 0: none yet
    failing_s: int = 0  # since when its runs fail; 0: the newest one did not
    fault: str = ""  # of the newest run, with its remedy, in one line


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """at_s: when the watch last was alive, epoch seconds. parts: by their names."""

    at_s: int
    parts: dict[str, WatchedPart]

    @property
    def well_s(self) -> int:
        """Until when the watch was alive and none of its parts failed."""
        return min([self.at_s, *(part.failing_s for part in self.parts.values() if part.failing_s)])

    def faults(self, now_s: float) -> list[str]:
        """Why the watch is not well, each with its remedy; none when it is."""
        faults = [
            f"{name} fails since {instant_text(part.failing_s)}: {part.fault}"
            for name, part in self.parts.items()
            if part.failing_s
        ]
        if abs(now_s - self.at_s) > LONGEST_SILENCE_S:
            faults.insert(0, f"nothing is watched since {instant_text(self.at_s)}: {START_IT}")
        return faults


def heartbeat_path(checkpoint: Path) -> Path:
    return checkpoint / "watch.json"


def read_heartbeat(checkpoint: Path) -> Heartbeat | None:
    """None where no watch ever ran. Raises CheckpointError when it cannot be read."""
    return read_json(heartbeat_path(checkpoint), Heartbeat, CheckpointError, remedy="delete it: the watch writes it")


def write_heartbeat(checkpoint: Path, heartbeat: Heartbeat) -> None:
    """Raises CheckpointError."""
    path = heartbeat_path(checkpoint)
    with write_errors(CheckpointError, path, remedy="free disk space"):
        replace_file(path, msgspec.json.format(msgspec.json.encode(heartbeat)) + b"\n", outlives_power_cut=False)


def watched_until_s(checkpoint: Path) -> int | None:
    """`Heartbeat.well_s`; None where no watch ever ran, 0 where the file cannot be read: `health` says why."""
    try:
        heartbeat = read_heartbeat(checkpoint)
    except RiskError:
        return 0
    return heartbeat.well_s if heartbeat else None
