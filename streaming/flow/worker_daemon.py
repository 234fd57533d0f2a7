"""Spark's daemon, which loads what the workers of its stage need. They are its forks: they start at once and share it.

A worker that loads it by itself takes seconds, and 60 MiB or more. Arrow and OpenBLAS start a thread when they are
loaded, and make new ones in a fork.
"""

import gc
import os
from importlib import import_module

from pyspark.daemon import manager

_LOADED = {
    "decode": ("pandas", "pyarrow.compute", "streaming.flow.intake"),
    "count": ("pandas", "pyarrow.compute", "streaming.flow.count"),
    "score": ("pandas", "pyarrow.compute", "scipy.special", "streaming.flow.score", "torch"),
}

if __name__ == "__main__":
    for name in _LOADED.get(os.environ.get("RISK_STAGE", ""), ()):  # noqa: TID251 - as the other programs' `__main__`
        import_module(name)
    gc.collect()
    gc.freeze()  # a worker's collections would write to each object, and so copy the memory that it shares
    manager()
