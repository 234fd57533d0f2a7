"""Examples that follow a known rule, and training in a third of its time."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from models.dispersion import Dispersion
from models.training.fit_network import Examples

DISPERSION = Dispersion.quadratic(np.full((2, 3), 4.0))  # (categories, horizons)


def made_examples(cells, *, seed):
    """2 categories, 6 features, 3 horizons; the counts' mean is the baseline's times exp(half of the first feature's
    size), which no straight line follows.
    """
    random = np.random.default_rng(seed)
    values = random.normal(size=(cells, 2, 6)).astype(np.float32)
    counts = random.poisson(np.exp(values[:, :, 3:] + 0.5 * np.abs(values[:, :, :1]))).astype(np.float32)
    return Examples(values=torch.from_numpy(values), counts=torch.from_numpy(counts))


@contextmanager
def one_penalty(penalty: float = 1e-2) -> Iterator[None]:
    """The linear part is fitted with one penalty in place of five."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("models.network.PENALTIES", (penalty,))
        yield
