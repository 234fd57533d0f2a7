"""What every stage does in its Python worker beside its work."""

import gc
import logging
from functools import cache, lru_cache

log = logging.getLogger(__name__)


@cache
def settle_worker() -> None:
    """Exempt what is loaded by now from garbage collection, once per process.

    Spark's workers collect in full after every task. With torch or pandas loaded that takes 40 to 120 ms, for
    hundreds of thousands of objects that live as long as the process: more than our own work in a small batch.
    """
    gc.collect()
    gc.freeze()


@lru_cache(maxsize=64)
def say_left_out(folder: str, reason: str) -> None:
    """Say why a challenger has no scores, on the job's error output. It fails with each batch, and is said once."""
    log.warning("challenger=%s is left out reason=%s", folder, reason)
