"""Refused messages go to a topic of their own, with the reason and the place they came from."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from kafka import KafkaProducer
from kafka.errors import AuthorizationError, KafkaError

from schemas.dead_letter import encode_dead_letter
from schemas.errors import BrokerError
from schemas.incidents import Rejection
from streaming.kafka_client import Security, explained
from streaming.settings import Settings


class DeadLetters:
    """Writer of the dead-letter topic. `write` returns when the broker has all of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._security = Security.of(settings)
        self._producer: KafkaProducer | None = None

    def write(self, refused: Mapping[str, Iterable[Rejection]]) -> None:
        """Send the rejections of each region ('' for none). Raises BrokerError when one is not acknowledged."""
        letters = [
            encode_dead_letter(rejection, source_topic=self._settings.topic, region=region or None)
            for region, rejections in refused.items()
            for rejection in rejections
        ]
        if not letters:
            return
        topic = self._settings.dead_letter_topic
        try:
            if self._producer is None:
                self._producer = KafkaProducer(
                    bootstrap_servers=self._settings.kafka_bootstrap.split(","),
                    linger_ms=5,
                    acks="all",
                    **self._security.client(),
                )
            sent = [self._producer.send(topic, value=letter) for letter in letters]
            self._producer.flush(timeout=self._settings.write_timeout_s)
            for future in sent:
                future.get(timeout=1)
        except AuthorizationError as error:
            raise explained(error, self._settings.kafka_bootstrap, self._security) from error
        except KafkaError as error:
            raise BrokerError(
                f"{len(letters)} dead letters were not taken by topic {topic} at {self._settings.kafka_bootstrap} "
                f"({type(error).__name__}): create the topic and check the broker; the batch will be repeated"
            ) from error

    def close(self) -> None:
        if self._producer is not None:
            with suppress(KafkaError):  # what is not acknowledged yet belongs to a batch that is repeated
                self._producer.close(timeout=5)
