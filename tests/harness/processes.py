"""Programs that run to their end."""

import os
import subprocess
import sys


def run(*command, timeout=300, **options):
    """The process, which has ended: its exit code and what it wrote, as text."""
    words = [str(word) for word in command]
    return subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False, **options
    )


def run_python(*arguments, **options):
    return run(sys.executable, *arguments, **options)


def stand_in(name, folder, source):
    """`folder` with a program NAME of this source, as a search path in front of the usual one."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(source)
    (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
