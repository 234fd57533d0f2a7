"""Whether all that Kafka handed over is in the ledger: its offsets against what the batches consumed.

The ledger's own balance cannot tell: what is lost on the way to the decoder is missing on both of its sides.
"""

import logging
from pathlib import Path

from streaming.disk.spark_files import taken_offsets

log = logging.getLogger(__name__)


class OffsetAudit:
    """Adds up, over the batches of this process, messages by Kafka's offsets less those that a ledger consumed.

    It is 0 where offsets have no gaps. Transactions and compaction leave some, so that a difference ends nothing.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._number = -1
        self._before = self._missing = 0  # up to the batch before, and with this one

    def missing(self, number: int, consumed: int) -> int:
        """The difference so far, with batch `number`; of one that is repeated the last try counts."""
        if number != self._number:
            self._number, self._before = number, self._missing
        offered = sum(end - first for first, end in taken_offsets(self._checkpoint, number).values())
        if offered != consumed and not self._missing:
            log.warning(
                "batch %d: Kafka has %d messages by its offsets, the ledger %d. Transactions and compaction leave such "
                "gaps; if the topic has neither, do not rely on the counts and report this",
                number,
                offered,
                consumed,
            )
        self._missing = self._before + offered - consumed
        return self._missing
