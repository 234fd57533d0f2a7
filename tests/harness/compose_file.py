"""compose.yaml as Compose would read it, and the tools that check it."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
OURS = "incident-risk-scorer:"
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+):-([^{}]*)\}")


def filled(text, environment):
    """`text` with ${NAME:-default} filled in, also where the default holds another one."""
    while (inside := _VARIABLE.sub(lambda match: environment.get(match[1]) or match[2], text)) != text:
        text = inside
    return text


def read_compose(name="compose.yaml", **environment):
    """The file's content, anchors and variables resolved, $$ as $."""

    def resolved(value):
        if isinstance(value, dict):
            return {key: resolved(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [resolved(entry) for entry in value]
        return filled(value, environment).replace("$$", "$") if isinstance(value, str) else value

    return resolved(yaml.safe_load((ROOT / name).read_text(encoding="utf-8")))


COMPOSE = read_compose()
SERVICES = COMPOSE["services"]
OUR_SERVICES = sorted(name for name, service in SERVICES.items() if service["image"].startswith(OURS))


def variables(service):
    """A service's environment as text, as its process gets it."""
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def mounts(service):
    """(source, target, whether it is read-only) of each volume of a service."""
    for volume in service.get("volumes", []):
        if isinstance(volume, dict):
            yield volume["source"], volume["target"], volume.get("read_only", False)
        else:
            source, target, *mode = volume.split(":")
            yield source, target, mode == ["ro"]


def arguments(service):
    """What follows `python` or `python -m` in a service of our image: ("/opt/compose_demo.py", "replay")."""
    entrypoint = service.get("entrypoint")
    if entrypoint:
        assert entrypoint[0] == "python"
        return (*(word for word in entrypoint[1:] if word != "-m"), *service.get("command", []))
    dockerfile = (ROOT / "streaming" / "Dockerfile").read_text(encoding="utf-8")
    (shell,) = re.findall(r'^ENTRYPOINT \["/bin/sh", "-c", "(.*)", "risk"\]$', dockerfile, re.MULTILINE)
    words = shlex.split(shell.replace('\\"', '"').rpartition(";")[2])
    assert words[:3] == ["exec", "python", "-m"]
    assert words[4:] == ["$@"]
    return (words[3], *service["command"])


def tool(name):
    """Path of a command, that of this Python environment first; None when there is none."""
    return shutil.which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
