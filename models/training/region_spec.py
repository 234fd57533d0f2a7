"""The spec that a region is trained for: new, that of an artifact, or what an archive's counts mean."""

from dataclasses import replace

import msgspec
import numpy as np

from models.features import feature_names, features_of
from models.files.data_report import refuse_one_cell, refuse_too_little
from models.files.incident_archive import Meaning
from models.files.incident_files import IncidentTable
from models.training.calendar import informed
from models.training.fit_baseline import Blocks
from models.training.regions import DEFAULT_CELL_M, RegionTask
from schemas.errors import DataError
from schemas.grid import Bounds, Grid
from schemas.spec import Merge, Spec


def spec_of_task(task: RegionTask, table: IncidentTable, meant: Spec | Meaning | None, cutoff_s: int) -> Spec:
    """The region's spec: that of the artifact `like`, or with what an archive's counts mean, or a new one."""
    _refuse_other_merge(task, meant)
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


def _refuse_other_merge(task: RegionTask, meant: Spec | Meaning | None) -> None:
    """Raises DataError when repeated calls are to be merged, and what the counts are to go on from counts them."""
    if task.merge == "none" or meant is None or meant.merge == task.merge:
        return
    fault, remedy = (
        (f"the artifact {task.like} counts every call", "leave out `like`: a job begins anew with the new artifact")
        if task.like
        else (f"{task.data} has counts of every call, and no calls to merge", "train on the file of the calls")
    )
    raise DataError(f"merge = {task.merge}, but {fault}", remedy)


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
