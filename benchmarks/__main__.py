"""`python -m benchmarks [--quick]` measures throughput, latency and full frames; its commands measure the rest."""

import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from schemas.errors import RiskError

# The commands import what they need: torch, Spark and clients take seconds that --help saves.
OUT = Path(__file__).parents[1] / "out"
RESULTS = Path(__file__).with_name("results.json")
Quick = Annotated[bool, typer.Option("--quick", help="Few events and short times: to see that all of it runs")]
Cities = Annotated[list[str] | None, typer.Option("--city", help="simulated, montgomery or chicago; all")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(soft_wrap=True, highlight=False)
START_S = time.monotonic()


def say(what: str) -> None:
    """What begins, and how many seconds after the start."""
    console.print(f"[dim]{time.monotonic() - START_S:5.0f} s  {what}[/dim]")


def keep(results: dict[str, Any], path: Path, *shown: RenderableType) -> None:
    """Write the results and show what people read of them."""
    from benchmarks.stack import write_results

    write_results(results, path)
    wide = Console(width=170)
    wide.print(*shown)
    wide.print(f"written to {path.relative_to(OUT.parent)}")


@app.callback(invoke_without_command=True)
def measure(context: typer.Context, quick: Quick = False) -> None:
    """Throughput, latency, full frames and rivals; a table, and results.json (a quick run's go to out/bench)."""
    if context.invoked_subcommand:
        return
    from benchmarks.bench import measure_all, results_table
    from benchmarks.stack import FULL, QUICK

    results = measure_all(QUICK if quick else FULL, say)
    keep(results, OUT / "bench" / "results-quick.json" if quick else RESULTS, results_table(results))


@app.command("against")
def against_command(
    commit: Annotated[str, typer.Argument(help="What this tree is compared with")],
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured")] = 3,
    quick: Quick = False,
) -> None:
    """Throughput, latency and start of another commit and of this tree, in turn; out/bench/against.json."""
    from benchmarks.bench import figures_of, measure_against

    results = measure_against(commit, rounds=rounds, quick=quick, say=say)
    keep(results, OUT / "bench" / "against.json", figures_of(results))


@app.command("load")
def load_command(
    rate: Annotated[float, typer.Option(min=10, help="Messages a second")] = 1000.0,
    minutes: Annotated[float, typer.Option(min=0.5, help="For so long")] = 5.0,
    kill: Annotated[float, typer.Option(min=0, help="Minutes in the middle without the scorer, after SIGKILL")] = 0.0,
    speed: Annotated[float, typer.Option(min=1, help="Simulated seconds in a second; 2880 shows what grows")] = 1.0,
) -> None:
    """The job under load: latency, an outage, what grows, an exact ledger; out/load.json. Fails where one is wrong."""
    from benchmarks.load import LoadPlan, load_tables, run_load, what_is_wrong
    from benchmarks.stack import FULL, describe_machine, made_at, running_stack

    plan = LoadPlan(rate_per_s=rate, minutes=minutes, kill_minutes=kill, speed=speed)
    results = {**made_at(), "machine": describe_machine(), "plan": plan}
    with running_stack(FULL) as stack:
        results |= run_load(stack, plan, say)
    keep(results, OUT / "load.json", *load_tables(results))
    if wrong := what_is_wrong(results):
        console.print("\n".join(wrong), markup=False)
        raise typer.Exit(1)


@app.command("rest")
def rest_command(
    small: Annotated[bool, typer.Option("--small", help="With the settings of deploy/small.env")] = False,
    first: Annotated[float, typer.Option(min=0, help="Minute from which is measured")] = 8.0,
    last: Annotated[float, typer.Option(min=2, help="Minute until which is measured")] = 11.0,
) -> None:
    """CPU and memory of job and service with an event a minute; out/rest.json."""
    from benchmarks.at_rest import measure_rest
    from benchmarks.stack import FULL, running_stack

    lines = (OUT.parent / "deploy" / "small.env").read_text(encoding="utf-8").splitlines() if small else []
    settings = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    with running_stack(FULL) as stack:
        results = measure_rest(stack, settings, say, first=first, last=last)
    shown = (f"{name} {dict(results[name])}\n" for name in ("cpu_s_a_minute", "memory_mib"))
    keep(results, OUT / "rest.json", *shown, f"scored_after_s {results['scored_after_s']}")


@app.command("follow")
def follow_command(
    city: Cities = None,
    bed: Annotated[list[str] | None, typer.Option(help="A change, as the table names it; all")] = None,
    origins: Annotated[int, typer.Option(min=1, help="Moments until which a network learns")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Networks at each")] = 3,
    quick: Quick = False,
) -> None:
    """What following gains where a city changes and costs where none does; out/follow.json."""
    from benchmarks.cities import BEDS, CITIES, following_table, measure_following
    from benchmarks.stack import made_at

    if unknown := {*(city or ()), *(bed or ())} - {*CITIES, *BEDS}:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose of {', '.join((*CITIES, *BEDS))}")
    rows = measure_following(city or [*CITIES], bed or [*BEDS], origins=origins, seeds=seeds, quick=quick, say=say)
    keep({**made_at(), "rows": rows}, OUT / "follow.json", following_table(rows))


@app.command("nowcast")
def nowcast_command(
    city: Cities = None,
    origins: Annotated[int, typer.Option(min=1, help="Moments until which a region learns")] = 3,
    quick: Quick = False,
) -> None:
    """What the last hour tells of the next 1 and 4 in what `train` makes of a city; out/nowcast.json."""
    from benchmarks.cities import CITIES, measure_nowcast, nowcast_tables
    from benchmarks.stack import made_at
    from models.evaluation.evaluation_report import SURGE_MEANING

    rows = measure_nowcast(city or [*CITIES], origins=origins, quick=quick, say=say)
    keep({**made_at(), "after_surges": rows}, OUT / "nowcast.json", *nowcast_tables(rows), SURGE_MEANING)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that broker and store are ended
    try:
        app()
    except Exception as error:
        from benchmarks.stack import ChildError

        if not isinstance(error, RiskError | ChildError):
            raise
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
