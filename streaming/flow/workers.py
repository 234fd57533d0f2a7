"""What every stage does first in its Python worker."""

import gc
from functools import cache


@cache
def settle_worker() -> None:
    """Exempt what is loaded by now from garbage collection, once per process.

    Spark's workers collect in full after every task. With torch or pandas loaded that takes 40 to 120 ms, for
    hundreds of thousands of objects that live as long as the process: more than our own work in a small batch.
    """
    gc.collect()
    gc.freeze()
