"""Job and service of a small centre, an event a minute: CPU and memory by process, and how soon an event is scored.

The first minutes compile and load; what a year costs is measured from the eighth on. Java's compiler is named apart, as
it still works then, and hardly after hours.
"""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import Any

import psutil
from kafka import KafkaProducer

from benchmarks.load import MIB
from benchmarks.stack import ChildError, Say, Stack, describe_machine, made_at
from benchmarks.traffic import bench_spec, synthetic_events
from models.artifact import write_untrained
from schemas.files import stamp
from schemas.spec import DAY_S
from streaming.rehearse.broker import free_port

SIDE = 38  # 1,444 cells of 4 categories
SECOND = 33  # of each minute, at which its event is sent
_LIMIT_S = 120.0


def measure_rest(stack: Stack, settings: Mapping[str, str], say: Say, *, first: float, last: float) -> dict[str, Any]:
    """CPU seconds a minute and memory in MiB by process, and seconds from sending to the frame.

    settings: RISK_... first, last: minutes after the start that are measured.
    """
    folder, spec, now_s = stack.folder / "rest", bench_spec("bench-1", SIDE), int(time.time())
    (folder / "frames").mkdir(parents=True)
    write_untrained(folder / "artifacts", spec, per_day=200.0, cutoff_s=now_s - now_s % DAY_S, created=stamp(now_s))
    environment = {
        "RISK_KAFKA_BOOTSTRAP": stack.bootstrap,
        "RISK_TOPIC": stack.topic("rest"),
        "RISK_DEAD_LETTER_TOPIC": stack.topic("dead-letters"),
        "RISK_ARTIFACTS": str(folder / "artifacts"),
        "RISK_CHECKPOINT": str(folder / "checkpoint"),
        "RISK_AUDIT": str(folder / "audit.jsonl"),
        "RISK_FRAMES": str(folder / "frames"),
        "RISK_SINK": "influxdb",
        "INFLUXDB_V2_URL": stack.store_url,
        "RISK_CACHE": str(stack.cache),
        **settings,
    }
    producer, seconds, before = KafkaProducer(bootstrap_servers=stack.bootstrap), [], None
    with (
        _program(folder, environment, "run") as job,
        _program(folder, environment, "serve", "--listen", f"127.0.0.1:{free_port()}") as service,
    ):
        begin_s = time.time()
        for seed in range(1, 1 + int(last)):
            time.sleep((SECOND - time.time()) % 60)
            if before is None and time.time() >= begin_s + 60 * first:
                before = time.time(), used_by(job.pid, service.pid)[0]
            ((key, value),) = synthetic_events([spec], 1, seed=seed, as_of_s=int(time.time()))
            frame, sent_s = folder / "frames" / f"{spec.region}.frame", time.time()
            was_s = frame.stat().st_mtime if frame.exists() else 0.0
            producer.send("rest", key=key, value=value)
            producer.flush()
            while not frame.exists() or frame.stat().st_mtime == was_s:
                if job.poll() is not None or time.time() > sent_s + _LIMIT_S:
                    raise ChildError(f"the job gave no frame, see {folder / 'run.log'}")
                time.sleep(0.005)
            seconds.append(round(time.time() - sent_s, 3))
            say(f"event {seed} was scored after {seconds[-1]} s")
        time.sleep((SECOND - 1 - time.time()) % 60)
        if before is None:
            raise ChildError(f"there is no minute to measure from {first:g} to {last:g}")
        since_s, used = before
        passed = (time.time() - since_s) / 60
        used_until_now, memory = used_by(job.pid, service.pid)
        per_minute = {name: round((until - used[name]) / passed, 2) for name, until in used_until_now.items()}
    return {
        **made_at(),
        "machine": describe_machine(),
        "settings": dict(settings),
        "cpu_s_a_minute": per_minute,
        "memory_mib": memory,
        "scored_after_s": seconds,
    }


@contextmanager
def _program(folder: Path, environment: Mapping[str, str], *words: str) -> Iterator[Popen[bytes]]:
    with (folder / f"{words[0]}.log").open("wb") as log:
        command = [sys.executable, "-m", "incident_risk", *words]
        process = Popen(command, env={**os.environ, **environment}, stdout=log, stderr=STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(_LIMIT_S)


def used_by(job: int, service: int) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds of CPU since the start, and MiB of memory, by kind of process, and of all.

    `compiler` is a part of `java`. Pages that several processes share are divided among them.
    """
    driver = psutil.Process(job)
    kinds = [("service", psutil.Process(service)), ("driver", driver)]
    kinds += [("java" if each.name() == "java" else "workers", each) for each in driver.children(recursive=True)]
    used, memory = defaultdict[str, float](float), defaultdict[str, int](int)
    for kind, process in kinds:
        with suppress(psutil.NoSuchProcess):
            seconds = sum(process.cpu_times()[:4])  # those of its children that have ended too
            size = round(process.memory_full_info().pss / MIB)
            for name in (kind, "all"):
                used[name] += seconds
                memory[name] += size
            if kind == "java":
                for thread in process.threads():
                    is_compiler = "Compiler" in Path(f"/proc/{process.pid}/task/{thread.id}/comm").read_text()
                    used["compiler"] += is_compiler * (thread.user_time + thread.system_time)
    return used, memory
