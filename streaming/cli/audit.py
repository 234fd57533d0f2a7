"""The commands `audit verify` and `audit show`."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from schemas.errors import AuditError
from streaming.disk.audit_head import head_path, kept_head
from streaming.settings import Settings

audit_app = typer.Typer(no_args_is_help=True, help="The log of what changed what people see.")


@audit_app.command("verify")
def verify_command(
    context: typer.Context,
    head: Annotated[str | None, typer.Option(help="A head noted earlier: the log must still contain it")] = None,
) -> None:
    """Check that no line of the log was edited, removed or moved. Exit code 10 when one was.

    The log must contain the head that is kept beside the checkpoint, if that is one of this very file.
    """
    from streaming.disk.audit_verify import read_log, verify

    settings: Settings = context.obj
    kept_in = head_path(settings.checkpoint)
    kept = kept_head(settings.checkpoint, settings.audit)  # before the log, which may grow meanwhile
    heads = {whose: one for whose, one in ((f"the one kept in {kept_in}", kept), ("the one given", head)) if one}
    compared = f"heads looked for: {' and '.join(heads) or f'none, as {kept_in} keeps none of this file'}"
    verdict = verify(read_log(settings.audit), heads=heads.values())
    console = Console(highlight=False, soft_wrap=True)
    for line in verdict.torn:
        console.print(line)
    if verdict.faults:
        raise AuditError(f"the audit log {settings.audit} was changed: {'; '.join(verdict.faults)} ({compared})")
    if not verdict.records:
        raise AuditError(
            f"the audit log {settings.audit} holds no record: it is made with its first one, so it was emptied, or the "
            f"disk was full then; compare with a head that was noted ({compared})"
        )
    span = f", from {verdict.first_at:%Y-%m-%d %H:%M:%SZ} to {verdict.last_at:%Y-%m-%d %H:%M:%SZ}"
    unseen = "" if heads else "; whether its last records are gone cannot be seen without a head"
    console.print(f"{settings.audit}: {verdict.records} records{span}, chain unbroken{unseen}")
    console.print(f"head {verdict.head}")
    console.print(compared + (", found" if heads else ""))
    if head is None:
        console.print(
            "note the head elsewhere, for `--head`: "
            + (
                f"who changes the log may change {kept_in} too"
                if kept
                else "nothing else shows that last lines are gone"
            )
        )


@audit_app.command("show")
def show(
    context: typer.Context,
    last: Annotated[int, typer.Option(min=1, help="How many records")] = 20,
) -> None:
    """Print the newest records, oldest first. It does not check them."""
    from streaming.disk.audit_verify import read_log, records

    settings: Settings = context.obj
    console = Console(highlight=False, soft_wrap=True)
    for one in list(records(read_log(settings.audit)))[-last:]:
        details = ", ".join(f"{name}={_text(value)}" for name, value in one.details.items() if value != "")
        console.print(escape(f"{one.sequence} {one.at:%Y-%m-%d %H:%M:%SZ} {one.event}: {details}"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
