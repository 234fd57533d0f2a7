"""What the JVM holds that is not rubbish: its heap right after a full collection, and what lies outside the heap.

The process's resident memory cannot tell: it grows until the whole heap was touched once, and stays there.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
from pyspark.sql import SparkSession

# One collection finds a batch's broadcasts dead, Spark's cleaner lets go of them, and another collection frees them.
_CLEANER_S = 1.0


class Heap(msgspec.Struct, frozen=True, kw_only=True):
    at_s: float  # epoch seconds
    live_bytes: int  # in use after full collections
    outside_bytes: int  # classes, compiled code


@dataclass(slots=True)
class HeapWatch:
    """Collects in full, twice, and writes a line, every so often; to be called between two actions of the driver."""

    path: Path
    every_s: float
    _due_s: float = 0.0

    def look(self, now_s: float) -> None:
        if now_s < self._due_s:
            return
        self._due_s = now_s + self.every_s
        java = SparkSession.builder.getOrCreate().sparkContext._jvm
        java.System.gc()
        time.sleep(_CLEANER_S)
        java.System.gc()
        memory = java.java.lang.management.ManagementFactory.getMemoryMXBean()
        heap = Heap(
            at_s=now_s,
            live_bytes=memory.getHeapMemoryUsage().getUsed(),
            outside_bytes=memory.getNonHeapMemoryUsage().getUsed(),
        )
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(heap) + b"\n")
