"""The job's life on record: the audit log and the health file say that it began, and how it ended."""

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from schemas.errors import AuditError, RiskError
from streaming.disk.audit import AuditEvent, Plain, record
from streaming.settings import Settings
from streaming.watch.health_watch import HealthWatch

log = logging.getLogger(__name__)
_INTERRUPTED = 130


@dataclass(slots=True)
class Life:
    """What is known of a job that runs. `is_clean`: it stopped between two batches."""

    health: HealthWatch
    is_clean: bool = False


@contextmanager
def on_record(settings: Settings) -> Iterator[Life]:
    """Needs the checkpoint's lock. Raises AuditError when the log cannot be written: nothing runs unrecorded."""
    job: dict[str, Plain] = {"process": os.getpid(), "host": socket.gethostname()}
    _record(settings, "start", {**job, "checkpoint": str(settings.checkpoint.absolute())})
    _record_and_say(settings, "settings", settings.shown())
    life = Life(HealthWatch(settings, time.time))
    try:
        with life.health.kept(lambda error: told(error, settings)):
            yield life
    except BaseException as error:
        text, code = told(error, settings)
        try:
            _record_and_say(settings, "failure", {**job, "error": text, "exit_code": code})
        except AuditError as unwritten:  # what ended the job is the news
            log.warning("%s", unwritten)
        raise
    _record_and_say(settings, "stop", {**job, "between_batches": life.is_clean, "last_batch": life.health.last_batch})


def told(error: BaseException, settings: Settings) -> tuple[str, int]:
    """(text without secrets, exit code). Of an error that is not ours only the kind: its text may hold anything."""
    if isinstance(error, RiskError):
        return settings.without_secrets(str(error)), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "stopped at once by a second signal", _INTERRUPTED
    return f"{type(error).__name__}, a fault of this program", 1


def _record_and_say(settings: Settings, event: AuditEvent, details: Mapping[str, Plain]) -> None:
    """The head that is said can be noted elsewhere: it makes up for what the file alone cannot show."""
    log.info("audit=%s head=%s", settings.audit, _record(settings, event, details))


def _record(settings: Settings, event: AuditEvent, details: Mapping[str, Plain]) -> str:
    return record(settings.audit, event, details, at_s=time.time(), checkpoint=settings.checkpoint)
