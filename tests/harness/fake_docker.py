#!/usr/bin/env python3
"""Stands for `docker` over folders as volumes: what docs/how-to/operations.md asks of it to back up and restore."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def main(words):
    volumes = Path(os.environ["FAKE_DOCKER"])
    if words == ["compose", "down", "--volumes"]:
        shutil.rmtree(volumes)
    elif words == ["compose", "create"]:
        for name in os.environ["FAKE_VOLUMES"].split():
            (volumes / name).mkdir(parents=True)
    elif words[:2] == ["volume", "ls"]:
        assert words[2:4] == ["--quiet", "--filter"]
        project = words[4].removeprefix("label=com.docker.compose.project=")
        found = (path.name for path in volumes.iterdir())
        sys.stdout.write("".join(f"{name}\n" for name in found if name.startswith(f"{project}_")))
    elif words[:2] == ["run", "--rm"]:
        at = words.index("-v")
        volume, place, *_ = words[at + 1].split(":")
        if not (volumes / volume).is_dir():
            sys.exit(f"{volume} is not Compose's")
        command = [str(volumes / volume) if word == place else word for word in words[at + 3 :]]
        is_fed = "-i" in words[:at]
        sys.exit(subprocess.run(command, stdin=None if is_fed else subprocess.DEVNULL, check=False).returncode)
    elif words not in (["compose", "stop"], ["compose", "start"], ["compose", "up", "--detach"]):
        sys.exit(f"not known here: {words}")


main(sys.argv[1:])
