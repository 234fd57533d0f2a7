"""One sample of a running job: memory, open files, threads, disk, and what its batches say."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from benchmarks.growth import MIB
from benchmarks.job import Heap, TimedBatch
from benchmarks.product import ledger


def of_processes(driver: psutil.Process) -> dict[str, float]:
    """Memory in MiB, pages that several processes share divided among them; open files and threads."""
    memory = {"driver": 0.0, "workers": 0.0, "jvm": 0.0, "beyond_heap": 0.0}
    files = threads = workers = 0
    for process in (driver, *driver.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            kind = "driver" if process.pid == driver.pid else "jvm" if process.name() == "java" else "workers"
            memory[kind] += process.memory_full_info().pss / MIB
            if kind == "jvm":
                memory["beyond_heap"] += beyond_heap_bytes(Path(f"/proc/{process.pid}/smaps").read_text()) / MIB
            workers += kind == "workers"
            if kind != "workers":
                files += process.num_fds()
                threads += process.num_threads()
    return {
        **{f"{kind}_mib": value for kind, value in memory.items()},
        "workers": workers,
        "files": files,
        "threads": threads,
    }


def beyond_heap_bytes(smaps: str) -> int:
    """Proportional memory of a JVM without its heap, from Linux's list of its mappings.

    A heap of up to 2 GiB lies below the address 4 GiB, and nothing else does, as long as the JVM finds room there.
    """
    size, is_beyond = 0, False
    for line in smaps.splitlines():
        name, _, rest = line.partition(" ")
        if name == "Pss:":
            size += int(rest.split()[0]) * 1024 * is_beyond
        elif "-" in name:
            is_beyond = int(name.partition("-")[0], 16) >= 4 << 30
    return size


def of_disk(checkpoint: Path, local: Path) -> dict[str, float]:
    """Files and bytes of the checkpoint, the state in it and the log of batches beside it, and Spark's own folder."""
    spark, state, batches = checkpoint / "spark", checkpoint / "spark" / "state", checkpoint / "batches"
    (files, size), (_, state_size), (_, log_size), (_, local_size) = map(_files, (spark, state, batches, local))
    return {
        "checkpoint_files": files,
        "checkpoint_mib": size / MIB,
        "state_mib": state_size / MIB,
        "batch_log_mib": log_size / MIB,
        "local_mib": local_size / MIB,
    }


def of_batches(batches: list[TimedBatch], sent: int, *, since_s: float) -> dict[str, float]:
    """Seconds of the batches acknowledged since then, the whole ledger, and what was sent and is not in it."""
    new = [batch for batch in batches if batch.acknowledged_s > since_s]
    total = ledger(batches)
    return {
        "batches": len(batches),
        "batch_s": sum(b.acknowledged_s - b.started_s for b in new) / len(new) if new else float("nan"),
        "lag_events": sent - total["consumed"],
        "sent": sent,
        "points": sum(batch.points for batch in batches),
        **{name: total[name] for name in ("consumed", "counted", "corrected", "duplicate", "rejected")},
    }


def of_heap(path: Path, *, since_s: float) -> dict[str, float]:
    """The JVM's heap after the last full collection, if there was one since then."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    heap = msgspec.json.decode(lines[-1], type=Heap) if lines else None
    if heap is None or heap.at_s <= since_s:
        return {"heap_mib": float("nan"), "outside_mib": float("nan")}
    return {"heap_mib": heap.live_bytes / MIB, "outside_mib": heap.outside_bytes / MIB}


def _files(folder: Path) -> tuple[int, int]:
    """Number and bytes of the files below; one that goes while we look does not count."""
    count = size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.stat(os.path.join(parent, name)).st_size
                count += 1
    return count, size
