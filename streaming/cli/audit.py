"""The commands `audit verify` and `audit show`."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from schemas.audit_log import head_path, kept_head
from schemas.audit_verify import read_log, records, verify
from schemas.errors import AuditError
from streaming.settings import Settings

audit_app = typer.Typer(no_args_is_help=True, help="The log of starts, stops, artifacts and resets.")
_TIME = "%Y-%m-%d %H:%M:%SZ"


@audit_app.command("verify")
def verify_command(
    context: typer.Context,
    head: Annotated[str | None, typer.Option(help="A head noted earlier: the log must still contain it")] = None,
) -> None:
    """Check that no line of the log was edited, removed or moved. Exit code 10 when one was.

    The log must also contain the head that is kept beside the checkpoint, if that is a head of this file.
    """
    settings: Settings = context.obj
    log, kept_in = settings.audit, head_path(settings.checkpoint)
    kept = kept_head(settings.checkpoint, log)  # read before the log, which may grow meanwhile
    heads = {name: known for name, known in ((f"the head in {kept_in}", kept), ("the given head", head)) if known}
    compared = f"compared with {' and '.join(heads) or f'no head, as {kept_in} has none of this file'}"
    verdict = verify(read_log(log), heads=heads.values())
    console = Console(highlight=False, soft_wrap=True)
    for line in verdict.torn:
        console.print(line)
    if verdict.faults:
        fault = f"the audit log {log} was changed: {'; '.join(verdict.faults)} ({compared})"
        raise AuditError(fault, remedy="restore it from a copy, and find out who can write it")
    if not verdict.records:
        fault = f"the audit log {log} holds no record: it was emptied, or the disk was full at its first ({compared})"
        raise AuditError(fault, remedy="verify a copy, with a head that was noted elsewhere")
    unknown = "" if heads else "; only a head can show whether the last records were removed"
    console.print(
        f"{log}: {len(verdict.records)} records, from {verdict.records[0].at:{_TIME}} to "
        f"{verdict.records[-1].at:{_TIME}}, chain unbroken{unknown}"
    )
    console.print(f"head {verdict.head}")
    console.print(compared + (", found" if heads else ""))
    if head is None:
        why = f"who changes the log may change {kept_in} too" if kept else "nothing else shows that last lines are gone"
        console.print(f"note the head elsewhere, for `--head`: {why}")


@audit_app.command("show")
def show(context: typer.Context, last: Annotated[int, typer.Option(min=1, help="How many records")] = 20) -> None:
    """Print the newest records, oldest first. It does not check them."""
    settings: Settings = context.obj
    console = Console(highlight=False, soft_wrap=True)
    for record in list(records(read_log(settings.audit)))[-last:]:
        details = ", ".join(f"{name}={_text(value)}" for name, value in record.details.items() if value != "")
        console.print(escape(f"{record.sequence} {record.at:{_TIME}} {record.event}: {details}"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
