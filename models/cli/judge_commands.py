"""`risk evaluate`, `explain`, `disparity` and `simulate-feedback`: how good forecasts are, and for whom."""

import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from rich.text import Text

from models.artifact import Artifact, champion_of
from models.baseline import Floats, horizon_hours, profile_hours
from models.cli.options import (
    DATA_OR_ARCHIVE_HELP,
    TASK_FILE_HELP,
    Artifacts,
    FileLayout,
    MasksFile,
    Region,
    print_file,
    progress_bars,
    refuse_unwritable,
)
from models.counting.count_state import CountState
from models.evaluation.feedback_loop import HELD, SOFTER, Policy
from models.evaluation.tasks import task_of
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from models.files.data_report import data_warnings, place_warnings
from models.hyperparameters import DEFAULT, read_recipe
from models.local_time import zone_of
from models.network_kinds import kind_of_network
from models.training.region_tasks import RegionTask, task_for
from schemas.errors import SettingsError, needs_extra
from schemas.files import replace_file, write_errors
from schemas.frame import ATTRIBUTION_GROUPS
from schemas.spec import HOUR_S

if TYPE_CHECKING:
    from models.training.replay import IncidentHistory

LIBRARIES = ("numpy", "torch", "scipy", "scikit-learn")
BARS = ("counting", "replay", "fitting", "judging")


def evaluate_command(
    what: Annotated[str, typer.Argument(help=f"{TASK_FILE_HELP}; or archive:PATH")],
    out: Annotated[Path, typer.Option(help="Folder for evaluation.json, the picture and the page")],
    region: Annotated[str, typer.Option(help="Of a file or an archive of several regions: which one")] = "",
    step: Annotated[str, typer.Option(help="How far ahead a forecast goes: hour, 4h or day")] = "hour",
    seeds: Annotated[int, typer.Option(min=1, help="Networks to train; the table shows their mean")] = 5,
    origins: Annotated[int, typer.Option(min=1, help="Blocks of time to judge; models are fitted for each")] = 1,
    delay_steps: Annotated[int, typer.Option(min=0, help="Steps until an incident is known")] = 0,
) -> None:
    """Judge the network and its simple rivals, in one table, on the last block of time."""
    import torch

    with needs_extra("evaluate"):
        from models.evaluation.evaluate import evaluate_rolling
        from models.evaluation.evaluation_report import print_table, write_report
        from models.evaluation.judge import EvaluationPlan
        from models.evaluation.regressions import REGRESSIONS
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    console = Console()
    asked = task_for(what, region)
    if asked.recipe and origins > 1:
        raise SettingsError("a recipe, and --origins: the earlier blocks chose it", "leave out one of the two")
    recipe = read_recipe(Path(asked.recipe)).recipe if asked.recipe else DEFAULT
    recipe = msgspec.structs.replace(recipe, network=asked.network or recipe.network)
    kind_of_network(recipe.network)
    task = task_of(asked, step=step, origins=origins, now_s=time.time())
    refuse_unwritable(out)
    until_s = int(task.cube.starts_s[task.validation])
    warnings = data_warnings(task.incidents, until_s, step_s=task.step_s)
    places = place_warnings(task.incidents, task.grid)
    print_file(task.row_counts, (*warnings, *places, *task.calendar.warnings(until_s)), console)
    with progress_bars(BARS, console, transient=True) as report:
        plan = EvaluationPlan(
            regressions=REGRESSIONS,
            seeds=range(seeds),
            purge=1 + delay_steps,
            delay=delay_steps,
            recipe=recipe,
            tell=report,
        )
        versions = {name: version(name) for name in LIBRARIES}
        evaluation = evaluate_rolling(task, plan, origins=origins, now=datetime.now(UTC), versions=versions)
    print_table(evaluation, console)  # first, so that hours of work can be read even if a file cannot be written
    page = write_report(evaluation, out)
    console.print(f"report: {page}", soft_wrap=True)


def explain_command(
    region: Annotated[str, typer.Option(help="Region of the artifact")],
    cell: Annotated[str, typer.Option(help="Cell id as on the map: r012c034")],
    artifacts: Artifacts = Path("data/artifacts"),
) -> None:
    """Show the parts of each score where the model's data end: history, hour, recent counts, the network."""
    artifact = champion_of(artifacts, region)
    place = artifact.spec.grid.index_of(cell)
    state = artifact.history()
    console = Console(highlight=False)
    when = datetime.fromtimestamp(state.as_of_s, zone_of(artifact.spec.timezone)).strftime("%Y-%m-%d %H:%M")
    parts, usual = parts_of(artifact, state, place)
    console.print(f"{region}, cell {cell}, {when}, model {artifact.version}", soft_wrap=True)
    if artifact.network_fault:
        console.print(
            f"[yellow]warning:[/yellow] {escape(artifact.network_fault)}: the scores are those of the baseline",
            soft_wrap=True,
        )
    console.print("expected = the parts multiplied; below 1 a part makes the score smaller\n", soft_wrap=True)
    for number, category in enumerate(artifact.spec.categories):
        table = Table("", title=category, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for horizon in artifact.spec.horizon_names:
            table.add_column(horizon, justify="right")
        factors = {name: np.exp(log[number]) for name, log in parts.items()}
        (rate, incidents), *others = factors.items()
        table.add_row(f"{rate}, incidents", *(f"{of_horizon:.3g}" for of_horizon in incidents))
        for name, of_part in others:
            table.add_row(f"x {name}", *(f"{factor:.3f}" for factor in of_part))
        expected = np.prod([*factors.values()], axis=0)
        table.add_row("[bold]expected[/bold]", *(f"[bold]{of_horizon:.3g}[/bold]" for of_horizon in expected))
        of_usual = np.exp(usual[number])
        table.add_row("usual (without the network)", *(f"{of_horizon:.3g}" for of_horizon in of_usual))
        console.print(table)


def parts_of(artifact: Artifact, state: CountState, cell: int) -> tuple[dict[str, Floats], Floats]:
    """The parts of log expected in a cell by their names, and the log of what is usual: (categories, horizons) each.

    As `state` stands; without a network the baseline's parts alone.
    """
    from models.attribution import groups_of, shares  # torch takes seconds to import

    spec, constants = artifact.spec, artifact.constants
    values = FeatureEngine(spec, constants).compute(state).values
    at_s, horizons_s = state.tick_s, spec.horizons_s
    own = np.log(horizon_hours(constants, at_s, spec)[cell])
    average = np.log(np.stack([profile_hours(constants, at_s, at_s + h, spec.timezone) for h in horizons_s], axis=1))
    length = np.log(np.array(horizons_s) / 3600)
    usual = values[cell, :, usual_columns(len(horizons_s))].astype(np.float64)
    parts = {
        "the cell's rate at the region's level": usual - own + length,
        "hour of the week": average - length,
        "the cell's own day": own - average,
    }
    network, words = artifact.network(), ATTRIBUTION_GROUPS
    if network is not None:
        added = shares(network, values[cell : cell + 1], groups_of(spec.features))
        parts |= {words[name]: share[0] for name, share in added.items()}
    return parts, usual


def disparity_command(
    region: Region,
    groups: Annotated[Path, typer.Option(help="CSV cell,group[,people], or GeoJSON of areas with a `group`")],
    data: Annotated[str, typer.Option(help=f"What came. {DATA_OR_ARCHIVE_HELP}")],
    layout: FileLayout = "",
    masks: MasksFile = None,
    artifacts: Artifacts = Path("data/artifacts"),
    top: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share of the area that is put first")] = 0.05,
    out: Annotated[Path, typer.Option(help="Folder for disparity.csv and summary.md")] = Path("out/disparity"),
) -> None:
    """Compare what groups of cells get from the forecasts, and what it costs them where these are wrong.

    The region's model forecasts all that the data have after its own end. Groups reach no artifact, frame or store.
    """
    from models.evaluation.disparity import HEADINGS, MEANING, files_of, read_groups, rows_of, tables_of, tallies_of

    artifact, console = champion_of(artifacts, region), Console(highlight=False)
    chosen = read_groups(groups, artifact.spec.grid)
    refuse_unwritable(out)
    past = _past_of(artifact, data, layout, masks)
    with progress_bars(["replay"], console, transient=True) as report:
        tallies = tallies_of(artifact, past, chosen, top, lambda share: report("replay", share))
    rows = rows_of(tallies, artifact.spec.categories)
    first, last = (datetime.fromtimestamp(at_s, UTC) for at_s in (artifact.manifest.data.cutoff_s, past.cutoff_s))
    sentences = [
        f"{region}, model {artifact.version}, {first:%Y-%m-%d} to {last:%Y-%m-%d} UTC, which it does not "
        f"know. Put first: {next(iter(tallies.values())).top} cells of those with any history. Shares are of "
        f"{'people living' if chosen.has_people else 'cells'}; {(chosen.of_cell < 0).sum()} cells are in no group."
    ]
    if missing := [name for name in artifact.spec.horizon_names if name not in tallies]:
        sentences.append(f"Too short for a forecast of {', '.join(missing)}.")
    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=True)
    for heading, texts in tables_of(rows):
        table = Table(HEADINGS[0], title=heading, title_justify="left", box=None, padding=(0, 0, 0, 1), pad_edge=False)
        for name in HEADINGS[1:]:
            table.add_column(name.replace(" / ", "/\n").replace(" ", "\n"), justify="right", no_wrap=True)
        for line in texts:
            table.add_row(*map(Text, line))
        console.print(table)
    for sentence in MEANING:
        console.print(Text(sentence, style="dim"), soft_wrap=True)
    with write_errors(SettingsError, f"--out {out}"):
        for name, content in files_of(rows, sentences).items():
            replace_file(out / name, content)
    console.print(f"every category: {out / 'disparity.csv'}", soft_wrap=True)


def _past_of(artifact: Artifact, data: str, layout: str, masks: Path | None) -> "IncidentHistory":
    """What came, until the end of the last whole hour, as the artifact counts it."""
    from models.training.replay import IncidentHistory
    from models.training.train_region import read_data, table_like

    spec = artifact.spec
    task = RegionTask(data=data, layout=layout, region=spec.region, merge=spec.merge, masks=str(masks or ""))
    incidents, _ = read_data(task, spec)
    end_s = (int(incidents.occurred_s[-1]) + 1) // HOUR_S * HOUR_S
    table = table_like(incidents, spec, region=spec.region, cutoff_s=end_s)
    return IncidentHistory.of(table, spec, end_s)


def simulate_feedback_command(
    out: Annotated[Path, typer.Option(help="Folder for the picture, feedback.png")] = Path("out/feedback"),
    region: Region = "chicago",
    artifacts: Artifacts = Path("streaming/sample/artifacts"),
    seeds: Annotated[int, typer.Option(min=1, help="Simulated cities of each policy")] = 20,
    days: Annotated[int, typer.Option(min=1, help="Days of visits")] = 60,
) -> None:
    """Put a region's model into a simulated city where all places are alike, and visit its highest cells every day.

    What visits discover is `officer_initiated`. Not counted, as by default, it moves no forecast; counted, it does.
    That places report unequally is not removed. Ends with code 1 where a figure is not as it is held to be.
    """
    import torch

    from models.evaluation.feedback_loop import CityModel, errors_of, last_errors, learned_shares

    with needs_extra("evaluate"):
        from models.evaluation.drawing import PERCENT, canvas, grid_lines, styled
    torch.set_num_threads(1)
    model, console, shares = CityModel.of(champion_of(artifacts, region)), Console(), dict[Policy, Floats]()
    refuse_unwritable(out)
    for policy in track((*HELD, SOFTER), "policies", console=console, transient=True):
        shares[policy] = np.stack([learned_shares(model, policy, days=days, seed=seed) for seed in range(seeds)])
    names = list(dict.fromkeys(policy.name for policy in shares))
    with styled():  # dashed where the forecast follows
        figure = canvas(4.2)
        axes = figure.subplots()
        for policy, of_policy in shares.items():
            style, label = ("--", None) if policy.is_followed else ("-", policy.name)
            axes.plot(errors_of(of_policy).mean(axis=0), style, color=f"C{names.index(policy.name)}", label=label)
        axes.set(xlabel="day", ylim=(0, None), title="Incidents expected in the wrong cells of a city of equal cells")
        axes.yaxis.set_major_formatter(PERCENT)
        axes.legend()
        grid_lines(axes)
        figure.savefig(out / "feedback.png", dpi=100)
    table = Table("policy", "discovered", "follows", "largest", "error", "95 %", "verdict", box=None, padding=(0, 1))
    is_as_held = {policy: policy.holds(*last_errors(of_policy)) for policy, of_policy in shares.items()}
    for policy, of_policy in shares.items():
        counted, follows = "counted" if policy.counts_discovered else "not counted", "yes" if policy.is_followed else ""
        figures = (f"{figure:.3f}" for figure in (of_policy[:, -1].max(axis=1).mean(), *last_errors(of_policy)))
        verdict = policy.verdict if is_as_held[policy] else "[red]broken[/red]"
        table.add_row(policy.name, counted, follows, *figures, verdict)
    console.print(table, f"picture: {out / 'feedback.png'}", sep="\n", soft_wrap=True)
    if not all(is_as_held.values()):
        raise typer.Exit(1)
