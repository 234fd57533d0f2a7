"""Rivals on the same broker and messages, in turn with the product. The reason why a round has no rate is kept."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.child import ROOT, ChildError, run_child
from benchmarks.rates import Rate, rate_of
from benchmarks.stack import Stack
from schemas.spec import Spec

RIVALS = {"plain_loop": "the plain loop", "pathway": "Pathway"}
_PATHWAY = "pathway==0.33.0"  # in an environment of its own: its pins contradict ours
_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A rival's rate in a round, or why there is none."""

    rate: Rate | None = None
    reason: str | None = None


def measure_rival(rival: str, stack: Stack, name: str, *, topic: str, specs: Sequence[Spec]) -> Outcome:
    """A rival of RIVALS on the pre-loaded topic, from its beginning; what its first batch takes is the warm-up."""
    measure = {"plain_loop": _plain_loop, "pathway": _pathway}[rival]
    try:
        return Outcome(rate=measure(stack, name, topic, specs))
    except (ChildError, OSError, subprocess.SubprocessError, ValueError) as error:
        return Outcome(reason=" ".join(str(error).split())[-600:])


def compared(name: str, ours: Sequence[Rate], theirs: Sequence[Outcome]) -> dict[str, Any]:
    """A rival's figures: the median over the rounds of product / rival, each round's own pair, and their spread."""
    pairs = [(our, their.rate) for our, their in zip(ours, theirs, strict=True) if their.rate]
    ratios = sorted(our.steady_eps / rate.steady_eps for our, rate in pairs)
    return {
        f"ratio_to_{name}": round(median(ratios), 3) if ratios else None,
        f"ratio_to_{name}_spread": [round(ratios[0], 3), round(ratios[-1], 3)] if ratios else None,
        f"ratio_to_{name}_reason": next((their.reason for their in theirs if their.reason), None),
        f"{name}_eps": round(median(rate.steady_eps for _, rate in pairs)) if pairs else None,
    }


def _plain_loop(stack: Stack, name: str, topic: str, specs: Sequence[Spec]) -> Rate:
    settings = stack.settings(topic=topic, specs=specs, checkpoint="none")
    orders = {"settings": settings.model_dump(mode="json", exclude={"influx_token"}), "events": stack.plan.events}
    ran = run_child("benchmarks.plain_loop", orders, stack.folder / name, python=sys.executable, limit_s=_LIMIT_S)
    return _rate(ran, warm_up_events=settings.max_events_per_batch)


def _pathway(stack: Stack, name: str, topic: str, specs: Sequence[Spec]) -> Rate:
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
    threads = {"PATHWAY_THREADS": str(len(os.sched_getaffinity(0)))}  # as many as there are cores
    python, folder = _python_of_pathway(), stack.folder / name
    ran = run_child("benchmarks.pathway", orders, folder, python=python, limit_s=_LIMIT_S, environment=threads)
    return _rate(ran, warm_up_events=stack.plan.events // 6)


def _python_of_pathway() -> str:
    """The interpreter of `.venv-bench`, which is made when it is missing."""
    uv = str(Path(sys.executable).with_name("uv"))
    for words in (["venv", "--allow-existing", ".venv-bench"], ["pip", "install", "-p", ".venv-bench", _PATHWAY]):
        ran = subprocess.run([uv, *words], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        if ran.returncode != 0:
            raise ChildError(f"uv {' '.join(words)}: {ran.stderr.strip()[-400:]}")
    return str(ROOT / ".venv-bench" / "bin" / "python")


def _rate(ran: Mapping[str, Any], *, warm_up_events: int) -> Rate:
    marks = [(int(done), float(at_s)) for done, at_s in ran["marks"]]
    return rate_of(marks, started_s=ran["started_s"], warm_up_events=warm_up_events)
