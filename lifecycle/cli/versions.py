"""Commands on a region's versions: which there are, which one scores, and the way back."""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from lifecycle.cli.options import AsJson, Because, RegionName, note_of, region_and_version, registered_version
from lifecycle.registry.changes import Note, promote, retire, roll_back
from lifecycle.registry.contract import ModelRegistry
from lifecycle.registry.copying import registered_artifact, verified
from lifecycle.registry.open import open_registry
from lifecycle.registry.rules import Role, rolled_back
from lifecycle.registry.sync import sync
from models.artifact.artifact import Artifact, read_artifact
from models.artifact.manifest import MANIFEST
from schemas.errors import ArtifactError, RegistryError, SpecMismatch
from schemas.left_behind.region_state import RegionState
from schemas.left_behind.roster import read_roster, roster_path
from schemas.masks import read_masks
from schemas.spec import differences
from streaming.disk.checkpoint import begin_ms
from streaming.roster.roster import refuse_unfit
from streaming.roster.watch import latest_history_s
from streaming.settings import Settings


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
        Path | None, typer.Option(help="Folder of `models evaluate`: its page is kept with the folder's version")
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
