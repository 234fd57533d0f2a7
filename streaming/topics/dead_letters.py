"""Refused messages go to a topic of their own, with the reason and the place they came from."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from kafka import KafkaProducer
from kafka.errors import AuthorizationError, KafkaError, RetriableError

from schemas.dead_letter import encode_dead_letter
from schemas.errors import BrokerError, BrokerUnavailable
from schemas.incidents import Rejection
from streaming.settings import Settings
from streaming.topics.client import Security, explained, refuse_unreachable

# A batch may be refused as a whole: 1.6 million letters at once would take 2 GiB, and perhaps longer than
# `RISK_WRITE_TIMEOUT_S`, after which Kafka's client gives up on what it still has.
LETTERS_AT_ONCE = 20_000


class DeadLetters:
    """Writer of the dead-letter topic. `write` returns when the broker has all of them."""

    def __init__(self, settings: Settings, now_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._security = Security.of(settings)
        self._now_s = now_s  # any steady clock
        self._failing_since_s: float | None = None
        self._producer: KafkaProducer | None = None

    def write(self, refused: Mapping[str, Iterable[Rejection]]) -> None:
        """Send the rejections of each region ('' for none).

        Raises BrokerUnavailable when Kafka does not take them now, BrokerError when it has not for
        `RISK_KAFKA_TIMEOUT_S` or never will. The batch is repeated, so some may be in the topic twice.
        """
        letters = (
            encode_dead_letter(rejection, source_topic=self._settings.topic, region=region or None)
            for region, rejections in refused.items()
            for rejection in rejections
        )
        while some := list(islice(letters, LETTERS_AT_ONCE)):
            self._deliver(some)
        self._failing_since_s = None

    def _deliver(self, letters: Sequence[bytes]) -> None:
        """Send and wait until the broker has all of them."""
        began_s = self._now_s()
        try:
            self._send(letters)
        except AuthorizationError as error:
            raise explained(error, self._settings.kafka_bootstrap, self._security) from error
        except (KafkaError, BrokerUnavailable) as error:
            self.close()
            since_s = self._failing_since_s = self._failing_since_s or began_s
            may_pass = isinstance(error, RetriableError | BrokerUnavailable)
            lasts = self._now_s() - since_s >= self._settings.kafka_timeout_s
            raise (BrokerUnavailable if may_pass and not lasts else BrokerError)(
                f"{len(letters)} dead letters were not taken by topic {self._settings.dead_letter_topic} at "
                f"{self._settings.kafka_bootstrap} ({type(error).__name__}): create the topic and check the broker; "
                "the batch will be repeated"
            ) from error

    def _send(self, letters: Iterable[bytes]) -> None:
        longest_s = self._settings.write_timeout_s
        if self._producer is None:
            refuse_unreachable(self._settings.kafka_bootstrap)  # the client would take its time to find out
            self._producer = KafkaProducer(
                bootstrap_servers=self._settings.kafka_bootstrap.split(","),
                linger_ms=5,
                acks="all",
                bootstrap_timeout_ms=int(1000 * longest_s),
                max_block_ms=int(1000 * longest_s),
                request_timeout_ms=int(500 * longest_s),
                delivery_timeout_ms=int(1000 * longest_s),
                **self._security.client(),
            )
        sent = [self._producer.send(self._settings.dead_letter_topic, value=letter) for letter in letters]
        self._producer.flush(timeout=longest_s + 5)
        for future in sent:
            future.get(timeout=1)

    def close(self) -> None:
        if self._producer is not None:
            with suppress(KafkaError):  # what is not acknowledged yet belongs to a batch that is repeated
                self._producer.close(timeout=5)
            self._producer = None
