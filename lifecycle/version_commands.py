"""Commands on a region's versions (which there are, which one scores, and the way back) and on a challenger's trial.

Also what they share with the others: options, who changes something and why, and where versions are kept.
"""

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from lifecycle.gate import (
    Trial,
    judge_trial,
    promoted_already,
    read_plan,
    read_trial,
    started_within_a_year,
)
from lifecycle.registry import (
    Desk,
    FolderRegistry,
    ModelRegistry,
    Note,
    Role,
    promote,
    register,
    registered_artifact,
    retire,
    roll_back,
    rolled_back,
    sync,
    verified,
)
from lifecycle.shadow import judged_late
from models.artifact import MANIFEST, Artifact, champion_of, read_artifact
from models.training.region_tasks import REGIONS_TABLE, task_for
from schemas.areas import read_masks
from schemas.audit import AuditEvent, Plain, record
from schemas.errors import ArtifactError, GateClosed, RegistryError, SettingsError, SpecMismatch, needs_extra
from schemas.records import RegionState, read_pointer, read_roster, roster_path
from schemas.spec import SLUG, differences
from streaming.artifacts_in_force import latest_history_s, refuse_unfit
from streaming.checkpoint import begin_ms
from streaming.settings import Settings, who_decides

if TYPE_CHECKING:  # as the imports inside the functions: torch takes seconds, and `gate status` does not need it
    from lifecycle.challenger import HeldOut
    from models.training.replay import IncidentHistory


def _refuse_no_reason(because: str) -> str:
    if not because.strip():
        raise SettingsError("--because is empty", "say why: the audit log keeps it")
    return because


AsJson = Annotated[bool, typer.Option("--json", help="For machines")]
Data = Annotated[
    str,
    typer.Option(
        help=f"TOML file with a table {REGIONS_TABLE} for each region, or archive:PATH; default: RISK_ARCHIVE"
    ),
]
Because = Annotated[str, typer.Option(help="Why, for the audit log", callback=_refuse_no_reason)]
FolderOrVersion = Annotated[
    str, typer.Argument(metavar="FOLDER|REGION/VERSION", help="An artifact's folder, or a version that is kept")
]
RegionName = Annotated[str, typer.Argument(help="Name of the region")]


def note_of(settings: Settings, because: str) -> Note:
    """What writes a change to the audit log, with who and why. Raises SettingsError."""
    who = who_decides(settings)

    def note(event: AuditEvent, details: Mapping[str, Plain]) -> None:
        facts = {**details, "by": who, "because": because, "registry": settings.registry}
        record(settings.audit, event, facts, at_s=time.time())

    return note


def data_of(settings: Settings, data: str) -> str:
    """What is learned from: what was given, or else the archive of the settings."""
    return data or f"archive:{settings.archive}"


def region_and_version(text: str) -> tuple[str, str]:
    """The two in REGION/VERSION; REGION alone has an empty version. Raises RegistryError."""
    region, _, version = text.partition("/")
    if not re.fullmatch(SLUG, region) or "/" in version:
        fault = f"{text} is neither REGION/VERSION nor a folder with {MANIFEST}"
        raise RegistryError(fault, "see `risk versions`")
    return region, version


def registered_version(
    registry: ModelRegistry, folder_or_version: str, note: Note, evaluation: Path | None = None
) -> tuple[str, str]:
    """Region and version. The artifact in a folder is registered, with the page in `evaluation`.

    Raises ArtifactError.
    """
    folder = Path(folder_or_version)
    if (folder / MANIFEST).is_file():
        artifact = register(registry, folder, note, evaluation)
        return artifact.spec.region, artifact.version
    if evaluation:
        raise RegistryError(f"{folder} has no {MANIFEST}", "give an artifact's folder: --evaluation is kept with it")
    return region_and_version(folder_or_version)


MLFLOW = "mlflow:"


def open_registry(address: str) -> ModelRegistry:
    """`mlflow:URI`, or the path of a folder."""
    if not address.startswith(MLFLOW):
        return FolderRegistry(Path(address))
    uri = address.removeprefix(MLFLOW)
    if "@" in uri:
        raise RegistryError("the registry's address has a login in it", "write it into ~/.mlflow/credentials")
    with needs_extra("registry"):
        from lifecycle.mlflow_registry import MlflowRegistry
    return MlflowRegistry(uri)


def desk_of(settings: Settings, because: str) -> Desk:
    """The desk at the registry and the artifacts that the settings name. Raises SettingsError."""
    note = note_of(settings, because)
    return Desk(registry=open_registry(settings.registry), artifacts=settings.artifacts, note=note)


def versions_command(
    context: typer.Context,
    which: Annotated[
        str, typer.Argument(metavar="REGION[/VERSION]", help="A region's, or one to verify and to read its card")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Print all versions with their roles, oldest first; or one, fetched and verified.

    Exit code 4 when it is damaged.
    """
    settings: Settings = context.obj()
    registry = open_registry(settings.registry)
    region, version = region_and_version(which) if which else ("", "")
    if version:
        return _show(registry, region, version, as_json=as_json)
    rows = [
        {"region": name, "version": version, "role": state.role_of(version), "manifest_sha256": digest}
        for name in ([region] if region else registry.regions())
        for state in [registry.state(name)]
        for version, digest in sorted(state.manifests.items())
    ]
    if as_json:
        return _print_json(rows)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("region", "version", "role", "sha256 of the manifest"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(row["region"], row["version"], row["role"], row["manifest_sha256"][:16])
    Console(highlight=False).print(table if rows else f"{settings.registry} has no version: promote one")


def _show(registry: ModelRegistry, region: str, version: str, *, as_json: bool) -> None:
    state = registry.state(region)
    artifact = registered_artifact(registry, region, version)
    manifest = artifact.manifest
    shown = {
        "region": region,
        "version": version,
        "role": state.role_of(version),
        "manifest_sha256": state.manifests[version],
        "spec": manifest.spec_fingerprint,
        "network": manifest.network,
        "data": manifest.data.file_name,
        "data_sha256": manifest.data.sha256,
        "data_end_s": manifest.data.cutoff_s,
    }
    if as_json:
        return _print_json(shown | {"evaluation": manifest.evaluation, "champions_before": state.before})
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for name, value in shown.items():
        console.print(f"{name}: {value}")
    console.print(f"\n{artifact.card}")


def _kept(settings: Settings, registry: ModelRegistry, region: str, version: str | None) -> Artifact | None:
    """A registered version; None of one that is unknown, which is the rules' matter. Raises ArtifactError."""
    digest = registry.state(region).manifests.get(version or "")
    if not version or not digest:
        return None
    try:
        return verified(settings.artifacts / region / version, digest)  # the way back needs no registry's files
    except ArtifactError:
        return registered_artifact(registry, region, version)


def _refuse_unfit(settings: Settings, registry: ModelRegistry, artifact: Artifact | None) -> None:
    """Raise ArtifactError when the job at RISK_CHECKPOINT would not take the artifact over.

    Without this the registry would name a version that scores nothing. Where that job counts nothing of the region, and
    was not told to begin anew, the champion's spec is compared.
    """
    if artifact is None:
        return
    spec, champion, name = artifact.spec, None, Path(artifact.spec.region, artifact.version)
    roster, latest_s = read_roster(roster_path(settings.checkpoint)), latest_history_s(settings.clock, time.time())
    if spec.region not in roster:
        nothing = f"RISK_CHECKPOINT={settings.checkpoint} counts nothing of it"
        with suppress(ArtifactError):  # a champion that is damaged keeps no other version from its place
            champion = _kept(settings, registry, spec.region, registry.state(spec.region).champion)
        if champion is None or begin_ms(settings.checkpoint) is not None:
            typer.echo(f"{spec.region}: compared with no job's grid: {nothing}")
        elif differ := "; ".join(differences(champion.spec, spec)):
            raise SpecMismatch(
                f"{name} has another spec than the champion {champion.version} of {spec.region} ({differ}), and "
                f"{nothing}",
                "train with `--like` the champion's folder, which keeps that spec; for a new one stop the job and run "
                "`checkpoint --reset`, then repeat this, both with the job's RISK_CHECKPOINT",
            )
    refuse_unfit(roster, name, artifact, latest_s=latest_s, masked=read_masks(settings.masks).digest)


def promote_command(
    context: typer.Context,
    version: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|REGION[/VERSION]",
            help="An artifact's folder, a version that is kept, or a region: its versions are brought to the job again",
        ),
    ],
    because: Because,
    role: Annotated[Role, typer.Option("--as", help="champion: it scores; challenger: it is tried")] = "champion",
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder of `risk evaluate`: its page is kept with the folder's version")
    ] = None,
) -> None:
    """Let a version score: keep its artifact, make it the champion, and write the pointer that the job follows.

    Repeat it at will. Every hash is verified before a version reaches the job's folder. What the job at RISK_CHECKPOINT
    would refuse, as another grid, gets no role: exit code 4.
    """
    settings: Settings = context.obj()
    registry, note = open_registry(settings.registry), note_of(settings, because)
    if is_folder := (Path(version) / MANIFEST).is_file():  # what is refused is not even registered
        _refuse_unfit(settings, registry, read_artifact(Path(version)))
    region, name = registered_version(registry, version, note, evaluation)
    if not is_folder:
        _refuse_unfit(settings, registry, _kept(settings, registry, region, name or registry.state(region).champion))
    if name:
        _print_roles(region, promote(registry, region, name, role, note))
    _bring(registry, settings.artifacts, region, note)


def rollback_command(context: typer.Context, region: RegionName, because: Because) -> None:
    """Make the champion before champion again, and write the pointer that the job follows."""
    settings: Settings = context.obj()
    registry, note = open_registry(settings.registry), note_of(settings, because)
    _refuse_unfit(settings, registry, _kept(settings, registry, region, rolled_back(registry.state(region)).champion))
    _print_roles(region, roll_back(registry, region, note))
    _bring(registry, settings.artifacts, region, note)


def retire_command(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="REGION/VERSION", help="A version that is kept")],
    because: Because,
) -> None:
    """Take a version out for good: it is kept, but never promoted, nor tried. The champion cannot be retired."""
    settings: Settings = context.obj()
    registry, note = open_registry(settings.registry), note_of(settings, because)
    region, name = region_and_version(version)
    state = retire(registry, region, name, note)
    _print_roles(region, state)
    if state.champion:
        _bring(registry, settings.artifacts, region, note)


def _bring(registry: ModelRegistry, artifacts: Path, region: str, note: Note) -> None:
    """Raises ArtifactError when a version cannot be brought to the job."""
    synced = sync(registry, artifacts, region, note)
    for version in synced.copied:
        typer.echo(f"{region}: copied and verified {version}")
    names = f"champion {synced.pointer.champion}, challenger {synced.pointer.challenger or 'none'}"
    typer.echo(f"{region}: the pointer {'now names' if synced.is_pointer_new else 'names already'} {names}")
    if synced.fault:
        raise RegistryError(f"the challenger is left out: {synced.fault.message}", synced.fault.remedy)


def _print_roles(region: str, state: RegionState) -> None:
    typer.echo(f"{region}: champion {state.champion or 'none'}, challenger {state.challenger or 'none'}")


def _print_json(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


gate_app = typer.Typer(no_args_is_help=True, help="A challenger on its way to the map: compared, tried, judged.")


@gate_app.command("start")
def start_command(context: typer.Context, version: FolderOrVersion, because: Because, data: Data = "") -> None:
    """Compare a version with the champion on days that neither has learned from, then start its trial.

    Exit code 11 when it may not be tried.
    """
    from lifecycle.challenger import start_trial

    settings: Settings = context.obj()
    desk, plan = desk_of(settings, because), read_plan(settings.gate_plan)
    region, name = registered_version(desk.registry, version, desk.note)
    champion = champion_of(settings.artifacts, region)
    past = _past_of(champion, data_of(settings, data))
    challenger = registered_artifact(desk.registry, region, name)
    trial, held_out = start_trial(desk, champion, challenger, past, plan, time.time)
    console = Console(highlight=False)
    console.print(_held_out_table(held_out))
    _print_remarks(console, trial)
    console.print(f"{region}: {trial.challenger} is tried beside {trial.champion} from now on", soft_wrap=True)


def _past_of(champion: "Artifact", data: str) -> "IncidentHistory":
    """All that `data` has of the champion's region."""
    from lifecycle.challenger import all_known

    return all_known(champion, task_for(data, champion.spec.region))


@gate_app.command("compare")
def compare_command(context: typer.Context, version: FolderOrVersion, data: Data = "") -> None:
    """Compare a version with the champion on days that neither has learned from. It changes nothing.

    Exit code 11 when they cannot be compared.
    """
    from lifecycle.challenger import compare_held_out

    settings, folder = context.obj(), Path(version)
    rules, _ = read_plan(settings.gate_plan)
    if (folder / MANIFEST).is_file():
        artifact = read_artifact(folder)
    else:
        artifact = registered_artifact(open_registry(settings.registry), *region_and_version(version))
    champion = champion_of(settings.artifacts, artifact.spec.region)
    if artifact.spec.fingerprint() != champion.spec.fingerprint():
        fault = f"{artifact.version} has another spec than the champion {champion.version}"
        raise GateClosed(fault, "train it with --like the champion's folder")
    held_out = compare_held_out(champion, artifact, _past_of(champion, data_of(settings, data)), rules)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if held_out.difference:
        console.print(_held_out_table(held_out))
    for remark in held_out.remarks:
        console.print(f"not judged: {remark}")
    for fault in held_out.faults:
        console.print(f"against it: {fault}")


@gate_app.command("status")
def status_command(context: typer.Context, region: RegionName, as_json: AsJson = False) -> None:
    """Print what the trial has shown so far, and what the gate waits for."""
    settings: Settings = context.obj()
    artifacts = settings.artifacts
    now_s = time.time()
    used = len(started_within_a_year(artifacts, region, int(now_s)))
    if (trial := read_trial(artifacts, region)) is None:
        nothing = msgspec.json.encode({"challenger": None, "trials": used}).decode()
        typer.echo(nothing if as_json else f"{region}: nothing is tried; {used} trials began within 365 days")
        return
    spec = champion_of(artifacts, region).spec
    judgement = judge_trial(trial, spec, settings.checkpoint)
    if (pointer := read_pointer(artifacts, region)) and pointer.champion == trial.challenger:
        judgement = promoted_already(judgement)
    late = judged_late(settings.checkpoint, spec, since_s=trial.started_s, now_s=now_s)
    if as_json:
        of_trial = {"challenger": trial.challenger, "remarks": trial.remarks, "late": late}
        limits = {"trials": used, "trials_a_year": trial.plan.trials_a_year}
        typer.echo(msgspec.json.format(msgspec.json.encode({**asdict(judgement), **of_trial, **limits})).decode())
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{region}: {trial.challenger} beside {trial.champion}, {judgement.days} days")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("category", "observed", "over expected", "champion's"):
        table.add_column(heading, justify="right")
    for total in judgement.calibration:
        bounds = f"{total.ratio:.3f} ({total.low:.3f} to {total.high:.3f})"
        table.add_row(total.category, f"{total.observed:,}", bounds, f"{total.champion_ratio:.3f}")
    for name in judgement.too_few:
        table.add_row(name, f"fewer than {trial.plan.least_incidents}", "too few to judge", "")
    console.print(table)
    bounds = f"{judgement.low:+.3g} to {judgement.high:+.3g}"
    console.print(
        f"log score, challenger - champion: {judgement.difference:+.3g} nats ({bounds}), margin {judgement.margin:.3g}"
    )
    failed, cut = (
        ", ".join(f"{day}: {count}" for day, count in hours.items()) for hours in (judgement.failed, judgement.cut)
    )
    if failed:
        console.print(f"hours in which the challenger could not be scored: {failed}")
    if cut:
        why = "as the feed was silent or many messages were refused"
        console.print(f"{sum(judgement.cut.values())} hours are cut out, {why}: {cut}")
    _print_remarks(console, trial)
    console.print(f"trials within 365 days, this one included: {used} of {trial.plan.trials_a_year}")
    if late:
        console.print(f"[bold]late[/bold]: {late}")
    console.print(f"[bold]{judgement.decision}[/bold]: {judgement.because}")


@gate_app.command("end")
def end_command(
    context: typer.Context,
    region: RegionName,
    because: Because,
    confirm: Annotated[bool, typer.Option("--confirm", help="A person agrees to the promotion")] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Retire the challenger, whatever was judged")] = False,
) -> None:
    """Do what the trial has decided: promote the challenger, or retire it. Exit code 11 while it goes on."""
    from lifecycle.challenger import abandon_trial, end_trial

    if confirm and abandon:
        raise SettingsError("--confirm and --abandon exclude each other", "give one of them")
    settings: Settings = context.obj()
    desk, trial = desk_of(settings, because), read_trial(settings.artifacts, region)
    if trial is None:
        raise RegistryError(f"{region} has no trial", "start one: `risk gate start`")
    if abandon:
        abandon_trial(desk, region, trial)
        typer.echo(f"{region}: abandoned; champion {desk.registry.state(region).champion}")
        return
    spec = champion_of(settings.artifacts, region).spec
    judgement = judge_trial(trial, spec, settings.checkpoint)
    judgement = end_trial(desk, region, trial, judgement, is_confirmed=confirm)
    champion = desk.registry.state(region).champion
    typer.echo(f"{region}: {judgement.decision}: {judgement.because}; champion {champion}")


def _print_remarks(console: Console, trial: Trial) -> None:
    for remark in trial.remarks:
        console.print(f"not judged before the trial: {remark}", soft_wrap=True)


def _held_out_table(held_out: "HeldOut") -> Table:
    table = Table(title=f"{held_out.days} days that neither has learned from", box=None, padding=(0, 2, 0, 0))
    for heading in ("", "log score, nats"):
        table.add_column(heading)
    for name in ("baseline", "champion", "challenger"):
        table.add_row(name, f"{getattr(held_out, name):.6f}")
    if apart := held_out.difference:
        table.add_row("challenger - champion", f"{apart.mean:+.2g} ({apart.low:+.2g} to {apart.high:+.2g})")
    table.add_row("margin", f"{held_out.margin:.2g}")
    return table
