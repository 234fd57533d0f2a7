"""The job, killed together with all its processes at a chosen point: `killed_job.py in-write N` or `after-write N`.

N counts this process's writes that have content, from 1.
"""

import os
import signal
import sys
from pathlib import Path
from threading import Event

sys.path.insert(0, str(Path(__file__).parents[2]))

from streaming.job.job import run
from streaming.settings import Settings
from streaming.sinks.file import FileSink

point, number = sys.argv[1], int(sys.argv[2])
writes = 0
write = FileSink.write


def deadly_write(sink, lines):
    global writes
    writes += bool(lines)
    if writes < number:
        return write(sink, lines)
    if point == "in-write":
        lines = lines[: len(lines) // 2]
        assert not lines.endswith(b"\n"), "choose a place inside a line"
        sink._opened().write(lines)
    else:
        write(sink, lines)
    os.killpg(0, signal.SIGKILL)


FileSink.write = deadly_write
run(Settings.from_environment(os.environ), stop=Event(), watchers=[])
