"""Options that several commands share, and what they mean: a version, a reason, who changes something."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from lifecycle.registry.changes import Note, register
from lifecycle.registry.contract import ModelRegistry
from models.artifact.manifest import MANIFEST
from models.cli.options import REGIONS_TABLE
from schemas.audit.log import AuditEvent, Plain, record
from schemas.errors import RegistryError, SettingsError
from schemas.spec import SLUG
from streaming.cli.process import who_decides
from streaming.settings import Settings


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
        raise RegistryError(fault, "see `python -m lifecycle versions`")
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
