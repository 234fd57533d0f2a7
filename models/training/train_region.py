"""A region's training, from an incident file to a published artifact, here or in a task of Spark."""

import time
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from models.artifact import DataSource, Model, Provenance, Training, read_spec, write_artifact
from models.files.data_report import data_warnings, place_warnings, read_past, row_counts
from models.files.incident_archive import ArchivedDays, is_archive, read_archive
from models.files.incident_files import IncidentTable, cutoff_of, merged_as_in_the_stream
from models.files.layouts import parse_layout
from models.hyperparameters import DEFAULT, RecipeFile, read_recipe
from models.network_kinds import kind_of_network
from models.training.calendar import Calendar
from models.training.card import card_text
from models.training.fit_baseline import Blocks
from models.training.fit_network import Fit, fit_network
from models.training.region_spec import spec_of_task, table_like, with_use
from models.training.regions import RegionTask
from models.training.replay import IncidentHistory
from models.training.train import ReportProgress, Trained, TrainingOptions, train
from models.training.training_table import HorizonResult
from schemas.errors import DataError, RiskError
from schemas.files import sha256
from schemas.instants import stamp
from schemas.masks import read_masks
from schemas.spec import Spec

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
    trained = train(ready.history(), ready.options, report=report, fit=fit)
    folder = write_artifact(
        out,
        Model(spec=ready.spec, constants=trained.constants, network=trained.network, history=trained.history),
        Provenance(
            data=_source(ready, trained),
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


def _source(ready: PreparedTask, trained: Trained) -> DataSource:
    data, archived, past = Path(ready.task.data), ready.archived, trained.past
    cut = len(past.cut_spans(past.first_s, ready.cutoff_s))
    return DataSource(
        file_name="archive" if archived else data.name,
        sha256=ready.data_sha256,
        table_version=archived.version if archived else None,
        calendar_sha256=ready.calendar.sha256,
        cut_hours=cut if archived else None,
        layout=ready.incidents.layout,
        incidents=len(past.incidents),
        first_s=past.first_s,
        cutoff_s=ready.cutoff_s,
    )


def train_in_task(work: tuple[RegionTask, Path]) -> RegionResult:
    """Train one region, from its file to its artifact under a folder; a RiskError becomes the result's fault."""
    task, out = work
    try:
        ready = prepare(task)
        folder, rows = train_region(ready, out, report=lambda what, share: None)
    except RiskError as error:
        return RegionResult(fault=str(error))
    return RegionResult(folder=folder, rows=tuple(rows), warnings=ready.warnings)
