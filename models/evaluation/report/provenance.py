"""How an evaluation was done, in words: data, blocks of time, and what each model chose."""

from msgspec import to_builtins

from models.dispersion import LINEAR
from models.evaluation.report.findings import minute, step_name
from models.evaluation.result import Evaluation, ModelResult
from models.hyperparameters import DEFAULT
from models.measures.paired import BLOCK_DAYS, RESAMPLES

_EARLIER = (
    "grid and scored cells are the same for all blocks: for a file, those of the earliest block; for a "
    "named task, the published ones. The default recipe was chosen on such blocks of the two files of the named tasks"
)


def how_made(evaluation: Evaluation) -> dict[str, str]:
    """What a reader needs to check the evaluation, or to repeat it."""
    cube, unit = evaluation.cube, step_name(evaluation)
    steps, seeds = len(cube) - evaluation.first, evaluation.network.seeds
    return {
        "Task": f"{evaluation.task}: {evaluation.title}",
        "Data": f"{evaluation.data_file}, sha256 {evaluation.data_sha256}",
        "Judged on": f"{_steps(steps, unit)}, {minute(int(cube.starts_s[evaluation.first]))} to "
        f"{minute(int(cube.starts_s[-1]))} UTC. In this run no model used them to learn or to choose",
        "Cells": f"{evaluation.scored_cells:,} of {cube.rows * cube.cols:,} cells of {cube.cell_m:,.0f} m are scored, "
        "each in every step and category, also where nothing happened",
        "Categories": ", ".join(cube.categories),
        "Outside": f"{evaluation.outside:,} incidents of the judged steps lie in no cell and are not judged",
        "Quiet cells": "every model may mix a share of its category's mean into its forecasts, chosen on the steps "
        "before the judged ones, and every forecast is at least a ten-thousandth of that mean plus half an incident "
        "over all learned steps and cells: with a forecast of zero, one surprise would be infinitely bad",
        "Purge": f"{_steps(evaluation.purge_steps, unit)} left out between what a model learned from and the first "
        "that it is judged on. A forecast itself may use the steps before, as in production",
        "Delay": f"counts are known {_steps(evaluation.delay_steps, unit)} late"
        if evaluation.delay_steps
        else "none: counts are known as soon as a step ends",
        "Also known": "; ".join(f"{name}: {what}" for name, what in evaluation.also_known.items())
        or "nothing: no holidays, no outside series",
        "Leaks": "at a random step, the rules' forecasts were computed again with another future, and the product's "
        "features without it; nothing differed",
        "Comparison": "differences of the negative binomial log scores of the same steps, in runs of "
        f"{BLOCK_DAYS} days; runs and seeds are drawn {RESAMPLES:,} times, and the interval is widened where runs "
        f"are few or alike: {_correlation(evaluation)}. The best rival is the one with the "
        "best score on the judged steps themselves, which is in its favour",
        "Seeds": f"{', '.join(map(str, evaluation.seeds))}, of the network and of other models with seeds; figures are "
        "their mean, curves those of the first"
        if seeds > 1
        else "one: how much seeds differ was not measured",
        "Hyperparameters": _recipe(evaluation),
        **({"Earlier blocks": _EARLIER} if evaluation.origins else {}),
        "Effort": f"{_duration(evaluation.seconds)}, {evaluation.peak_gib:.1f} GiB of memory at most without Java",
        "Versions": ", ".join(f"{name} {version}" for name, version in sorted(evaluation.versions.items())),
        "Made at": evaluation.made_at,
    }


def _correlation(evaluation: Evaluation) -> str:
    found = evaluation.network.versus_best_baseline
    return (
        f"the network's differences to the best rival of neighbouring runs correlate by {found.correlation:+.2f}"
        if found
        else "the network was compared with nothing"
    )


def _recipe(evaluation: Evaluation) -> str:
    settings = to_builtins(evaluation.recipe)
    words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
    return f"{words}{' (the default)' if evaluation.recipe == DEFAULT else ''}"


def facts(row: ModelResult, evaluation: Evaluation) -> dict[str, str]:
    """What a model is and what it chose."""
    sizes = zip(evaluation.cube.categories, row.dispersion.r.tolist(), row.dispersion.power.tolist(), strict=True)
    return {
        "model": row.model,
        "kind": "counts only" if row.kind == "rule" else "sees the product's features",
        "chosen": ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in row.chosen.items()) or "nothing",
        "dispersion": ", ".join(f"{name} {r:.3g}{' x mean' if power == LINEAR else ''}" for name, r, power in sizes),
        "seeds": f"{row.seeds}",
        "time": _duration(row.seconds),
    }


def _steps(number: int, unit: str) -> str:
    length = unit if unit[0].isdigit() else f"one {unit}"
    return "no step" if not number else f"{number:,} step{'s' if number > 1 else ''} of {length}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
