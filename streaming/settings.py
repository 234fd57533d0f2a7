"""Settings: addresses, paths and limits of a deployment. The grid, windows and horizons come from the artifact.

Each field is declared once; `make pages` writes `.env.example` from here. Below are what every process does with them:
it keeps secrets out of its environment and its traces, stops on signals, and trusts the certificates that they name.
"""

import getpass
import os
import re
import signal
import ssl
import sys
import traceback
from _thread import start_new_thread
from collections.abc import Callable, Mapping, MutableMapping
from difflib import get_close_matches
from pathlib import Path
from threading import Event
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from schemas.errors import SettingsError, errors_in_one_line

PREFIX = "RISK_"
INFLUX_PREFIX = "INFLUXDB_V2_"

_LEAST_HEAP_MIB = 512  # Spark ends at once where the collector leaves it less than 450
_USER_IN_URL = re.compile(r"//[^/@\s]*@")
_CERTIFICATE_ERRORS = (  # words of OpenSSL; the problem; the remedy
    ("has expired", "has expired", "renew it on the server"),
    ("not yet valid", "is not valid yet", "check the clocks of both machines"),
    ("match", "is for another name", "use the name in the certificate in {address}, or issue a new certificate"),
    ("", "is signed by an authority that we do not trust", "set {authority} to the PEM file of that authority"),
)


class Settings(BaseModel):
    """The settings of one deployment. Environment name: `RISK_` plus the field's name in capitals, or its alias.

    >>> Settings.from_environment({"RISK_TOPIC": "calls"}).topic
    'calls'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Kafka's bootstrap servers, host:port[,host:port]")
    kafka_timeout_s: float = Field(
        600.0, gt=0, description="Longest absence of Kafka or the store, at the start and later, seconds"
    )
    kafka_security: Literal["plaintext", "sasl_ssl"] = Field(
        "plaintext", description="`sasl_ssl`: TLS, and sign in by SCRAM-SHA-512"
    )
    kafka_username: str = Field("", description="Kafka user, for `sasl_ssl`")
    kafka_password: SecretStr = Field(SecretStr(""), description="Its password")
    kafka_ca: Path | None = Field(None, description="PEM file of the authority that signed Kafka's certificate")
    topic: str = Field("incidents.v1", description="Topic the incident events are read from")
    dead_letter_topic: str = Field("incidents.v1.dlq", description="Topic that refused events are written to")
    feedback_topic: str = Field("feedback.v1", description="Topic that marks of shifts are read from")
    artifacts: Path = Field(Path("data/artifacts"), description="Folder with one artifact folder per region")
    checkpoint: Path = Field(Path("data/checkpoint"), description="Spark's checkpoint: local disk, one job only")
    audit: Path = Field(
        Path("data/audit.jsonl"), description="Audit log: starts, stops, settings, artifacts and resets"
    )
    frames: Path = Field(Path("data/frames"), description="Folder with the last frame of each region, for `serve`")
    registry: str = Field("data/registry", description="Where `risk promote` keeps versions: a folder, or mlflow:URI")
    gate_plan: Path = Field(Path("deploy/gate.toml"), description="What a trial must show; its hash goes on record")
    by: str = Field("", description="Who changes versions, for the audit log; the login name when empty")
    archive: str = Field("data/archive", description="Archive of final counts: a folder, or s3://BUCKET/FOLDER")
    archive_storage: SecretStr = Field(
        SecretStr(""), description="Its storage options, KEY=VALUE joined by commas, with delta-rs's keys"
    )
    sink: str = Field("file:data/scores.lp", description="`influxdb`, or `file:PATH` for line protocol in a file")
    metrics: str = Field(
        "",
        pattern=r"^$|^\S+:([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])$",
        description="Serve figures for Prometheus at this host:port; nothing when empty",
    )
    follow: Literal["on", "off"] = Field(
        "on", description="`on`: forecasts follow what the last weeks showed, on the wall clock and a local master"
    )
    language: str = Field("en", description="Of the service's pages: `en` or a folder of schemas/languages")
    masks: Path | None = Field(None, description="GeoJSON of areas whose incidents are not counted, such as shelters")
    log_level: Literal["info", "warning", "error"] = Field("info", description="Least level of what `run` logs")
    clock: Literal["wall", "event"] = Field(
        "wall", description="`wall`: scores are for now; `event`: for the newest event (replays, tests)"
    )
    starting: Literal["earliest", "latest"] = Field("earliest", description="Where a job without a checkpoint begins")
    trigger_s: float = Field(
        0.5, ge=0, le=60, allow_inf_nan=False, description="Shortest time between two batches, seconds"
    )
    max_events_per_batch: int = Field(1_600_000, ge=1, description="Most events that one batch takes from Kafka")
    top_k: int = Field(10, ge=1, le=1000, description="Cells in the `top` measurement, per category and horizon")
    master: str = Field("local[*,4]", description="Spark master; `local[N]` without a retry count never retries")
    spark_state: str = Field(
        "",
        description="Spark's state: a folder that all its machines share, or `s3a://BUCKET/FOLDER`; a cluster needs it",
    )
    shuffle_partitions: int = Field(1, ge=1, description="State partitions, fixed by the checkpoint; 1 up to 4 cores")
    driver_memory: str = Field("2g", pattern=r"^\d+[mg]$", description="Heap of the Spark driver, as `2g` or `512m`")
    cache: Path = Field(Path("~/.cache/incident-risk-scorer"), description="Where downloaded jars are kept")
    write_timeout_s: float = Field(60.0, gt=0, description="Longest time to keep trying one write to the store")
    influx_url: str = Field("http://127.0.0.1:8086", alias="INFLUXDB_V2_URL", description="InfluxDB's address")
    influx_org: str = Field("risk", alias="INFLUXDB_V2_ORG", description="InfluxDB organisation")
    influx_bucket: str = Field("risk", alias="INFLUXDB_V2_BUCKET", description="Bucket that scores are written to")
    influx_token: SecretStr = Field(SecretStr(""), alias="INFLUXDB_V2_TOKEN", description="Token that may write it")
    influx_ca: Path | None = Field(
        None, alias="INFLUXDB_V2_SSL_CA_CERT", description="PEM file of the authority that signed its certificate"
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """`NAME_FILE` names a file with NAME's value; an empty value is unset. A SettingsError lists all mistakes."""
        names = environment_names()
        values: dict[str, Any] = {}
        mistakes: list[str] = []
        for name, value in environment.items():
            if not name.startswith((PREFIX, INFLUX_PREFIX)) or not value:
                continue
            from_file = name not in names and name.endswith("_FILE")
            setting = name.removesuffix("_FILE") if from_file else name
            if setting not in names:
                if name.startswith(PREFIX) or get_close_matches(setting, names, n=1, cutoff=0.93):
                    close = get_close_matches(name, names, n=1)
                    mistakes.append(f"{name} is not a setting" + (f": did you mean {close[0]}?" if close else ""))
            elif from_file and environment.get(setting):
                mistakes.append(f"{setting} and {name} are both given: keep one of them")
            else:
                try:
                    text = Path(value).read_text(encoding="utf-8") if from_file else value
                    # A secret from an orchestrator often ends in a line break.
                    values[names[setting]] = text.strip() if from_file or setting in secret_names() else text
                except (OSError, UnicodeDecodeError) as error:
                    reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
                    mistakes.append(f"{name} does not name a readable text file ({reason})")
        return cls._checked(values, mistakes)

    def with_options(self, **options: Any) -> "Settings":
        """These settings with the `options` that are not None. Raises SettingsError."""
        given = {name: value for name, value in options.items() if value is not None}
        return self._checked(self.model_dump() | given, [])

    def shown(self) -> dict[str, str]:
        """Environment name -> value as text, for logs; without secrets, and without the password in a URL."""
        texts = {}
        for name, field in environment_names().items():
            value = getattr(self, field)
            if isinstance(value, SecretStr):
                texts[name] = "(set)" if value.get_secret_value() else ""
            else:
                texts[name] = "" if value is None else _USER_IN_URL.sub("//***@", str(value))
        return texts

    def without_secrets(self, text: str) -> str:
        """`text` with `***` in place of every secret's value, also where it is quoted as Python quotes it."""
        for field in type(self).model_fields:
            value = getattr(self, field)
            secret = value.get_secret_value() if isinstance(value, SecretStr) else ""
            for form in (secret, repr(secret)[1:-1]) if secret else ():
                text = text.replace(form, "***")
        for value in self.storage_options().values():
            text = text.replace(value, "***")
        return text

    def storage_options(self) -> dict[str, str]:
        """The storage options of the archive, by their keys."""
        pairs = (part.partition("=") for part in self.archive_storage.get_secret_value().split(",") if part.strip())
        return {key.strip(): value.strip() for key, _, value in pairs}

    @property
    def follow_in(self) -> Path | None:
        """The checkpoint whose followers the forecasts follow; None where they follow nothing.

        A clock of events may stand in any year, and workers on other machines do not see the checkpoint.
        """
        is_followed = self.follow == "on" and self.clock == "wall" and self.master.startswith("local")
        return self.checkpoint.absolute() if is_followed else None

    @field_validator("archive_storage")
    @classmethod
    def _is_pairs(cls, secret: SecretStr) -> SecretStr:
        parts = [part.split("=", 1) for part in secret.get_secret_value().split(",") if part.strip()]
        if any(len(part) != 2 or not all(map(str.strip, part)) for part in parts):
            raise ValueError(
                "is not KEY=VALUE joined by commas: write for example AWS_ACCESS_KEY_ID=...,AWS_REGION=..."
            )
        return secret

    @field_validator("influx_token", "kafka_password")
    @classmethod
    def _can_be_sent(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        text = secret.get_secret_value()
        if not text.isprintable():
            raise ValueError("contains a line break or another control character: give it on one line")
        if info.field_name == "influx_token" and not text.isascii():
            raise ValueError("contains a character that is not ASCII, unlike every token of InfluxDB: copy it again")
        return secret

    @model_validator(mode="after")
    def _two_topics(self) -> Self:
        if self.topic == self.dead_letter_topic:
            same = f"RISK_TOPIC and RISK_DEAD_LETTER_TOPIC are both {self.topic}"
            raise ValueError(f"{same}: name two topics, or refused messages are read and refused again without end")
        return self

    @model_validator(mode="after")
    def _shares_state(self) -> Self:
        if "://" in self.spark_state and not re.fullmatch(r"s3a://[^/:?]+/[^?]*[^/?]/?", self.spark_state):
            raise ValueError(f"RISK_SPARK_STATE={self.spark_state} is no folder, and not `s3a://BUCKET/FOLDER`")
        if not self.spark_state and not self.master.startswith("local"):
            raise ValueError(
                f"RISK_MASTER={self.master} works on other machines: give RISK_SPARK_STATE, a folder that all of them "
                "share under one path, or s3a://BUCKET/FOLDER"
            )
        return self

    @field_validator("driver_memory")
    @classmethod
    def _holds_spark(cls, size: str) -> str:
        if int(size[:-1]) * {"m": 1, "g": 1024}[size[-1]] < _LEAST_HEAP_MIB:
            raise ValueError(f"{size} is less than Spark starts with: give at least {_LEAST_HEAP_MIB}m")
        return size

    @classmethod
    def _checked(cls, values: Mapping[str, Any], mistakes: list[str]) -> "Settings":
        try:
            settings = cls(**values)
        except ValidationError as error:
            names = {field: f"{name}: " for name, field in environment_names().items()}
            for item in error.errors(include_url=False):
                field = str(item["loc"][0]) if item["loc"] else ""
                said = item["msg"].removeprefix("Value error, ")
                if item["type"] == "string_pattern_mismatch":  # nobody reads a pattern
                    said = f"not of the form that is needed ({cls.model_fields[field].description})"
                if field in cls.model_fields and cls.model_fields[field].annotation is not SecretStr:
                    said += f"; it is {_USER_IN_URL.sub('//***@', str(item['input']))!r}"
                mistakes = [*mistakes, (names.get(field, f"{field}: ") if field else "") + said]
        if mistakes:
            raise SettingsError("; ".join(mistakes), remedy="see .env.example for all settings")
        return settings


def environment_names() -> dict[str, str]:
    """Environment name -> field name, for every setting."""
    return {info.alias or PREFIX + field.upper(): field for field, info in Settings.model_fields.items()}


def secret_names() -> frozenset[str]:
    """Environment names whose value is a secret."""
    return frozenset(
        name for name, field in environment_names().items() if Settings.model_fields[field].annotation is SecretStr
    )


_in_force: list[Settings] = []  # their secrets must not be in a trace


def settings_of(environment: MutableMapping[str, str]) -> Settings:
    """The settings in the environment, from which the secrets are removed."""
    settings = Settings.from_environment(environment)
    _in_force.append(settings)
    for name in secret_names():  # otherwise Java and every Python worker would inherit them
        environment.pop(name, None)
    return settings


def run_without_secrets(app: Callable[[], object]) -> None:
    """Run the command that was typed. An unexpected error becomes a trace without secrets, and exit code 1."""
    try:
        with errors_in_one_line():
            app()
    except Exception:  # a bug of ours: shown, but without the secrets that a library may quote
        trace = traceback.format_exc()
        for settings in _in_force:
            trace = settings.without_secrets(trace)
        sys.stderr.write(trace)
        sys.exit(1)


def stop_on_signals(doing: str = "stopping after the running batch (a few seconds)") -> Event:
    """An event that is set by the first SIGTERM or SIGINT; the second one raises KeyboardInterrupt.

    doing: what the person then sees at once, because the signal has arrived.
    """
    stop, text = Event(), f"\n{doing}; a second signal stops at once\n".encode()

    def request_stop(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        os.write(2, text)  # a handler must not enter a console that is in the middle of a line
        # In a thread of its own: the handler may have interrupted `stop.wait` while that holds the event's lock. `set`
        # needs that lock too, and would wait for itself for ever.
        start_new_thread(stop.set, ())

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, request_stop)
    return stop


def who_decides(settings: Settings) -> str:
    """RISK_BY, or the user of this machine. Raises SettingsError without either."""
    try:
        return settings.by or getpass.getuser()
    except (KeyError, OSError) as error:
        raise SettingsError("this machine does not know who you are", "set RISK_BY to your name") from error


def tls_context(authority: Path | None, *, setting: str) -> ssl.SSLContext:
    """A context that trusts only `authority`, a PEM file; without it, what the system trusts. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
    try:
        if authority is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(authority)
    except OSError as error:
        fault = f"{setting}={authority} is not a readable PEM file of certificates ({error.strerror or error})"
        raise SettingsError(fault, remedy="give the certificate of the authority") from error
    return context


def certificate_error(openssl_text: str, *, address: str, authority: str) -> tuple[str, str]:
    """OpenSSL's reason not to trust a certificate, as (`has expired`, `renew it on the server`).

    address, authority: the settings that contain the server's address and the trusted authority's file.
    """
    problem, remedy = next((problem, remedy) for words, problem, remedy in _CERTIFICATE_ERRORS if words in openssl_text)
    return problem, remedy.format(address=address, authority=authority)
