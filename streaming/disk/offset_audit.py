"""Compares Kafka's offsets with the messages that the batches consumed.

The ledger's own balance cannot show a message that is lost before the decoder: it is missing on both of its sides.
"""

import logging
from pathlib import Path

from streaming.disk.spark_files import taken_offsets

log = logging.getLogger(__name__)


class OffsetAudit:
    """Adds up, over the batches of this process, the messages by Kafka's offsets minus those in the ledgers.

    The sum is 0 where offsets have no gaps. Transactions and compaction leave gaps, so a difference stops nothing.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._number = -1
        self._before = self._missing = 0  # up to the batch before, and with this one

    def missing(self, number: int, consumed: int) -> int:
        """The sum so far, including batch `number`. When a batch is repeated, its last try counts."""
        if number != self._number:
            self._number, self._before = number, self._missing
        offered = sum(end - first for first, end in taken_offsets(self._checkpoint, number).values())
        if offered != consumed and not self._missing:
            log.warning(
                "batch %d: Kafka has %d messages by its offsets, the ledger %d. Transactions and compaction leave such "
                "gaps. If the topic has neither, do not trust the counts, and report this",
                number,
                offered,
                consumed,
            )
        self._missing = self._before + offered - consumed
        return self._missing
