"""Examples are cells at moments of a replay, with what came next."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.features import FeatureEngine
from models.training.fit_network import Examples
from models.training.replay import IncidentHistory, Replay
from schemas.errors import DataError

MOST_EXAMPLES = 1_600_000  # categories of cells at moments that are kept for training; they decide the memory it takes
_EMPTY_CELLS_SHARE = 0.1  # cells without any incident that are learned from: enough to learn that they are quiet


def random_moments(start_s: int, stop_s: int, step_s: int, random: np.random.Generator) -> list[int]:
    """One moment at a random second of every step in [start_s, stop_s)."""
    starts = np.arange(start_s, stop_s - step_s + 1, step_s)
    if len(starts) == 0:
        raise DataError(f"no step of {step_s} s fits between {start_s} and {stop_s}", "give a longer file")
    return (starts + random.integers(0, step_s, len(starts))).tolist()  # type: ignore[no-any-return]


def cells_to_learn(history: IncidentHistory, until_s: int, random: np.random.Generator) -> npt.NDArray[np.intp]:
    """Cells with any incident before `until_s`, and a part of the empty ones."""
    is_busy = history.counts(history.first_s, until_s).sum(axis=1) > 0
    return np.flatnonzero(is_busy | (random.random(len(is_busy)) < _EMPTY_CELLS_SHARE))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellDraw:
    """Which cells are learned from: at every moment an equally large random part of `cells`."""

    cells: npt.NDArray[np.intp]
    random: np.random.Generator


def collect(
    replay: Replay,
    engine: FeatureEngine,
    moments: list[int],
    draw: CellDraw,
    told: Callable[[int], None],
) -> tuple[Examples, npt.NDArray[np.intp]]:
    """Examples of drawn cells at the moments, and (n,) the cell of each."""
    spec = engine.spec
    each = min(len(draw.cells), max(MOST_EXAMPLES // len(spec.categories) // len(moments), 1))
    counts = np.empty((len(moments), each, len(spec.categories), len(spec.horizons_s)), np.float32)
    values = np.empty((*counts.shape[:3], len(spec.features)), np.float32)
    cells = np.empty((len(moments), each), np.intp)
    for number, as_of_s in enumerate(moments):
        cells[number] = chosen = np.sort(draw.random.choice(draw.cells, each, replace=False))
        values[number] = engine.compute(replay.lead_to(as_of_s)).values[chosen]
        counts[number] = replay.past.coming(as_of_s)[chosen]
        told(as_of_s)
    flat = (len(moments) * each, len(spec.categories), -1)
    examples = Examples(values=torch.from_numpy(values.reshape(flat)), counts=torch.from_numpy(counts.reshape(flat)))
    return examples, cells.ravel()
