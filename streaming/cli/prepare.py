"""The `prepare` command."""

import typer
from rich.console import Console

from streaming.settings import Settings


def prepare(context: typer.Context) -> None:
    """Fetch Spark's jars and archive Java's classes: later starts need no network and take some seconds less."""
    from streaming.cli.preparation import prepare as prepared  # pyspark: a second that --help saves

    settings: Settings = context.obj
    console = Console(highlight=False)
    with console.status("starting Spark once (the first time fetches 60 MB of jars) ..."):
        archive = prepared(settings, settings.cache.expanduser() / "prepare.log")
    console.print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB", soft_wrap=True)
