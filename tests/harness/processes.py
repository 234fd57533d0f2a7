"""Programs that run to their end, and a folder under git for what reads commits."""

import ast
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


COMMANDS = """
import sys
from contextlib import suppress
from incident_risk import main

for words in {commands!r}:
    sys.argv = ["risk", *words]
    with suppress(SystemExit):
        main()
print("imported:", sorted({packages!r} & sys.modules.keys()))
"""


def imported_by(commands, packages, **options):
    """(what the commands printed, those of the packages that they have imported): in one process of their own."""
    ran = run_python("-c", COMMANDS.format(commands=commands, packages=packages), **options)
    assert ran.returncode == 0, ran.stderr
    printed, _, imported = ran.stdout.rpartition("imported: ")
    return printed, ast.literal_eval(imported)


def stand_in(name, folder, source):
    """`folder` with a program NAME of this source, as a search path in front of the usual one."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(source)
    (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def git(folder, *words):
    """What git printed, without the last line break; it asks for no key and knows its author."""
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    ran = run("git", *names, *words, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def commit_all(folder):
    """All files of a new repository in `folder`, committed."""
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
