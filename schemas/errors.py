"""The errors that this project raises on purpose, with the exit code of each.

A message says what happened, with which value; the remedy says what to do about it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class RiskError(Exception):
    """Base of all errors that carry a message for the person at the terminal.

    >>> str(RiskError("no artifact in data/artifacts", remedy="train one"))
    'no artifact in data/artifacts: train one'
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)  # both, so that the error can be pickled
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}" if self.remedy else self.message


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """For a program's `main`: a RiskError becomes the line `error: message: remedy` and the exit code of its kind."""
    try:
        yield
    except RiskError as error:
        from rich.console import Console  # only a program that fails needs it
        from rich.text import Text

        line = Text.assemble(("error: ", "bold red"), error.message)
        if error.remedy:
            line.append(": ").append(error.remedy, "bold")
        Console(stderr=True).print(line, soft_wrap=True)
        sys.exit(error.exit_code)


class SettingsError(RiskError):
    """A setting is unknown, missing or out of range, or the Java or the folder that it names cannot be used."""

    exit_code = 2


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """What is imported inside belongs to an extra of the project, which is on no index. Raises SettingsError."""
    try:
        yield
    except ModuleNotFoundError as error:
        remedy = f"in a clone of the project: pip install -c constraints.txt '.[{extra}]'"
        raise SettingsError(f"{error.name} is not installed", remedy=remedy) from error


class DataError(RiskError):
    """An incident file cannot be used as asked."""

    exit_code = 3


class LeakError(DataError):
    """A forecast uses counts that were not yet reported at its time."""


class ArtifactError(RiskError):
    """An artifact is missing, damaged or untrusted."""

    exit_code = 4


class ArtifactsAway(ArtifactError):
    """The folder of artifacts is missing or cannot be read now: a running job continues without it."""


class SpecMismatch(ArtifactError):
    """Two parts that must share a spec belong to different specs."""


class RegistryError(ArtifactError):
    """The registry of models cannot be used, or does not allow the change."""


class BrokerError(RiskError):
    """Kafka cannot be reached, started or used as configured."""

    exit_code = 5


class BrokerUnavailable(BrokerError):
    """Kafka does not answer now: the same request may succeed later."""


class EventsGone(BrokerError):
    """Kafka deleted events before the job read them (retention, or a request), or lost events that the job had read."""

    exit_code = 9


class SinkError(RiskError):
    """Scores cannot be stored."""

    exit_code = 6


class SinkRefused(SinkError):
    """The store refused the write, and would refuse the same bytes again."""


class SinkUnavailable(SinkError):
    """The store did not acknowledge the write, after all repeats."""


class CheckpointError(RiskError):
    """The checkpoint is in use, or belongs to another topic or other settings."""

    exit_code = 8


class AuditError(RiskError):
    """The audit log cannot be written or read, or was changed."""

    exit_code = 10


class GateClosed(RiskError):
    """The gate does not let a challenger through, or not yet."""

    exit_code = 11


class PipelineError(RiskError):
    """The streaming job failed."""

    exit_code = 7


class SparkFailed(PipelineError):
    """Spark failed, or code that runs inside it."""


class LedgerUnbalanced(PipelineError):
    """A batch's outcomes do not add up to what it consumed."""
