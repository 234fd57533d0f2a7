"""What an open loop sends and when, and the log of what was sent: rows of four float64."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

COLUMNS = 4  # partition, offset, intended and real time of sending in epoch seconds

Timed = tuple[float, bytes, bytes | None]  # intended epoch seconds, key, value


def sent_so_far(log: Path) -> npt.NDArray[np.float64]:
    """(messages, COLUMNS), in the order of their acknowledgement. Whole rows only: the last may be being written."""
    data = np.fromfile(log, np.float64) if log.exists() else np.empty(0)
    return data[: len(data) // COLUMNS * COLUMNS].reshape(-1, COLUMNS)


def count_sent(log: Path) -> int:
    return log.stat().st_size // (8 * COLUMNS) if log.exists() else 0
