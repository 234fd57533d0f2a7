"""The `documents` command: what an official needs, as far as the artifact and the deployment know it."""

import time
from pathlib import Path
from typing import Annotated

import typer

from models.artifact.pointer import champion_of
from schemas.errors import SettingsError
from schemas.files import replace_file, write_errors
from streaming.settings import Settings


def documents(
    context: typer.Context,
    region: Annotated[str, typer.Option(help="Whose documents")],
    out: Annotated[Path, typer.Option(help="Folder for them")] = Path("out/documents"),
) -> None:
    """Write a guide for the public, a datasheet, drafts of both impact assessments, and a transparency record.

    What only the agency knows is marked, and nothing claims compliance. The model card lies beside the artifact.
    """
    from streaming.documents.facts import documents_of, facts_of

    settings: Settings = context.obj()
    artifact = champion_of(settings.artifacts, region)
    for name, text, asked in documents_of(facts_of(artifact.manifest, time.time())):
        with write_errors(SettingsError, out / name, remedy="name another folder with --out"):
            out.mkdir(parents=True, exist_ok=True)
            replace_file(out / name, text.encode())
        typer.echo(f"{out / name}: {len(asked)} answers are left to the agency")
