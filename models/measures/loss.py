"""What rivals choose by on the validation steps."""

import numpy as np
import numpy.typing as npt


def poisson_loss(mean: npt.NDArray[np.floating], counts: npt.NDArray[np.number]) -> float:
    """Minus log probability per count under Poisson, without the term that the forecast cannot change.

    Half the Poisson deviance, up to a constant. Any one shape; mean > 0.
    """
    seen = counts > 0
    return float((mean.sum() - counts[seen] @ np.log(mean[seen])) / counts.size)
