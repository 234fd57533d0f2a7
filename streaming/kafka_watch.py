"""Looks whether Kafka is there while the job runs: Spark alone is silent for minutes when it is not."""

import logging
from dataclasses import dataclass

from schemas.errors import BrokerError
from streaming.topics import refuse_unreachable

log = logging.getLogger(__name__)
_EVERY_S = 5.0
LONGEST_ABSENCE_S = 120.0


@dataclass(slots=True)
class KafkaWatch:
    """Says when Kafka has gone and when it is back; gives up when it stays away."""

    bootstrap: str
    _due_s: float = 0.0
    _away_since_s: float | None = None

    @property
    def is_away(self) -> bool:
        return self._away_since_s is not None

    def look(self, now_s: float) -> None:
        """Raises BrokerError when nobody has listened for LONGEST_ABSENCE_S. `now_s`: any steady clock."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + _EVERY_S
        try:
            refuse_unreachable(self.bootstrap)
        except BrokerError as error:
            if self._away_since_s is None:
                self._away_since_s = now_s
                log.warning(
                    "Kafka at %s does not answer: no new scores. Waiting for it, %.0f s at most",
                    self.bootstrap,
                    LONGEST_ABSENCE_S,
                )
            elif now_s - self._away_since_s >= LONGEST_ABSENCE_S:
                raise self.absence() from error
        else:
            if self._away_since_s is not None:
                log.info("Kafka at %s answers again after %.0f s", self.bootstrap, now_s - self._away_since_s)
                self._away_since_s = None

    def absence(self) -> BrokerError:
        return BrokerError(f"Kafka at {self.bootstrap} does not answer: start it, then start again; nothing is lost")
