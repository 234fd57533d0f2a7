"""Forecasts of many steps in a temporary file, so that memory holds those of one run of steps at a time."""

from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt

from models.cube import AnyFloats


class Spool:
    """Forecasts of one model, (steps, cells, categories): written in the order of time, read as often as needed."""

    def __init__(self, first: int, shape: tuple[int, int], kind: npt.DTypeLike) -> None:
        """first: the step that is written first. shape: cells, categories."""
        self._file = TemporaryFile()  # noqa: SIM115 - closed with the spool; it has no name that could remain
        self._first, self._shape, self._kind = first, shape, np.dtype(kind)
        self._step_bytes = shape[0] * shape[1] * self._kind.itemsize

    def close(self) -> None:
        self._file.close()

    def append(self, mean: AnyFloats) -> None:
        """mean: (n, cells, categories) of the steps after those that were written."""
        self._file.seek(0, 2)
        self._file.write(mean.astype(self._kind, copy=False).tobytes())

    def read(self, steps: range) -> AnyFloats:
        self._file.seek((steps.start - self._first) * self._step_bytes)
        content = self._file.read(len(steps) * self._step_bytes)
        return np.frombuffer(content, self._kind).reshape(len(steps), *self._shape)
