"""Examples as the rows that scikit-learn wants: one per cell, category and moment."""

import numpy as np
import numpy.typing as npt

from models.evaluation.contract import Values
from models.training.fit_network import Examples


def flat(values: Values) -> Values:
    """(n * categories, features + categories): the features, and the category as columns of 0 and 1.

    values: (n, categories, features).
    """
    n, categories, features = values.shape
    indicator = np.broadcast_to(np.eye(categories, dtype=np.float32), (n, categories, categories))
    return np.concatenate([values, indicator], axis=2).reshape(n * categories, features + categories)


def flat_counts(examples: Examples) -> npt.NDArray[np.float64]:
    """(n * categories,) what came within the only horizon."""
    return examples.counts[:, :, 0].reshape(-1).double().numpy()
