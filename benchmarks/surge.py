"""`python -m benchmarks.surge`: ten times the load for a minute, and an outage of the scorer, in an open loop."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from benchmarks.child import ROOT, ChildError, child, wait_for
from benchmarks.job import TimedBatch
from benchmarks.machine import describe_machine, describe_versions, made_at
from benchmarks.plan import FULL, bench_specs
from benchmarks.product import RunningJob, ledger, running_job
from benchmarks.report import write_results
from benchmarks.sent_log import count_sent, sent_so_far
from benchmarks.stack import Stack, running_stack
from benchmarks.surge_figures import NORMAL_FACTOR, WINDOW_S, figures_of, normal_from, phase, timed
from benchmarks.surge_report import surge_page
from benchmarks.surge_traffic import Orders
from schemas.errors import RiskError

OUT = ROOT / "out" / "load.json"
PAGE = ROOT / "docs" / "explanation" / "load.md"
REGIONS = 2
TOPIC = "incidents"
_CHECKPOINT = "surge-checkpoint"
_LIMIT_S = 600.0
_LOG_LAG_S = 3.0  # the sender writes its rows by the thousand
_UNDER_WAY = 5_000  # events: what normal operation has under way, and what the sender's log lags behind
_AFTERWARDS_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SurgePlan:
    """Rates in events per second, times in seconds."""

    normal_per_s: float = 1_000.0
    surge_per_s: float = 10_000.0
    warm_up_s: float = 30.0  # sent and not reported: Spark has seen events and loaded torch
    normal_s: float = 30.0
    surge_s: float = 60.0
    stop_s: float

    @property
    def rates(self) -> list[tuple[float, float]]:
        return [
            (self.normal_per_s, self.warm_up_s + self.normal_s),
            (self.surge_per_s, self.surge_s),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """The sending process and what it writes."""

    process: Popen[bytes]
    folder: Path
    log: Path


def measure(stack: Stack, plan: SurgePlan, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures. Raises ChildError when the job or the sender fails or the ledger is not what was sent."""
    specs, topic, folder = bench_specs(REGIONS), stack.topic(TOPIC), stack.folder / "surge-traffic"
    with contextlib.ExitStack() as at_the_end:
        with running_job(stack, "before", topic=topic, specs=specs, checkpoint=_CHECKPOINT) as job:
            job.wait_until_ready()
            orders = Orders(
                bootstrap=stack.bootstrap,
                topic=topic,
                regions=REGIONS,
                rates=plan.rates,
                then_per_s=plan.normal_per_s,
                seed=60,
                begin_s=time.time() + 3.0,
                log=str(folder / "sent.f64"),
            )
            say(f"{plan.normal_per_s:,.0f} events/s, then {plan.surge_per_s:,.0f} for {plan.surge_s:.0f} s")
            process = at_the_end.enter_context(
                child("benchmarks.surge_traffic", msgspec.to_builtins(orders), folder, python=sys.executable)
            )
            sender = Sender(process=process, folder=folder, log=Path(orders.log))
            spans = spans_of(plan, orders.begin_s)
            again_s, known_s = _wait_until_normal(spans, job, sender)
            spans |= {"until normal again": (spans["surge"][1], again_s), "normal again": (again_s, known_s)}
            say(f"normal again {again_s - spans['surge'][1]:.0f} s later")
            say(f"the scorer stops for {plan.stop_s / 60:g} minutes")
            stopping_s = time.time()
            job.stop()
            before = job.batches()
        _sleep_until(stopping_s + plan.stop_s, sender)
        say("the scorer is started again")
        start_s = time.time()
        with running_job(stack, "after", topic=topic, specs=specs, checkpoint=_CHECKPOINT) as job:
            _wait_until_caught_up(before, job, sender)
            process.send_signal(signal.SIGTERM)
            wait_for(process, folder, done=lambda: process.poll() == 0, limit_s=120)
            sent = sent_so_far(sender.log)
            before_consumed = ledger(before)["consumed"]
            wait_for(
                job.process,
                job.folder,
                done=lambda: before_consumed + ledger(job.batches())["consumed"] >= len(sent),
                limit_s=_LIMIT_S,
            )
            after = job.batches()
            job.stop()
    return figures_of(sent, before, after, spans=spans, stopping_s=stopping_s, start_s=start_s)


def spans_of(plan: SurgePlan, begin_s: float) -> dict[str, tuple[float, float]]:
    """Begin and end of the two phases that the plan fixes, epoch seconds."""
    normal_s = begin_s + plan.warm_up_s
    surge_s = normal_s + plan.normal_s
    return {"normal": (normal_s, surge_s), "surge": (surge_s, surge_s + plan.surge_s)}


def _wait_until_normal(
    spans: Mapping[str, tuple[float, float]], job: RunningJob, sender: Sender
) -> tuple[float, float]:
    """When it was, and until when every event's latency is known, epoch seconds."""
    over_s = spans["surge"][1]
    _sleep_until(over_s + WINDOW_S, sender, job)
    normal = phase(*timed(sent_so_far(sender.log), job.batches()), *spans["normal"])
    limit_s = NORMAL_FACTOR * normal["p99"] / 1000
    while time.time() < over_s + _LIMIT_S:
        _sleep_until(time.time() + 1.0, sender, job)
        sent = sent_so_far(sender.log)
        intended_s, latency_s = timed(sent[sent[:, 2] >= over_s], job.batches())
        until_s = intended_s.max(initial=over_s) - _LOG_LAG_S
        again_s = normal_from(intended_s, latency_s, since_s=over_s, until_s=until_s, limit_s=limit_s)
        if again_s is not None:
            return again_s, float(until_s)
    raise ChildError(f"latency was not normal again {_LIMIT_S:.0f} s after the surge")


def _wait_until_caught_up(before: Sequence[TimedBatch], job: RunningJob, sender: Sender) -> None:
    """Return some seconds after hardly more waits than is under way."""
    done = ledger(before)["consumed"]
    deadline_s = time.time() + _LIMIT_S
    while count_sent(sender.log) - done - ledger(job.batches())["consumed"] > _UNDER_WAY:
        _sleep_until(time.time() + 1.0, sender, job)
        if time.time() > deadline_s:
            raise ChildError(f"the job had not caught up after {_LIMIT_S:.0f} s")
    _sleep_until(time.time() + _AFTERWARDS_S, sender, job)


def _sleep_until(at_s: float, sender: Sender, job: RunningJob | None = None) -> None:
    """Raises ChildError, with what its log says, when the sender or the job ends meanwhile."""
    while time.time() < at_s:
        time.sleep(min(0.5, max(0.0, at_s - time.time())))
        watched = [(sender.process, sender.folder), *([(job.process, job.folder)] if job else [])]
        for process, folder in watched:
            if process.poll() is not None:
                wait_for(process, folder, done=lambda: False, limit_s=0)


def surge(
    stop_minutes: Annotated[float, typer.Option(min=0.1, help="How long the scorer is stopped")] = 10.0,
    docs: Annotated[bool, typer.Option(help="Also write docs/explanation/load.md")] = True,
) -> None:
    """Latency in a surge and after it, and how long the job needs to catch up after an outage of its own."""
    console = Console()
    start_s = time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - start_s:5.0f} s  {what}[/dim]", highlight=False, soft_wrap=True)

    plan = SurgePlan(stop_s=stop_minutes * 60)
    results: dict[str, Any] = {**made_at(), "machine": describe_machine(), "versions": describe_versions()}
    with running_stack(FULL) as stack:
        results |= {"plan": asdict(plan), "regions": REGIONS} | measure(stack, plan, say)
    write_results(results, OUT)
    page = surge_page(results)
    if docs:
        PAGE.write_text(page, encoding="utf-8")
    console.print(page, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that broker and store are ended
    try:
        typer.run(surge)
    except (RiskError, ChildError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
