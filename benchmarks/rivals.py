"""Running the rivals on the same broker and messages. One that cannot be had or run is None, with the reason."""

import os
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import ROOT, ChildError, run_child
from benchmarks.load import keyed_by_cell, load_topic
from benchmarks.rates import Outcome, Rate, rate_of
from benchmarks.stack import Stack
from schemas.spec import Spec

_INSTALL_LIMIT_S = 600.0
_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A program of benchmarks/ that runs in an environment of its own, with a package that contradicts our pins."""

    module: str
    package: str
    environment: Mapping[str, str] | None = None


QUIX = Rival(module="quix", package="quixstreams")
PATHWAY = Rival(
    module="pathway",
    package="pathway",
    environment={"PATHWAY_THREADS": str(len(os.sched_getaffinity(0)))},  # as many as there are cores
)


def plain_loop(stack: Stack, name: str, *, topic: str, specs: Sequence[Spec]) -> Rate:
    """The plain loop on the pre-loaded topic; the first batch is the warm-up, as with the product."""
    settings = stack.settings(topic=topic, specs=specs, checkpoint="none")
    orders = {
        "settings": settings.model_dump(mode="json", exclude={"influx_token"}),
        "events": stack.plan.events,
    }
    ran = run_child("benchmarks.plain_loop", orders, stack.folder / name, python=sys.executable, limit_s=_LIMIT_S)
    return _rate(ran, warm_up_events=settings.max_events_per_batch)


def load_for_quix(stack: Stack, *, specs: Sequence[Spec], seed: int, as_of_s: int) -> str:
    """The topic with the first events of the same stream, keyed by cell."""
    topic = stack.topic("keyed-by-cell")
    load_topic(stack.bootstrap, topic, keyed_by_cell(specs, stack.plan.quix_events, seed=seed, as_of_s=as_of_s))
    return topic


def quix(stack: Stack, name: str, *, topic: str) -> Outcome:
    """Quix Streams on the topic of `load_for_quix`, from its beginning."""
    events = stack.plan.quix_events
    orders = {
        "bootstrap": stack.bootstrap,
        "topic": topic,
        "group": name,
        "events": events,
        "state": str(stack.folder / f"{name}-state"),
    }
    return _rival(stack, QUIX, name, orders, warm_up_events=events // 6)


def pathway(stack: Stack, name: str, *, topic: str, specs: Sequence[Spec]) -> Outcome:
    """Pathway on the pre-loaded topic, with as many worker threads as there are cores."""
    lat, lon = specs[0].grid.corners()
    orders = {
        "bootstrap": stack.bootstrap,
        "topic": topic,
        "group": name,
        "events": stack.plan.events,
        "south_deg": float(lat[0]),
        "west_deg": float(lon[0]),
        "row_deg": float(lat[1] - lat[0]),
        "col_deg": float(lon[1] - lon[0]),
    }
    return _rival(stack, PATHWAY, name, orders, warm_up_events=stack.plan.events // 6)


def _rival(
    stack: Stack,
    rival: Rival,
    name: str,
    orders: Mapping[str, Any],
    *,
    warm_up_events: int,
) -> Outcome:
    try:
        python = str(_environment(rival.module))
        version = _output(
            [python, "-c", f"from importlib.metadata import version; print(version({rival.package!r}))"], limit_s=60
        )
        folder, module = stack.folder / name, f"benchmarks.{rival.module}"
        ran = run_child(module, orders, folder, python=python, limit_s=_LIMIT_S, environment=rival.environment)
        return Outcome(rate=_rate(ran, warm_up_events=warm_up_events), version=version)
    except (ChildError, OSError, subprocess.SubprocessError, ValueError) as error:
        return Outcome(rate=None, reason=" ".join(str(error).split())[-600:])


def _environment(name: str) -> Path:
    """The interpreter of `.venv-bench-NAME`, made when it is missing: the rivals' pins fight with ours."""
    folder = ROOT / f".venv-bench-{name}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.is_file():
        with (ROOT / "pyproject.toml").open("rb") as file:
            wanted = tomllib.load(file)["project"]["optional-dependencies"][f"bench-{name}"]
        venv.create(folder, with_pip=True, clear=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        _output([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted], _INSTALL_LIMIT_S)
        ready.touch()
    return python


def _output(command: Sequence[str], limit_s: float) -> str:
    """What the command prints. Raises ChildError with its last words when it fails."""
    ran = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    if ran.returncode != 0:
        raise ChildError(f"{' '.join(command)} ended with code {ran.returncode}: {ran.stderr.strip()[-400:]}")
    return ran.stdout.strip()


def _rate(ran: Mapping[str, Any], *, warm_up_events: int) -> Rate:
    marks = [(int(done), float(at_s)) for done, at_s in ran["marks"]]
    return rate_of(marks, started_s=ran["started_s"], warm_up_events=warm_up_events)
