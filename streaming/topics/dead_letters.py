"""Writes refused messages to the dead-letter topic, with the reason and the place that they were read from."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from kafka import KafkaProducer
from kafka.errors import AuthorizationError, KafkaError, RetriableError

from schemas.errors import BrokerError, BrokerUnavailable
from schemas.incidents import Rejection, encode_dead_letter
from streaming.settings import Settings
from streaming.topics.kafka import KafkaConnection, broker_error, producer_of, refuse_unreachable

# All messages of a batch may be refused: 1.6 million letters at once would need 2 GiB, and perhaps more time than
# `RISK_WRITE_TIMEOUT_S`, after which Kafka's client drops the letters that it has not sent yet.
LETTERS_AT_ONCE = 20_000


@dataclass(slots=True, kw_only=True)
class DeadLetters:
    """Writer of the dead-letter topic. `write` returns when the broker has stored all of them."""

    kafka: KafkaConnection
    topic: str
    source_topic: str
    longest_absence_s: float  # of Kafka; then its failure is final
    write_timeout_s: float
    now_s: Callable[[], float] = time.monotonic  # any steady clock
    _failing_since_s: float | None = None
    _producer: KafkaProducer | None = None

    @classmethod
    def of(cls, settings: Settings, now_s: Callable[[], float] = time.monotonic) -> "DeadLetters":
        return cls(
            kafka=KafkaConnection.of(settings),
            topic=settings.dead_letter_topic,
            source_topic=settings.topic,
            longest_absence_s=settings.kafka_timeout_s,
            write_timeout_s=settings.write_timeout_s,
            now_s=now_s,
        )

    def write(self, refused: Mapping[str, Iterable[Rejection]]) -> None:
        """Send the rejections of each region ('' for none).

        Raises BrokerUnavailable when Kafka cannot store them now; BrokerError when it could not for
        `longest_absence_s`, or never will. The batch is then repeated, so the topic may contain some of them twice.
        """
        letters = (
            encode_dead_letter(rejection, source_topic=self.source_topic, region=region or None)
            for region, rejections in refused.items()
            for rejection in rejections
        )
        while slice_ := list(islice(letters, LETTERS_AT_ONCE)):
            self._deliver(slice_)
        self._failing_since_s = None

    def _deliver(self, letters: Sequence[bytes]) -> None:
        """Send and wait until the broker has stored all of them."""
        began_s = self.now_s()
        try:
            self._send(letters)
        except AuthorizationError as error:
            raise broker_error(error, self.kafka) from error
        except (KafkaError, BrokerUnavailable) as error:
            self.close()
            since_s = self._failing_since_s = self._failing_since_s or began_s
            may_pass = isinstance(error, RetriableError | BrokerUnavailable)
            lasts = self.now_s() - since_s >= self.longest_absence_s
            kind = BrokerUnavailable if may_pass and not lasts else BrokerError
            place = f"{len(letters)} dead letters in topic {self.topic}"
            fault = f"Kafka at {self.kafka.bootstrap} did not store {place} ({type(error).__name__})"
            raise kind(fault, remedy="create the topic and check the broker; the batch will be repeated") from error

    def _send(self, letters: Iterable[bytes]) -> None:
        if self._producer is None:
            refuse_unreachable(self.kafka.bootstrap)  # the client itself would need its whole time limit for this
            self._producer = producer_of(self.kafka, patience_s=self.write_timeout_s, linger_ms=5)
        sent = [self._producer.send(self.topic, value=letter) for letter in letters]
        self._producer.flush(timeout=self.write_timeout_s + 5)
        for future in sent:
            future.get()  # it is done

    def close(self) -> None:
        if self._producer is not None:
            with suppress(KafkaError):  # letters without an acknowledgement belong to a batch that is repeated
                self._producer.close(timeout=5)
            self._producer = None
