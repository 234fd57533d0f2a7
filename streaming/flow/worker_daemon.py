"""Spark's daemon, with what each worker of the last stage would load anew for seconds.

It loads only what starts no thread, as a fork takes none along: not pandas and pyarrow.
"""

import os
from importlib import import_module

from pyspark.daemon import manager

if __name__ == "__main__":
    if os.environ.get("RISK_STAGE") == "score":  # noqa: TID251 - as the other programs' `__main__`
        for name in ("scipy.special", "torch"):
            import_module(name)
    manager()
