"""`python -m models simulate-feedback`: whether a model would chase what visits to its highest cells discover."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models.artifact.pointer import champion_of
from models.cli.options import Artifacts, Region, refuse_unwritable
from models.cube import Floats
from models.evaluation.loop.policies import HELD, SOFTER, Policy
from schemas.errors import needs_extra


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

    from models.evaluation.loop.simulate import CityModel, last_errors, learned_shares

    torch.set_num_threads(1)
    model, console, shares = CityModel.of(champion_of(artifacts, region)), Console(), {}
    refuse_unwritable(out)
    for policy in track((*HELD, SOFTER), "policies", console=console, transient=True):
        shares[policy] = np.stack([learned_shares(model, policy, days=days, seed=seed) for seed in range(seeds)])
    _draw(shares, out / "feedback.png")
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


def _draw(shares: dict[Policy, Floats], path: Path) -> None:
    """The mean error of each policy over the days; dashed where the forecast follows."""
    from models.evaluation.loop.simulate import errors_of

    with needs_extra("evaluate"):
        from models.evaluation.report.drawing.style import PERCENT, canvas, grid_lines, styled
    names = list(dict.fromkeys(policy.name for policy in shares))
    with styled():
        figure = canvas(4.2)
        axes = figure.subplots()
        for policy, of_policy in shares.items():
            style, label = ("--", None) if policy.is_followed else ("-", policy.name)
            axes.plot(errors_of(of_policy).mean(axis=0), style, color=f"C{names.index(policy.name)}", label=label)
        axes.set(xlabel="day", ylim=(0, None), title="Incidents expected in the wrong cells of a city of equal cells")
        axes.yaxis.set_major_formatter(PERCENT)
        axes.legend()
        grid_lines(axes)
        figure.savefig(path, dpi=100)
