"""`python -m benchmarks [--quick]` measures throughput, latency and full frames; its commands measure the rest."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.plan import FULL, QUICK
from schemas.errors import RiskError

RESULTS = Path(__file__).with_name("results.json")
QUICK_RESULTS = RESULTS.parents[1] / "out" / "bench" / "results-quick.json"
Quick = Annotated[bool, typer.Option("--quick", help="Few events and short times: to see that all of it runs")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def sayer(console: Console) -> Callable[[str], None]:
    """Says what begins, and how many seconds after now."""
    start_s = time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - start_s:5.0f} s  {what}[/dim]", highlight=False, soft_wrap=True)

    return say


@app.callback(invoke_without_command=True)
def measure(context: typer.Context, quick: Quick = False) -> None:
    """Throughput, latency, full frames and rivals; a table, and results.json (a quick run's go to out/bench)."""
    if context.invoked_subcommand:
        return
    from benchmarks.bench import measure_all  # torch and clients: seconds that --help saves
    from benchmarks.report import print_results, write_results

    console = Console()
    path = QUICK_RESULTS if quick else RESULTS

    results = measure_all(QUICK if quick else FULL, sayer(console))
    write_results(results, path)
    print_results(results, console)
    console.print(f"written to {path.relative_to(RESULTS.parents[1])}")


@app.command("against")
def against_command(
    commit: Annotated[str, typer.Argument(help="What this tree is compared with")],
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured")] = 3,
    quick: Quick = False,
) -> None:
    """Throughput, latency and start of another commit and of this tree, in turn; out/bench/against.json."""
    from benchmarks.against import figures_of, measure_against
    from benchmarks.report import write_results

    console, path = Console(), QUICK_RESULTS.with_name("against.json")
    results = measure_against(commit, rounds=rounds, quick=quick, say=sayer(console))
    write_results(results, path)
    console.print(figures_of(results))
    console.print(f"written to {path.relative_to(RESULTS.parents[1])}")


@app.command("load")
def load_command(
    rate: Annotated[float, typer.Option(min=10, help="Messages a second")] = 1000.0,
    minutes: Annotated[float, typer.Option(min=0.5, help="For so long")] = 5.0,
    kill: Annotated[float, typer.Option(min=0, help="Minutes in the middle without the scorer, after SIGKILL")] = 0.0,
    speed: Annotated[float, typer.Option(min=1, help="Simulated seconds in a second; 2880 shows what grows")] = 1.0,
) -> None:
    """The job under load: latency, an outage, what grows, an exact ledger; out/load.json. Fails where one is wrong."""
    from benchmarks.drive import LoadPlan, run_load
    from benchmarks.machine import describe_machine, made_at
    from benchmarks.report import load_tables, what_is_wrong, write_results
    from benchmarks.stack import running_stack

    console, path = Console(), RESULTS.parents[1] / "out" / "load.json"
    plan = LoadPlan(rate_per_s=rate, minutes=minutes, kill_minutes=kill, speed=speed)
    results = {**made_at(), "machine": describe_machine(), "plan": plan}
    with running_stack(FULL) as stack:
        results |= run_load(stack, plan, sayer(console))
    write_results(results, path)
    console.print(*load_tables(results))
    console.print(f"written to {path.relative_to(RESULTS.parents[1])}")
    for fault in (wrong := what_is_wrong(results)):
        console.print(fault, markup=False, highlight=False)
    if wrong:
        raise typer.Exit(1)


@app.command("follow")
def follow_command(
    city: Annotated[list[str] | None, typer.Option(help="simulated, montgomery or chicago; all")] = None,
    bed: Annotated[list[str] | None, typer.Option(help="A change, as the table names it; all")] = None,
    origins: Annotated[int, typer.Option(min=1, help="Moments until which a network learns")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Networks at each")] = 3,
    quick: Quick = False,
) -> None:
    """What following gains where a city changes and costs where none does; out/follow.json and out/follow.png."""
    from benchmarks.follow import measure as measure_following
    from benchmarks.follow import table_of, write_picture
    from benchmarks.follow_beds import BEDS, CITIES
    from benchmarks.machine import made_at
    from benchmarks.report import write_results

    console, path = Console(width=170), RESULTS.parents[1] / "out" / "follow.json"
    if unknown := {*(city or ()), *(bed or ())} - {*CITIES, *BEDS}:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose of {', '.join((*CITIES, *BEDS))}")
    rows = measure_following(
        city or [*CITIES], bed or [*BEDS], origins=origins, seeds=seeds, quick=quick, say=sayer(console)
    )
    write_results({**made_at(), "rows": rows}, path)
    console.print(table_of(rows))
    write_picture(rows, path.with_suffix(".png"))


@app.command("nowcast")
def nowcast_command(
    city: Annotated[list[str] | None, typer.Option(help="simulated, montgomery or chicago; all")] = None,
    origins: Annotated[int, typer.Option(min=1, help="Moments until which a region learns")] = 3,
    quick: Quick = False,
) -> None:
    """What the last hour tells of the next 1 and 4 in what `train` makes of a city; out/nowcast.json."""
    from benchmarks.follow_beds import CITIES
    from benchmarks.machine import made_at
    from benchmarks.nowcast import measure, table_of
    from benchmarks.report import write_results

    console, path = Console(width=170), RESULTS.parents[1] / "out" / "nowcast.json"
    rows = measure(city or [*CITIES], origins=origins, quick=quick, say=sayer(console))
    write_results({**made_at(), "rows": rows}, path)
    console.print(table_of(rows))


@app.command("unusual")
def unusual_command(
    city: Annotated[list[str] | None, typer.Option(help="simulated, montgomery or chicago; all")] = None,
    weeks: Annotated[int, typer.Option(min=1, max=13, help="Of chance, and real ones")] = 13,
    tries: Annotated[int, typer.Option(min=1, help="Planted clusters of each kind")] = 50,
) -> None:
    """How often *more than usual* is said by chance and in real weeks, and how soon of a cluster; out/unusual.json."""
    from benchmarks.follow_beds import CITIES
    from benchmarks.machine import made_at
    from benchmarks.report import write_results
    from benchmarks.unusual import cost_ms, measure, tables_of

    console, path = Console(width=130), RESULTS.parents[1] / "out" / "unusual.json"
    rates, clusters, words = measure(city or [*CITIES], weeks=weeks, tries=tries, say=sayer(console))
    mean, most = cost_ms()
    write_results({**made_at(), "calls": rates, "clusters": clusters, "real": words, "ms": [mean, most]}, path)
    for line in words:
        console.print(line, highlight=False, soft_wrap=True)
    console.print(*tables_of(rates, clusters))
    console.print(f"a look at 2,304 cells x 4 categories: {mean:.1f} ms of CPU, at most {most:.1f}")


def main() -> None:
    from benchmarks.child import ChildError

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that broker and store are ended
    try:
        app()
    except (RiskError, ChildError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
