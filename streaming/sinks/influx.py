"""InfluxDB as a sink: `/api/v2/write` by influxdb-client, tried again only where trying again can help."""

import logging
import random
import re
import time
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import urlsplit

import msgspec
import numpy as np
import stamina
import urllib3
from influxdb_client import InfluxDBClient, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from schemas.errors import SettingsError, SinkRefused, SinkUnavailable
from streaming.certificates import certificate_error, tls_context
from streaming.settings import Settings
from streaming.sinks.contract import WriteReport, count_lines

LINES_PER_REQUEST = 10_000  # 1.9 MB; both local stores take it faster than 5,000 at a time
CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 15.0  # the server itself gives up after 10 s and says so with a 500
FIRST_WAIT_S, LONGEST_WAIT_S, JITTER_S = 0.1, 5.0, 0.5
MESSAGE_LENGTH = 400
TROUBLE_AFTER_S = 5.0

_CA = "INFLUXDB_V2_SSL_CA_CERT"
_AGAIN = (429, 500, 502, 503, 504)
_NEWLINE = 10
_QUESTION = b"# may this be written?\n"  # parsed only after address, token, bucket and permission are judged
_DROPPED = re.compile(r"dropped=(\d+)")
_ERRNO = re.compile(r"\[Errno -?\d+\] ([^'\")]+)")
# The one reason to drop points that is as it should be, in the words of InfluxDB 1 and of 2
_RETENTION = re.compile(r"(?:beyond|outside) (?:the )?retention")

log = logging.getLogger(__name__)


class InfluxSink:
    """Writes to one bucket, in requests of LINES_PER_REQUEST lines, each acknowledged before the next.

    Retries end `write_timeout_s` after the write began; a request that was never tried is still tried once then.
    Without lines it is a question, which is tried again as a write is.
    """

    def __init__(self, settings: Settings) -> None:
        address = urlsplit(settings.influx_url)
        if address.scheme not in ("http", "https") or not address.hostname or address.username or address.password:
            raise SettingsError(
                "INFLUXDB_V2_URL must be http(s)://host:port without user or password: the token has its own setting"
            )
        self._url, self._org, self._bucket = settings.influx_url, settings.influx_org, settings.influx_bucket
        self._token = settings.influx_token.get_secret_value()
        self._write_timeout_s = settings.write_timeout_s
        waits_s = (CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S)
        self._client = InfluxDBClient(
            url=self._url,
            token=self._token,
            org=self._org,
            ssl_context=tls_context(settings.influx_ca, setting=_CA) if address.scheme == "https" else None,
            timeout=tuple(1000 * min(wait_s, settings.write_timeout_s) for wait_s in waits_s),
        )
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)
        logging.getLogger().addFilter(_tells_no_answer)
        self._waits: tuple[float, str] | None = None  # since when, steady, a write is tried again, and why

    def __repr__(self) -> str:
        return f"InfluxSink(url={self._url!r}, org={self._org!r}, bucket={self._bucket!r})"

    @property
    def trouble(self) -> str:
        waits = self._waits
        return waits[1] if waits and time.monotonic() - waits[0] >= TROUBLE_AFTER_S else ""

    def check(self) -> None:
        """One try, no waiting."""
        try:
            self._post(_QUESTION, first_line=1)
        except _TryAgain as error:
            raise SinkUnavailable(f"{self._place()}: {error}; start the store, or correct INFLUXDB_V2_URL") from error

    def write(self, lines: bytes) -> WriteReport:
        count, sent = count_lines(lines), lines or _QUESTION
        deadline_s = time.monotonic() + self._write_timeout_s
        requests = retries = dropped = 0
        for start, end in _cuts(sent):
            lost, tries = self._post_until(deadline_s, sent[start:end], first_line=requests * LINES_PER_REQUEST + 1)
            requests, retries, dropped = requests + 1, retries + tries - 1, dropped + lost
        if dropped:
            log.warning("influxdb dropped points outside the retention of the bucket: dropped=%d", dropped)
        return WriteReport(lines=count, bytes=len(lines), requests=requests, retries=retries, dropped=dropped)

    def close(self) -> None:
        self._client.close()

    def _post_until(self, deadline_s: float, chunk: bytes, *, first_line: int) -> tuple[int, int]:
        """(points dropped, tries) of one request that was acknowledged. Raises SinkRefused or SinkUnavailable."""

        def wait_for(error: Exception) -> bool | float:
            if not isinstance(error, _TryAgain):
                return False
            if error.wait_s is None:
                return True
            wait_s = error.wait_s + random.uniform(0, JITTER_S)  # noqa: S311 - spreads load, guards nothing
            return wait_s if time.monotonic() + wait_s < deadline_s else False

        tries, said, self._waits = 0, "", None
        began_s = time.monotonic()
        try:
            for attempt in stamina.retry_context(
                on=wait_for,
                attempts=None,
                timeout=max(deadline_s - time.monotonic(), 0.001),
                wait_initial=FIRST_WAIT_S,
                wait_max=LONGEST_WAIT_S,
                wait_jitter=JITTER_S,
            ):
                with attempt:
                    tries = attempt.num
                    try:
                        dropped = self._post(chunk, first_line=first_line)
                    except _TryAgain as error:
                        if str(error) != said:  # at first, and when the reason changes
                            log.warning("%s: %s; no new scores meanwhile, trying again", self._place(), error)
                        said = str(error)
                        self._waits = began_s, said
                        raise
        except _TryAgain as error:
            raise SinkUnavailable(
                f"{self._place()}: {error}; given up after {tries} tries within {self._write_timeout_s:g} s. "
                "Look at the store's log; the batch is repeated at the next start"
            ) from error
        self._waits = None
        if tries > 1:
            log.info("%s took the points after %.0f s", self._place(), time.monotonic() - began_s)
        return dropped, tries

    def _post(self, chunk: bytes, *, first_line: int) -> int:
        """Points that the store dropped for good, of one request. Raises _TryAgain or SinkRefused."""
        refusal = self._send(chunk)
        if refusal is not None:  # judged outside the handler: its text, in a traceback, may echo the token
            return self._judge(refusal, first_line)
        status = self._client.api_client.last_response.status
        if status != HTTPStatus.NO_CONTENT:
            raise SinkRefused(f"{self._place()} answered {status} instead of 204: this is not an InfluxDB")
        return 0

    def _send(self, chunk: bytes) -> ApiException | None:
        """The store's refusal, or None. Raises _TryAgain when there is no answer to read."""
        try:
            self._writer.write(bucket=self._bucket, record=chunk, write_precision=WritePrecision.S)
        except ApiException as error:
            return error
        except urllib3.exceptions.HTTPError as error:
            raise _TryAgain(self._shown(f"no answer ({_cause(error)})")) from None
        except UnicodeDecodeError:
            raise _TryAgain("the answer is not UTF-8: a proxy, or not an InfluxDB") from None
        return None

    def _judge(self, refusal: ApiException, first_line: int) -> int:
        """The rules for an answer that is not 2xx; what it gives back and raises is what `_post` does."""
        message, line = _read(refusal.body or "")
        message = self._shown(message or refusal.reason or "no reason given")
        if not refusal.status:  # TLS: the certificate is not trusted, or the connection broke
            if "CERTIFICATE_VERIFY_FAILED" in message:
                problem, remedy = certificate_error(message, address="INFLUXDB_V2_URL", authority=_CA)
                raise SinkRefused(f"the certificate of {self._place()} {problem}", remedy)
            raise _TryAgain(f"no secure connection ({message})")
        if refusal.status in _AGAIN:
            raise _TryAgain(f"{refusal.status} {message}", wait_s=_retry_after_s(refusal.headers))
        dropped = _DROPPED.search(message)
        if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY and dropped and _RETENTION.search(message):
            return int(dropped[1])
        where = "" if line is None else f" at line {first_line + line - 1} of the write"
        self._refuse(refusal.status, message, where)

    def _refuse(self, status: int, message: str, where: str) -> NoReturn:
        remedies = {
            400: "nothing that was sent is a point: a fault of this program, please report it with this line",
            401: "the token is not known: set INFLUXDB_V2_TOKEN or INFLUXDB_V2_TOKEN_FILE",
            403: f"the token may not write: make one that may write bucket {self._bucket!r}",
            404: f"create bucket {self._bucket!r} in organisation {self._org!r}, or correct the INFLUXDB_V2_ settings",
            413: f"raise the body limit of the proxy or store above {LINES_PER_REQUEST} lines (about 2 MB)",
            422: "another writer gave these fields another type (use an empty bucket of our own), or a limit of the "
            "store is too low (raise it); then `rebuild` what it dropped",
        }
        remedy = remedies.get(status, "see the store's manual for this answer, and INFLUXDB_V2_URL")
        raise SinkRefused(f"{self._place()} answered {status}{where}: {message}; {remedy}")

    def _place(self) -> str:
        return f"InfluxDB at {self._url}, bucket {self._bucket!r}"

    def _shown(self, text: str) -> str:
        """`text` on one line, not too long, and never with the token, which a proxy may echo."""
        hidden = text.replace(self._token, "***") if self._token else text
        flat = " ".join(hidden.split())
        return flat if len(flat) <= MESSAGE_LENGTH else flat[:MESSAGE_LENGTH] + "…"


def _cause(error: urllib3.exceptions.HTTPError) -> str:
    """The system's word for it where there is one: urllib3 wraps it in objects and addresses."""
    said = _ERRNO.search(str(error))
    return said[1].strip().lower() if said else f"{type(error).__name__}: {error}"


class _TryAgain(Exception):
    """This try failed in a way that a later one may not; `wait_s` is how long the store asks to wait."""

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def _tells_no_answer(record: logging.LogRecord) -> bool:
    """False for the client's own log line, to the root logger, that quotes an answer: it may echo the token."""
    return not record.pathname.endswith("influxdb_client/client/exceptions.py")


def _cuts(lines: bytes) -> list[tuple[int, int]]:
    """(start, end) of each request's bytes: LINES_PER_REQUEST whole lines, fewer in the last."""
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == _NEWLINE) + 1
    inner = ends[LINES_PER_REQUEST - 1 : -1 : LINES_PER_REQUEST].tolist()
    return list(zip([0, *inner], [*inner, len(lines)], strict=True))


def _read(body: str) -> tuple[str, int | None]:
    """(message, number of the first bad line or None) of an answer in the forms of InfluxDB 2, 3 and 1."""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body, None
    if not isinstance(answer, dict):
        return body, None
    line, details = answer.get("line"), answer.get("data")
    message = answer.get("message") or answer.get("error") or body
    if isinstance(details, list) and details and isinstance(details[0], dict):
        line = details[0].get("line_number")
        message = f"{message}: {details[0].get('error_message')}"
    return str(message), line if isinstance(line, int) else None


def _retry_after_s(headers: Any) -> float | None:
    """Seconds of the header Retry-After, given as a number or a date; None without a usable one."""
    try:
        return urllib3.Retry().get_retry_after(urllib3.HTTPResponse(headers=headers))
    except urllib3.exceptions.InvalidHeader:
        return None
