"""Trains what a file of tasks asks for: each region's spec, its data, and the artifact with its card.

The card says what an artifact is, from measured figures.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import torch

from models.artifact import DataSource, Training, read_spec, write_artifact
from models.comparison import ADDS_NOTHING
from models.features import FeatureEngine, feature_names, features_of, informed
from models.files.data_report import (
    RowCount,
    data_warnings,
    place_warnings,
    read_past,
    refuse_one_cell,
    refuse_too_little,
    row_counts,
)
from models.files.incident_archive import ArchivedDays, Meaning, is_archive, read_archive
from models.files.incident_files import IncidentTable, cutoff_of, merged_as_in_the_stream, places_of
from models.files.layouts import LAYOUTS, OWNERS_TERMS, parse_layout
from models.fine_counts import LEAST, default_places, fit_shares
from models.local_time import Calendar, minute
from models.network_kinds import DEFAULT, RecipeFile, kind_of_network, read_recipe
from models.training.fit_baseline import Blocks
from models.training.fit_network import Fit, fit_network
from models.training.region_tasks import DEFAULT_CELL_M, RegionTask
from models.training.replay import IncidentHistory
from models.training.train import (
    LACKS,
    TOP_SHARE,
    HorizonResult,
    ReportProgress,
    Trained,
    TrainingOptions,
    adds_nothing,
    calibration,
    train,
)
from schemas.areas import read_masks
from schemas.errors import DataError, RiskError
from schemas.files import sha256, stamp
from schemas.fine import OVER_ALL, read_fine
from schemas.frame import SUPPORT
from schemas.grid import Bounds, Grid
from schemas.incidents import in_degrees
from schemas.spec import DAY_S, Merge, Spec

VERDICTS: Mapping[str, str] = {
    "better": "better than the baseline: the interval lies below zero",
    "tie": "a tie with the baseline: the interval contains zero",
    "worse": "worse than the baseline: the interval lies above zero",
    **{name: f"not known: {lacks}" for name, lacks in LACKS.items()},
}
_TEXT = """# Model card: {region}

Expected incidents and the probability of at least one, for each square of {cell_m:.0f} m ({rows} x {cols}), category
and horizon ({horizons}), so that units can stand ready where the next hours' incidents are likely.
Purpose: {purpose}.

## Data
{incidents:,} incidents inside the grid, {first} to {cutoff} UTC, categories {categories}.
Two fits. The first learned on the time before {validation} ({examples:,} cells at moments), made its choices on the
time until {test}, and was judged on the rest, which no choice has seen; a gap as long as the longest horizon lies
between. The second is what serves: fitted again on all of the time until {cutoff}, with those choices held.
{notice}

The file, what lies after that time included:

| rows | what | what became of them |
| --- | --- | --- |
{seen}

## How good it is
These are the figures of the first fit: no time is left to judge the second on. Over all cells, quiet ones included.
Log score: negative binomial, smaller is better. The interval is a 95 % bootstrap of blocks of three days.

| horizon | Poisson deviance, baseline | network | log score, baseline | network | difference (95 %) | verdict |
| --- | --- | --- | --- | --- | --- | --- |
{results}

Verdict: {verdict}.
{gain}
The baseline here is the product's own, and it is the model: in the cities tried, over three blocks of time, the network
bettered its log score by at most 0.25 % where a city was stable, 0.4 % where it changed. `risk evaluate` puts a network
like this one, made for one horizon, beside simple rules, a Poisson regression and trees on the same file.

Forecast over what came (1 is calibrated), network: {totals}; baseline: {baseline_totals}.
By category over the longest horizon: {by_category}.
Its 90 % intervals cover (by the randomised PIT): {coverage}. Of the incidents of each category, the {top:.0%} of the
cells with any history that it puts first hold: {hits}.{share}

## Baseline
Half-life of the memory {half_life:.0f} days.{older} Days of the neighbourhood's rate mixed into a cell's own: {shrink}.
Variance over mean where one incident is expected: {excess}.
From hour to hour the whole region lies {together:.0%} around its baseline, beyond chance.
{nowcast}
{dispersion}Where the verdict is not `better`, the baseline is as good. It scores when the network cannot be read.

{fine}## Where it is thin
Of all cells and categories at the cut-off: {support}. A cell's usual rate is by {thin} that of its
neighbourhood: all of a `no_history` score is, and the few incidents of a `sparse` one may be chance.

## What it is not for
It scores places, never people. It is for readiness: where ambulances, engines and crews wait. Not for enforcement,
stops, searches, patrol targeting, insurance, lending or hiring, and not for judging a neighbourhood: reported incidents
are not all incidents, and who reports differs from place to place. A decision about a person must never rest on it.
"""


_FINE = f"""## Inside a cell
A cell's numbers are parted into {{fine}} x {{fine}} squares of {{square_m:g}} m by shares, the same at every hour.
{{words}}
A point counts at most what all others of its square have together, and squares of fewer than {LEAST} incidents share
evenly: in each category, and in all others together. An address whose points lie more than 5 m apart counts as several.
There are squares only because standing units answer every category: squares of crime would be a patrol map.

"""


def card_text(trained: Trained, *, layout: str, file_rows: Sequence[RowCount], fine: str = "") -> str:
    """The card in Markdown, every figure from this training.

    file_rows: how the file's rows were used. fine: where shares of squares are from; empty without any.
    """
    past, spec, blocks, constants = trained.past, trained.past.spec, trained.blocks, trained.constants
    by_category = calibration(trained.tallies, spec.categories, len(spec.horizons_s) - 1)
    dates = {"first": past.first_s, "cutoff": past.cutoff_s, "validation": blocks.validation_s, "test": blocks.test_s}
    older, cells = constants.older, constants.cell_dispersion
    spread = ""
    nowcast = "There is no nowcast: in the hours of training the last one told nothing of the next that was worth it."
    if cells.size:
        wide, narrow = float((cells < 1).mean()), float((cells > 1).mean())
        spread = (
            f"Counts spread wider than the region's in {wide:.0%} of all cells, categories and horizons, and less wide "
            f"in {narrow:.0%}: this made intervals and chances better on the time that chose.\n"
        )
    if chosen := constants.nowcast:
        ahead = ", ".join(map("{} {:.0%}".format, spec.horizon_names, chosen.ahead.tolist()))
        nowcast = (
            "Nowcast: the last hours raise the forecast where they brought far more than was expected. Half-life of "
            f"a count {float(chosen.half_life_hours):g} h; chance of a surge before anything is counted "
            f"{float(chosen.prior):.1%}; of the chance that another category surges {float(chosen.shared):.0%} is "
            f"added; of the factor is left over each horizon: {ahead}."
        )
    # The neighbourhood's weight in a cell's rate, as `cell_rate` mixes it: s / (remembered days + s).
    half_life, days = float(constants.half_life_days), (past.cutoff_s - past.first_s) / DAY_S
    remembered = half_life / np.log(2) * (1 - 0.5 ** (days / half_life))
    shrink = [f"{of_category:g}" for of_category in constants.shrink_days.tolist()]
    thin = [f"{share:.0%}" for share in constants.shrink_days / (remembered + constants.shrink_days)]
    dispersion = constants.network_dispersion or constants.dispersion
    excess = 1 + dispersion.excess(np.ones(dispersion.r.shape)).mean(axis=0)
    support = FeatureEngine(spec, constants).compute(trained.history).support
    of_support = np.bincount(support.ravel(), minlength=len(SUPPORT)) / support.size
    gain, share = f"{ADDS_NOTHING}.\n", ""
    if not adds_nothing(trained.rows):
        served = ", ".join(map("{} {:.0%}".format, spec.horizon_names, trained.network.share.tolist()))
        share = "\nOf the network's correction of the baseline is served what suited the time that chose"
        gain, share = "", f"{share}: {served}."
    return _TEXT.format(
        region=spec.region,
        **msgspec.structs.asdict(spec.grid),
        incidents=len(past.incidents),
        horizons=", ".join(spec.horizon_names),
        categories=", ".join(spec.categories),
        purpose=spec.purpose or "not named, so no category was refused",
        **{name: minute(at_s) for name, at_s in dates.items()},
        examples=trained.examples,
        notice=LAYOUTS[layout].notice if layout in LAYOUTS else OWNERS_TERMS,
        seen="\n".join(f"| {line.rows:,} | {line.what} | {line.decision} |" for line in file_rows),
        results="\n".join(
            f"| {row.horizon} | {row.baseline_deviance:.5f} | {row.network_deviance:.5f} "
            f"| {row.baseline_log_score:.5f} | {row.network_log_score:.5f} | {row.difference_text()} | {row.verdict} |"
            for row in trained.rows
        ),
        verdict="; ".join(f"{row.horizon}: {VERDICTS[row.verdict]}" for row in trained.rows),
        gain=gain,
        totals=", ".join(f"{row.horizon} {row.forecast_over_actual:.3f}" for row in trained.rows),
        baseline_totals=", ".join(f"{row.horizon} {row.baseline_over_actual:.3f}" for row in trained.rows),
        coverage=", ".join(f"{row.horizon} {row.coverage_90:.1%}" for row in trained.rows),
        top=TOP_SHARE,
        hits=", ".join(f"{row.horizon} {row.hit_rate:.1%}" for row in trained.rows),
        share=share,
        by_category=", ".join(f"{name} {ratio:.3f}" for name, ratio in by_category.items()),
        half_life=constants.half_life_days,
        older=f" {float(older.share):.0%} of a cell's part of the region is its mean over all days." if older else "",
        shrink=_of_categories(shrink, spec.categories, "{name} {text}"),
        dispersion=spread,
        excess=", ".join(map("{} {:.2f}".format, spec.horizon_names, excess)),
        together=float(constants.region_spreads[-1]) ** 0.5,
        nowcast=nowcast,
        support=", ".join(map("{} {:.0%}".format, SUPPORT, of_support)),
        thin=_of_categories(thin, spec.categories, "{text} ({name})"),
        fine=fine and _FINE.format(fine=spec.fine, square_m=spec.grid.cell_m / spec.fine, words=fine),
    )


def _of_categories(texts: Sequence[str], categories: Sequence[str], form: str) -> str:
    """One text where all are equal."""
    if len(set(texts)) == 1:
        return texts[0]
    return ", ".join(form.format(name=name, text=text) for name, text in zip(categories, texts, strict=True))


def spec_of_task(task: RegionTask, table: IncidentTable, meant: Spec | Meaning | None, cutoff_s: int) -> Spec:
    """The region's spec: that of the artifact `like`, or with what an archive's counts mean, or a new one."""
    if meant and task.merge not in ("none", meant.merge):
        fault, remedy = f"{task.data} has counts of every call, and no calls to merge", "train on the file of the calls"
        if task.like:
            fault = f"the artifact {task.like} counts every call"
            remedy = "leave out `like`: a job begins anew with the new artifact"
        raise DataError(f"merge = {task.merge}, but {fault}", remedy)
    if meant and task.cell_m not in (DEFAULT_CELL_M, meant.grid.cell_m):
        raise DataError(
            f"a cell side of {task.cell_m:g} m is asked for, and {task.like or task.data} has {meant.grid.cell_m:g} m",
            remedy="leave out one of the two",
        )
    if meant is None:
        return spec_for(
            table, region=task.region, cell_m=task.cell_m, cutoff_s=cutoff_s, merge=task.merge, bounds=task.edges
        )
    if isinstance(meant, Spec):
        return meant
    refuse_one_cell(table, meant.grid, _end_of_training(table, cutoff_s))
    of_counts = msgspec.structs.asdict(meant)
    return Spec(region=task.region, categories=table.categories, features=feature_names(), **of_counts)


def spec_for(
    table: IncidentTable,
    *,
    region: str,
    cell_m: float,
    cutoff_s: int,
    merge: Merge = "none",
    bounds: Bounds | None = None,
) -> Spec:
    """The region's spec; its grid comes from the training block alone."""
    validation_s = _end_of_training(table, cutoff_s)
    learned = np.searchsorted(table.occurred_s, validation_s)
    grid = Grid.around(table.lat_deg[:learned], table.lon_deg[:learned], cell_m=float(cell_m), bounds=bounds)
    refuse_one_cell(table, grid, validation_s)
    return Spec(
        region=region,
        timezone=table.timezone,
        grid=grid,
        categories=table.categories,
        features=feature_names(),
        merge=merge,
        masked=table.masked,
    )


def table_like(table: IncidentTable, spec: Spec, *, region: str, cutoff_s: int) -> IncidentTable:
    """The table for a training that keeps `spec`, so that its artifact can replace the one with that spec.

    Raises DataError when the table is of another region, or has what the spec has no place for.
    """
    refuse_one_cell(table, spec.grid, _end_of_training(table, cutoff_s))
    faults = [
        f"{what} is {now}, that of the artifact {was}"
        for what, was, now in (
            ("region", spec.region, region),
            ("time zone", spec.timezone, table.timezone),
            ("digest of its masks", spec.masked or "none", table.masked or "none"),
        )
        if was != now
    ]
    if unknown := sorted(set(table.categories) - set(spec.categories)):
        faults.append(f"the artifact has no category {', '.join(unknown)}")
    if spec.features != features_of(spec):
        faults.append("the artifact's network needs other features than this version computes")
    if faults:
        raise DataError(
            f"the data do not fit the artifact: {'; '.join(faults)}",
            remedy="correct the file or an option, as --masks, or train without --like and start again with "
            "`checkpoint --reset`",
        )
    positions = np.array([spec.categories.index(name) for name in table.categories], np.int16)
    return replace(table, categories=spec.categories, category=positions[table.category])


def _end_of_training(table: IncidentTable, cutoff_s: int) -> int:
    """Where validation begins. Raises DataError when there is too little to learn from."""
    if table.occurred_s[0] >= cutoff_s:
        raise DataError("no incident of the file lies before the cut-off", remedy="give a later end")
    refuse_too_little(table.occurred_s[table.occurred_s < cutoff_s])
    return Blocks.of(int(table.occurred_s[0]), cutoff_s).validation_s


LIBRARIES = ("numpy", "torch", "safetensors", "msgspec")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTask:
    """A task whose files are read."""

    task: RegionTask
    recipe: RecipeFile
    incidents: IncidentTable
    counted: IncidentTable  # of them, those that the spec counts: all, or without repeated calls
    cutoff_s: int
    spec: Spec
    warnings: tuple[str, ...]  # of the file
    archived: ArchivedDays | None = None  # where they come from, if it is no file
    calendar: Calendar = field(default_factory=Calendar)

    def history(self) -> IncidentHistory:
        """What is learned from and judged on."""
        past = IncidentHistory.of(self.incidents, self.spec, self.cutoff_s)
        return replace(past, calendar=self.calendar.days)

    @property
    def options(self) -> TrainingOptions:
        """How long, by which seed and recipe."""
        task = self.task
        return TrainingOptions(
            step_s=60 * task.step_minutes, epochs=task.epochs, seed=task.seed, recipe=self.recipe.recipe
        )

    @property
    def data_sha256(self) -> str:
        """The hash of the file, or of the archive's rows."""
        return self.archived.sha256 if self.archived else sha256(Path(self.task.data).read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionResult:
    """How the training of a region ended."""

    folder: Path | None = None  # of its artifact
    rows: tuple[HorizonResult, ...] = ()
    warnings: tuple[str, ...] = ()
    fault: str | None = None  # why there is no artifact


def prepare(task: RegionTask) -> PreparedTask:
    """Read a task's files. Raises DataError when they cannot be used as asked."""
    recipe = read_recipe(Path(task.recipe)) if task.recipe else RecipeFile(recipe=DEFAULT)
    if task.network:
        of_kind = msgspec.structs.replace(recipe.recipe, network=task.network)
        recipe = msgspec.structs.replace(recipe, recipe=of_kind)
    kind_of_network(recipe.recipe.network)
    like = read_spec(Path(task.like)) if task.like else None
    incidents, archived = read_data(task, like)
    cutoff_s = cutoff_of(task.until, incidents)
    spec = spec_of_task(task, incidents, like or (archived.meaning if archived else None), cutoff_s)
    if like:
        incidents = table_like(incidents, like, region=task.region, cutoff_s=cutoff_s)
    calendar = Calendar.read(task.calendar)
    for name, asked, own in (
        ("holidays", task.holidays, spec.holidays),
        ("answered_by", ", ".join(task.answered_by), ", ".join(spec.answered_by)),
        ("purpose", task.purpose, spec.purpose),
        ("fine", "" if task.fine == 1 else str(task.fine), str(spec.fine)),
    ):
        if asked and asked != own and task.like:
            raise DataError(f"{name} {asked}, and {task.like} has {own or 'none'}", "leave it out")
    if task.like and calendar.names != spec.calendar:
        given, needed = (", ".join(names) or "no days" for names in (calendar.names, spec.calendar))
        raise DataError(f"calendar {given}, and {task.like} has {needed}", "give days of its names, also coming ones")
    spec = msgspec.structs.replace(
        spec,
        answered_by=task.answered_by or spec.answered_by,
        purpose=task.purpose or spec.purpose,
        fine=spec.fine if task.fine == 1 else task.fine,
    )
    spec = informed(spec, holidays=task.holidays or spec.holidays, calendar=calendar.names)
    blocks = Blocks.of(int(incidents.occurred_s[0]), cutoff_s)
    warnings = data_warnings(incidents, blocks.validation_s, step_s=min(spec.horizons_s))
    warnings = (*warnings, *calendar.warnings(cutoff_s))
    if not like and not archived:
        warnings = (*warnings, *place_warnings(incidents, spec.grid))
    if archived:
        warnings = (*warnings, *archived.warnings())
    elif spec.fine > 1:
        at_default, _ = default_places(places_of(incidents.select(incidents.occurred_s < cutoff_s)))
        listed = "; ".join("{:.5f}, {:.5f}".format(*place) for place in in_degrees(at_default).tolist())
        spread = f"very many incidents are at {listed}, as where a geocoder does not know an address: they are spread "
        warnings = (*warnings, f"{spread}over their cells") if listed else warnings
    return PreparedTask(
        task=task,
        recipe=recipe,
        incidents=incidents,
        counted=merged_as_in_the_stream(incidents, spec.grid.locate(incidents.lat_deg, incidents.lon_deg)[1], spec),
        cutoff_s=cutoff_s,
        spec=spec,
        warnings=warnings,
        archived=archived,
        calendar=calendar,
    )


def read_data(task: RegionTask, like: Spec | None) -> tuple[IncidentTable, ArchivedDays | None]:
    """The task's incidents, from its file or from the archive. Raises DataError."""
    if is_archive(task.data):
        archived = read_archive(task.data, region=task.region, like=like, may_miss=task.missing_days)
        return archived.table, archived
    if not task.layout:
        raise DataError(f"no layout for {task.data}", remedy="give a layout")
    masks = read_masks(task.masks)
    return read_past(Path(task.data), parse_layout(task.layout), now_s=time.time(), masks=masks), None


def train_region(
    ready: PreparedTask,
    out: Path,
    *,
    report: ReportProgress,
    fit: Fit = fit_network,
    workers: int = 1,
    device: str = "cpu",
) -> tuple[Path, list[HorizonResult]]:
    """Train and publish under `out`. Gives the artifact's folder and the results on its test block.

    `workers` and `device` are what `fit` uses; the manifest records them.
    """
    task = ready.task
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    archived, spec = ready.archived, ready.spec
    trained = train(ready.history(), ready.options, report=report, fit=fit)
    fine, words = None, ""
    if spec.fine > 1 and archived:
        fine, words = read_fine(Path(task.like)), f"They are those of {Path(task.like).name}: an archive has no places."
    elif spec.fine > 1:
        validation_s, incidents = trained.blocks.validation_s, trained.past.incidents
        fine, pseudo_count = fit_shares(
            incidents, spec.grid, spec.fine, learned_until_s=validation_s, chosen_from_s=validation_s
        )
        own = (fine.category == OVER_ALL).sum(), (fine.category != OVER_ALL).sum()
        words = (
            "{:,} cells have shares over all categories; {:,} times a category has incidents enough for its own in a "
            "cell. To each square {:g} incidents were added, as validation chose: this draws shares toward even ones."
        )
        words = words.format(*own, pseudo_count)
    folder = write_artifact(
        out,
        spec=spec,
        constants=trained.constants,
        network=trained.network,
        history=trained.history,
        fine=fine,
        data=DataSource(
            file_name="archive" if archived else Path(task.data).name,
            sha256=ready.data_sha256,
            table_version=archived.version if archived else None,
            calendar_sha256=ready.calendar.sha256,
            cut_hours=len(trained.past.cut_spans(trained.past.first_s, ready.cutoff_s)) if archived else None,
            layout=ready.incidents.layout,
            incidents=len(trained.past.incidents),
            first_s=trained.past.first_s,
            cutoff_s=ready.cutoff_s,
        ),
        created=stamp(time.time()),
        seed=task.seed,
        libraries={name: version(name) for name in LIBRARIES},
        evaluation=[asdict(result) for result in trained.rows],
        recipe=ready.recipe,
        training=Training(
            epochs=task.epochs,
            step_minutes=task.step_minutes,
            workers=workers,
            device=device,
            fitted_until_s=ready.cutoff_s,
        ),
        card=card_text(
            trained, layout=ready.incidents.layout, file_rows=row_counts(ready.counted, spec.grid), fine=words
        ),
    )
    return folder, trained.rows


def train_in_task(work: tuple[RegionTask, Path]) -> RegionResult:
    """Train one region, from its file to its artifact under a folder; a RiskError becomes the result's fault."""
    task, out = work
    try:
        ready = prepare(task)
        folder, rows = train_region(ready, out, report=lambda what, share: None)
    except RiskError as error:
        return RegionResult(fault=str(error))
    return RegionResult(folder=folder, rows=tuple(rows), warnings=ready.warnings)
