"""The record of a job: the audit log and the health file show when it began, and how it ended."""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from schemas.audit.log import AuditEvent, Plain, record
from schemas.errors import AuditError, RiskError
from streaming.settings import Settings
from streaming.watch.health_watch import HealthWatch

log = logging.getLogger(__name__)
_INTERRUPTED = 130


@dataclass(slots=True)
class JobRecord:
    """The record of a job that runs. `is_clean`: it stopped between two batches."""

    health: HealthWatch
    is_clean: bool = False


@contextmanager
def recorded(settings: Settings) -> Iterator[JobRecord]:
    """Needs the checkpoint's lock. Raises AuditError when the log cannot be written: no job runs unrecorded."""
    process: dict[str, Plain] = {"process": os.getpid(), "host": socket.gethostname()}
    described = partial(_described, without_secrets=settings.without_secrets)

    def note(event: AuditEvent, details: Mapping[str, Plain]) -> None:
        """A head can be noted elsewhere: with it, lines that were removed from the end of the file are noticed."""
        head = record(settings.audit, event, details, at_s=time.time(), checkpoint=settings.checkpoint)
        if event != "start":  # the settings follow at once
            log.info("audit=%s head=%s", settings.audit, head)

    note("start", {**process, "checkpoint": str(settings.checkpoint.absolute())})
    note("settings", settings.shown())
    health = HealthWatch(checkpoint=settings.checkpoint, clock=settings.clock, trigger_s=settings.trigger_s)
    job = JobRecord(health)
    try:
        with health.kept(described):
            yield job
    except BaseException as error:
        text, code = described(error)
        try:
            note("failure", {**process, "error": text, "exit_code": code})
        except AuditError as unwritten:  # the error that ended the job matters more
            log.warning("%s", unwritten)
        raise
    note("stop", {**process, "between_batches": job.is_clean, "last_batch": health.last_batch})


def _described(error: BaseException, without_secrets: Callable[[str], str]) -> tuple[str, int]:
    """(text without secrets, exit code). Of an error that is not ours only its class: its text may hold a secret."""
    if isinstance(error, RiskError):
        return without_secrets(str(error)), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "stopped at once by a second signal", _INTERRUPTED
    return f"{type(error).__name__}, a fault of this program", 1
