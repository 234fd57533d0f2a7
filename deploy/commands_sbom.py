"""The `sbom` command."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy.sbom import bill_of_materials
from streaming.settings import Settings


def sbom(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Where to write the CycloneDX document")] = Path("out/sbom.json"),
) -> None:
    """Write the bill of materials: Python packages and jars of this installation, in CycloneDX's JSON."""
    settings: Settings = context.obj
    console = Console(highlight=False)
    with console.status("listing packages and jars ..."):
        document = bill_of_materials(settings.cache)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    jars = sum(component["bom-ref"].startswith("jar:") for component in document["components"])
    console.print(f"{out}: {len(document['components']) - jars} Python packages, {jars} jars", soft_wrap=True)
    if not (settings.cache.expanduser() / "ivy").is_dir():
        console.print(f"no jars of Kafka in {settings.cache} yet: they are fetched at the first start", soft_wrap=True)
