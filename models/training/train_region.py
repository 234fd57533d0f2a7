"""Trains what a file of tasks asks for: each region's spec, its data, and the artifact that is published."""

import time
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
import torch

from models.artifact import DataSource, Model, Provenance, Training, read_spec, write_artifact
from models.features import feature_names, features_of
from models.files.data_report import (
    data_warnings,
    place_warnings,
    read_past,
    refuse_one_cell,
    refuse_too_little,
    row_counts,
)
from models.files.incident_archive import ArchivedDays, Meaning, is_archive, read_archive
from models.files.incident_files import IncidentTable, cutoff_of, merged_as_in_the_stream
from models.files.layouts import parse_layout
from models.hyperparameters import DEFAULT, RecipeFile, read_recipe
from models.network_kinds import kind_of_network
from models.training.calendar import Calendar, informed
from models.training.card import card_text
from models.training.fit_baseline import Blocks
from models.training.fit_network import Fit, fit_network
from models.training.region_tasks import DEFAULT_CELL_M, RegionTask
from models.training.replay import IncidentHistory
from models.training.train import HorizonResult, ReportProgress, TrainingOptions, train
from schemas.areas import read_masks
from schemas.errors import DataError, RiskError
from schemas.files import sha256, stamp
from schemas.grid import Bounds, Grid
from schemas.spec import Merge, Spec


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


def with_use(spec: Spec, task: RegionTask, calendar: tuple[str, ...]) -> Spec:
    """The spec with its days, its purpose and what standing units answer; one that is kept (`like`) keeps its own.

    Raises DataError.
    """
    for name, asked, own in (
        ("holidays", task.holidays, spec.holidays),
        ("answered_by", ", ".join(task.answered_by), ", ".join(spec.answered_by)),
        ("purpose", task.purpose, spec.purpose),
    ):
        if asked and asked != own and task.like:
            raise DataError(f"{name} {asked}, and {task.like} has {own or 'none'}", "leave it out")
    if task.like and calendar != spec.calendar:
        given, needed = (", ".join(names) or "no days" for names in (calendar, spec.calendar))
        raise DataError(f"calendar {given}, and {task.like} has {needed}", "give days of its names, also coming ones")
    spec = msgspec.structs.replace(
        spec, answered_by=task.answered_by or spec.answered_by, purpose=task.purpose or spec.purpose
    )
    return informed(spec, holidays=task.holidays or spec.holidays, calendar=calendar)


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
    spec = with_use(spec, task, calendar.names)
    blocks = Blocks.of(int(incidents.occurred_s[0]), cutoff_s)
    warnings = data_warnings(incidents, blocks.validation_s, step_s=min(spec.horizons_s))
    warnings = (*warnings, *calendar.warnings(cutoff_s))
    if not like and not archived:
        warnings = (*warnings, *place_warnings(incidents, spec.grid))
    if archived:
        warnings = (*warnings, *archived.warnings())
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
    archived = ready.archived
    trained = train(ready.history(), ready.options, report=report, fit=fit)
    folder = write_artifact(
        out,
        Model(spec=ready.spec, constants=trained.constants, network=trained.network, history=trained.history),
        Provenance(
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
        ),
        card=card_text(trained, layout=ready.incidents.layout, file_rows=row_counts(ready.counted, ready.spec.grid)),
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
