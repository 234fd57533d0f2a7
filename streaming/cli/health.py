"""The `health` command: what a container's health check calls."""

from datetime import UTC, datetime

import typer

from streaming.settings import Settings
from streaming.watch.health import in_words, read_health


def health(context: typer.Context) -> None:
    """Show whether the job's scores can be relied on now, or why not. Exit code 0 when ready, 1 when not."""
    settings: Settings = context.obj
    now = datetime.now(UTC)
    known, reason = read_health(settings.checkpoint, now)
    for line in in_words(known, reason, now):
        typer.echo(line)
    if reason:
        raise typer.Exit(1)
