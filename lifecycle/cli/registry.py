"""`python -m lifecycle registry`: every version of a region, which one scores, and the way back."""

import getpass
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from lifecycle.registry.changes import Note, promote, register, retire, roll_back
from lifecycle.registry.contract import ModelRegistry, RegionState
from lifecycle.registry.copying import verified
from lifecycle.registry.open import open_registry
from lifecycle.registry.rules import Role
from lifecycle.registry.sync import Synced, sync
from schemas.audit_log import AuditEvent, Plain, record
from schemas.errors import ArtifactError, RegistryError, SettingsError

registry_app = typer.Typer(no_args_is_help=True, help="Every version of a region's model, and which one scores.")


def _said(because: str) -> str:
    if not because.strip():
        raise SettingsError("--because is empty", "say why: the audit log keeps it")
    return because


REGISTRY_HELP = "Where versions are kept: a folder, or mlflow:URI"
Registry = Annotated[str, typer.Option(envvar="RISK_REGISTRY", help=REGISTRY_HELP)]
Artifacts = Annotated[Path, typer.Option(envvar="RISK_ARTIFACTS", help="Folder of artifacts that the job reads")]
Audit = Annotated[Path, typer.Option(envvar="RISK_AUDIT", help="Audit log; each change is recorded first")]
Because = Annotated[str, typer.Option(help="Why, for the audit log", callback=_said)]
By = Annotated[str, typer.Option(help="Who, for the audit log; default: the login name")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines")]
AndSync = Annotated[bool, typer.Option("--sync", help="Also do what `sync` does for this region")]
RegionName = Annotated[str, typer.Argument(help="Name of the region")]
Version = Annotated[str, typer.Argument(help="Version, as `list` shows it")]
REGISTRY, ARTIFACTS, AUDIT = "data/registry", Path("data/artifacts"), Path("data/audit.jsonl")


@registry_app.command("list")
def list_command(
    region: Annotated[str, typer.Argument(help="Only this region")] = "",
    registry: Registry = REGISTRY,
    as_json: AsJson = False,
) -> None:
    """Print all versions with their roles, oldest first."""
    opened = open_registry(registry)
    rows = [
        {"region": name, "version": version, "role": state.role_of(version), "manifest_sha256": digest}
        for name in ([region] if region else opened.regions())
        for state in [opened.state(name)]
        for version, digest in sorted(state.manifests.items())
    ]
    if as_json:
        return _print_json(rows)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("region", "version", "role", "sha256 of the manifest"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(row["region"], row["version"], row["role"], row["manifest_sha256"][:16])
    Console(highlight=False).print(table if rows else f"{registry} has no version: register one")


@registry_app.command("show")
def show_command(
    region: RegionName,
    version: Annotated[str, typer.Argument(help="Version; default: the champion")] = "",
    registry: Registry = REGISTRY,
    as_json: AsJson = False,
) -> None:
    """Fetch one version, verify every hash, and print what it is and its card. Exit code 4 when it is damaged."""
    opened = open_registry(registry)
    state = opened.state(region)
    version = version or state.champion or ""
    if version not in state.manifests:
        raise RegistryError(f"{region} has no version {version or 'that is champion'}", "see `registry list`")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / version
        place.mkdir()
        opened.fetch(region, version, place)
        artifact = verified(place, state.manifests[version])
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


@registry_app.command("register")
def register_command(
    folder: Annotated[Path, typer.Argument(help="An artifact's folder, <artifacts>/<region>/<version>")],
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder of `models evaluate`: its page is kept with the version")
    ] = None,
    registry: Registry = REGISTRY,
    audit: Audit = AUDIT,
    by: By = "",
) -> None:
    """Keep a version. It is copied and gets no role: what scores stays as it is."""
    artifact = register(open_registry(registry), folder, note_of(audit, by, "register", registry), evaluation)
    typer.echo(f"{artifact.spec.region}: version {artifact.version} is registered in {registry}")


# Typer reads a command's options from its parameters.
@registry_app.command("promote")
def promote_command(
    region: RegionName,
    version: Version,
    because: Because,
    role: Annotated[Role, typer.Option("--as", help="champion: it scores; challenger: it is tried")] = "champion",
    registry: Registry = REGISTRY,
    artifacts: Artifacts = ARTIFACTS,
    audit: Audit = AUDIT,
    by: By = "",
    and_sync: AndSync = False,
) -> None:
    """Make a version champion or challenger. A job follows after `sync`."""
    opened, note = open_registry(registry), note_of(audit, by, because, registry)
    _print_roles(region, promote(opened, region, version, role, note))
    if and_sync:
        _sync_each(opened, artifacts, [region], note)


@registry_app.command("rollback")
def rollback_command(
    region: RegionName,
    because: Because,
    registry: Registry = REGISTRY,
    artifacts: Artifacts = ARTIFACTS,
    audit: Audit = AUDIT,
    by: By = "",
    and_sync: AndSync = False,
) -> None:
    """Make the champion before champion again. A job follows after `sync`."""
    opened, note = open_registry(registry), note_of(audit, by, because, registry)
    _print_roles(region, roll_back(opened, region, note))
    if and_sync:
        _sync_each(opened, artifacts, [region], note)


@registry_app.command("retire")
def retire_command(
    region: RegionName,
    version: Version,
    because: Because,
    registry: Registry = REGISTRY,
    audit: Audit = AUDIT,
    by: By = "",
) -> None:
    """Take a version out for good: it is kept, but never promoted. The champion cannot be retired."""
    note = note_of(audit, by, because, registry)
    _print_roles(region, retire(open_registry(registry), region, version, note))


@registry_app.command("sync")
def sync_command(
    region: Annotated[str, typer.Argument(help="Only this region")] = "",
    registry: Registry = REGISTRY,
    artifacts: Artifacts = ARTIFACTS,
    audit: Audit = AUDIT,
    by: By = "",
) -> None:
    """Copy champions and challengers to the job's folder, verify every hash, write the pointers. Repeat it at will."""
    opened, note = open_registry(registry), note_of(audit, by, "sync", registry)
    _sync_each(opened, artifacts, [region] if region else opened.regions(), note)


def _sync_each(registry: ModelRegistry, artifacts: Path, regions: Iterable[str], note: Note) -> None:
    """Raises RegistryError at the end when one of them could not be synchronised, or its challenger was left out."""
    if failed := [region for region in regions if not _synced(registry, artifacts, region, note)]:
        raise RegistryError(f"not synchronised: {', '.join(failed)}", "see above")


def _synced(registry: ModelRegistry, artifacts: Path, region: str, note: Note) -> bool:
    """Whether all went well; what went wrong is printed, and keeps no other region from its turn."""
    try:
        return _print_synced(sync(registry, artifacts, region, note))
    except ArtifactError as error:
        typer.echo(f"{region}: {error}", err=True)
        return False


def _print_synced(done: Synced) -> bool:
    for version in done.copied:
        typer.echo(f"{done.region}: copied and verified {version}")
    names = f"champion {done.pointer.champion}, challenger {done.pointer.challenger or 'none'}"
    typer.echo(f"{done.region}: the pointer {'now names' if done.is_pointer_new else 'names already'} {names}")
    if done.fault:
        typer.echo(f"{done.region}: the challenger is left out: {done.fault}", err=True)
    return done.fault is None


def _print_roles(region: str, state: RegionState) -> None:
    typer.echo(f"{region}: champion {state.champion or 'none'}, challenger {state.challenger or 'none'}")


def _print_json(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def note_of(audit: Path, by: str, because: str, registry: str) -> Note:
    """What writes a change to the audit log, with who and why. Raises SettingsError."""
    try:
        who = by or getpass.getuser()
    except (KeyError, OSError) as error:
        raise SettingsError("this machine does not know who you are", "give --by") from error

    def note(event: AuditEvent, details: Mapping[str, Plain]) -> None:
        facts = {**details, "by": who, "because": because, "registry": registry}
        record(audit, event, facts, at_s=time.time())

    return note
