"""InfluxDB as a sink: `/api/v2/write` by influxdb-client. A request is repeated only when that can help."""

import logging
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from queue import LifoQueue
from threading import Event, Lock, Thread, get_ident
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import numpy as np
import stamina
import urllib3
from influxdb_client import InfluxDBClient, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from schemas.errors import SettingsError, SinkRefused, SinkUnavailable
from streaming.settings import Settings, certificate_error, tls_context
from streaming.sinks.sink import NOTHING, MakeLines, Sink, WriteReport, count_lines

log = logging.getLogger(__name__)
T = TypeVar("T")
WRITERS = 4  # of parts
LINES_PER_REQUEST = 10_000  # 1.9 MB; both local stores are faster with it than with 5,000
CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 15.0  # the server itself gives up after 10 s and answers with a 500
JITTER_S = 0.5
MESSAGE_LENGTH = 400
TROUBLE_AFTER_S = 5.0
_CA = "INFLUXDB_V2_SSL_CA_CERT"
_TRY_AGAIN = (429, 500, 502, 503, 504)
_QUESTION = b"# may this be written?\n"  # the store parses it after it has checked address, token, bucket and rights
_DROPPED = re.compile(r"dropped=(\d+)")
_ERRNO = re.compile(r"\[Errno -?\d+\] ([^'\")]+)")
# The only acceptable reason to drop points, in the words of InfluxDB 1 and 2
_RETENTION = re.compile(r"(?:beyond|outside) (?:the )?retention")
_NEWLINE = 10


@dataclass(frozen=True, slots=True)
class Request:
    """Some whole lines of a write, or of a part of it that has a name. first: the number of the first one, from 1."""

    lines: bytes
    count: int = 1
    part: str = ""
    first: int = 1


def requests_of(part: str, lines: bytes) -> Iterator[Request]:
    """LINES_PER_REQUEST lines each, fewer in the last; nothing when there are no lines.

    Raises PipelineError when the last line has no end.
    """
    total = count_lines(lines)
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == _NEWLINE) + 1
    start = 0
    for first in range(1, total + 1, LINES_PER_REQUEST):
        count = min(LINES_PER_REQUEST, total + 1 - first)
        end = int(ends[first + count - 2])
        yield Request(lines[start:end], count, part, first)
        start = end


class InfluxSink(Sink):
    """Writes to one bucket, in requests of LINES_PER_REQUEST lines; each is acknowledged before the part's next.

    Retries end `write_timeout_s` after the write began; each request is tried at least once. A write without lines
    sends a question in their place, with the same retries.
    """

    def __init__(self, settings: Settings, place: str = "") -> None:
        """RISK_SINK=influxdb: the INFLUXDB_V2_ settings name the place."""
        if place:
            raise SettingsError(f"sink influxdb:{place} is not known", remedy="use influxdb, and INFLUXDB_V2_URL")
        address = urlsplit(settings.influx_url)
        if address.scheme not in ("http", "https") or not address.hostname or address.username or address.password:
            fault = "INFLUXDB_V2_URL must be http(s)://host:port without user or password"
            raise SettingsError(fault, remedy="give the token as INFLUXDB_V2_TOKEN")
        self._org, self._bucket, self._token = settings.influx_org, settings.influx_bucket, settings.influx_token
        self._place = f"InfluxDB at {settings.influx_url}, bucket {self._bucket!r}"
        self._write_timeout_s = timeout_s = settings.write_timeout_s
        tls = tls_context(settings.influx_ca, setting=_CA) if address.scheme == "https" else None
        self._clients = [
            InfluxDBClient(
                url=settings.influx_url,
                token=self._token.get_secret_value(),
                org=self._org,
                ssl_context=tls,
                timeout=tuple(1000 * min(wait_s, timeout_s) for wait_s in (CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S)),
            )
            for _ in range(WRITERS)
        ]
        self._idle: LifoQueue[InfluxDBClient] = LifoQueue()  # a client remembers its last answer: it is of one writer
        for client in self._clients:
            self._idle.put(client)
        logging.getLogger().addFilter(_quotes_no_answer)
        self._failing: dict[int, tuple[float, str]] = {}  # by thread: since when (a steady clock) it repeats, and why
        self._reasons: set[str] = set()  # that were logged of the last write

    @property
    def trouble(self) -> str:
        since_s, reason = min(self._failing.copy().values(), default=(math.inf, ""))
        return reason if time.monotonic() - since_s >= TROUBLE_AFTER_S else ""

    def check(self) -> None:
        """It tries once and does not wait."""
        try:
            self._post(Request(_QUESTION))
        except _TryAgain as error:
            raise SinkUnavailable(f"{self._place}: {error}", "start the store, or correct INFLUXDB_V2_URL") from error

    def write(self, lines: bytes) -> WriteReport:
        report = self.write_all({"": lambda: lines or _QUESTION})
        return report if lines else replace(report, lines=0)

    def write_all(self, parts: Mapping[str, MakeLines]) -> WriteReport:
        """It stores up to WRITERS parts at a time."""
        self._failing.clear()
        self._reasons.clear()
        deadline_s, failed = time.monotonic() + self._write_timeout_s, Event()

        def store(part: str, make: MakeLines) -> WriteReport:
            reports = (self._post_until(deadline_s, request, failed) for request in requests_of(part, make()))
            return sum(reports, start=NOTHING)

        acts = [partial(store, part, make) for part, make in parts.items()]
        report = sum(side_by_side(acts, writers=WRITERS, failed=failed), start=NOTHING)
        if report.dropped:
            log.warning("influxdb dropped points outside the retention of the bucket: dropped=%d", report.dropped)
        return report

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _post_until(self, deadline_s: float, request: Request, failed: Event) -> WriteReport:
        """The report of an acknowledged request. Raises SinkRefused or SinkUnavailable, also when another `failed`."""
        tries, began_s = 0, time.monotonic()
        try:
            for attempt in _attempts(deadline_s):
                with attempt:
                    tries = attempt.num
                    if failed.is_set():
                        raise SinkUnavailable(f"{self._place}: another writer has failed", "see its error")
                    try:
                        dropped = self._post(request)
                    except _TryAgain as error:
                        reason = str(error)
                        if reason not in self._reasons:  # the first failure of a write, and one with another reason
                            self._reasons.add(reason)
                            log.warning("%s: %s; no new scores are stored, trying again", self._place, reason)
                        self._failing[get_ident()] = began_s, reason
                        raise
        except _TryAgain as error:
            fault = f"{self._place}: {error}; given up after {tries} tries within {self._write_timeout_s:g} s"
            remedy = "look at the store's log; the next start repeats the batch"
            raise SinkUnavailable(fault, remedy) from error
        self._failing.pop(get_ident(), None)
        if tries > 1:
            log.info("%s stored the points after %.0f s", self._place, time.monotonic() - began_s)
        return WriteReport(lines=request.count, requests=1, retries=tries - 1, dropped=dropped)

    def _post(self, request: Request) -> int:
        """Number of points that the store dropped for good, of one request. Raises _TryAgain or SinkRefused."""
        refusal: ApiException | None = None
        client = self._idle.get()
        try:
            client.write_api(write_options=SYNCHRONOUS).write(
                bucket=self._bucket, record=request.lines, write_precision=WritePrecision.S
            )
            status = client.api_client.last_response.status
        except ApiException as error:
            refusal = error
        except urllib3.exceptions.HTTPError as error:
            of_the_system = _ERRNO.search(str(error))  # urllib3 wraps it in objects and addresses
            reason = of_the_system[1].strip().lower() if of_the_system else f"{type(error).__name__}: {error}"
            raise _TryAgain(self._shown(f"no answer ({reason})")) from None
        except UnicodeDecodeError:
            raise _TryAgain("the answer is not UTF-8: it is from a proxy, or not from an InfluxDB") from None
        finally:
            self._idle.put(client)
        if refusal is not None:  # outside of the `except`: its text, in a traceback, may contain the token
            return self._judge(refusal, request)
        if status != HTTPStatus.NO_CONTENT:
            remedy = "correct INFLUXDB_V2_URL: that is no InfluxDB"
            raise SinkRefused(f"{self._place} answered {status} instead of 204", remedy)
        return 0

    def _judge(self, refusal: ApiException, request: Request) -> int:
        """What an answer other than 2xx means; gives and raises as `_post` does."""
        message, line = _read(refusal.body or "")
        message = self._shown(message or refusal.reason or "no reason given")
        if not refusal.status:  # TLS: the certificate is not trusted, or the connection broke
            if "CERTIFICATE_VERIFY_FAILED" in message:
                problem, remedy = certificate_error(message, address="INFLUXDB_V2_URL", authority=_CA)
                raise SinkRefused(f"the certificate of {self._place} {problem}", remedy)
            raise _TryAgain(f"no secure connection ({message})")
        if refusal.status in _TRY_AGAIN:
            wait_s = None
            with suppress(urllib3.exceptions.InvalidHeader):  # Retry-After is a number or a date, or missing
                wait_s = urllib3.Retry().get_retry_after(urllib3.HTTPResponse(headers=refusal.headers))
            raise _TryAgain(f"{refusal.status} {message}", wait_s=wait_s)
        dropped = _DROPPED.search(message)
        if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY and dropped and _RETENTION.search(message):
            return int(dropped[1])
        remedies = {
            400: "this is an error of this program: please report it with this line",
            401: "the token is not known: set INFLUXDB_V2_TOKEN or INFLUXDB_V2_TOKEN_FILE",
            403: f"the token has no right to write: create one that may write bucket {self._bucket!r}",
            404: f"create bucket {self._bucket!r} in organisation {self._org!r}, or correct the INFLUXDB_V2_ settings",
            413: f"raise the body limit of the proxy or store above {LINES_PER_REQUEST} lines (about 2 MB)",
            422: "another program wrote these fields with another type (use an empty bucket for the scores only), or a "
            "limit of the store is too low (raise it); the dropped points do not come again",
        }
        remedy = remedies.get(refusal.status, "look up this answer in the store's manual, and check INFLUXDB_V2_URL")
        part = request.part or "the write"
        where = f" at line {request.first + line - 1} of {part}" if line else f" for {part}" if request.part else ""
        raise SinkRefused(f"{self._place} answered {refusal.status}{where} ({message})", remedy)

    def _shown(self, text: str) -> str:
        """`text` on one line, shortened, and without the token, which a proxy may quote."""
        token = self._token.get_secret_value()
        flat = " ".join((text.replace(token, "***") if token else text).split())
        return flat if len(flat) <= MESSAGE_LENGTH else flat[:MESSAGE_LENGTH] + "…"


class _TryAgain(Exception):
    """A later try may succeed; `wait_s` is the time that the store asks to wait."""

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def _attempts(deadline_s: float) -> Any:
    """Tries until `deadline_s` (a steady clock), at distances that grow to 5 s or as the store asks. stamina sleeps."""

    def wait_for(error: Exception) -> bool | float:
        if not isinstance(error, _TryAgain):
            return False
        if error.wait_s is None:
            return True
        wait_s = error.wait_s + random.uniform(0, JITTER_S)  # noqa: S311 - it spreads load and protects nothing
        return wait_s if time.monotonic() + wait_s < deadline_s else False

    return stamina.retry_context(
        on=wait_for,
        attempts=None,
        timeout=max(deadline_s - time.monotonic(), 0.001),
        wait_jitter=JITTER_S,
    )


def _quotes_no_answer(record: logging.LogRecord) -> bool:
    """False for the client's own log line that quotes an answer to the root logger: it may contain the token."""
    return not record.pathname.endswith("influxdb_client/client/exceptions.py")


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


def side_by_side(acts: Sequence[Callable[[], T]], *, writers: int, failed: Event) -> list[T]:
    """The results of the acts, in no certain order. At most `writers` of them run at a time; the caller is one.

    When an act raises, no other begins, and `failed` is set, so that those that run can end early. When they have
    ended, the error is raised; of several, the first one.
    """
    waiting, lock = iter(acts), Lock()
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        while not failed.is_set():
            with lock:
                act = next(waiting, None)
            if act is None:
                return
            try:
                results.append(act())
            except BaseException as error:  # it is raised below, in the caller's thread
                errors.append(error)
                failed.set()

    others = [Thread(target=work, daemon=True) for _ in range(min(writers, len(acts)) - 1)]  # a process can end
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
    return results
