"""The second kind: each cell beside its eight neighbours, a convolution on the grid.

The kernel has two sets of weights, one for the cell and one that its neighbours share, as in a graph convolution: at
the grid's edge the mean is over the neighbours that exist, so nothing has to be invented beyond it. The neighbours'
mean is computed before training, which so may draw single cells and needs no whole grids.
"""

import numpy as np

from models.neighbours import ring_size, ring_sum
from models.network import Values
from models.networks.residual import ResidualNetwork
from schemas.grid import Grid


class ConvolutionalNetwork(ResidualNetwork):
    """The first kind on a cell's features and the mean of its neighbours' features."""

    @staticmethod
    def inputs(values: Values, grid: Grid) -> Values:
        neighbours = np.maximum(ring_size(grid), 1).astype(np.float32)[:, None, None]
        return np.concatenate([ring_sum(values, grid) / neighbours, values], axis=2)

    @classmethod
    def input_groups(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        own = super().input_groups(features)
        return (*("next_door" for _ in own), *own)
