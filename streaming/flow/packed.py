"""What the decode stage found of one region in a batch: the packed rows of all tasks as one value, without Spark."""

from dataclasses import dataclass
from typing import Self

import pandas as pd

from schemas.incidents import Incidents, Rejection, unpack_rejections


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """A region's batch, or that of UNASSIGNED, which has neither artifacts nor incidents."""

    artifact: str  # folder of the one in force; "" without one
    challenger: str  # folder; "" without one
    newest_ms: int  # Kafka's time of the newest message; 0 without messages
    consumed: int  # messages
    incidents: Incidents
    refused: list[Rejection]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Self:
        """rows: the region's, as `streaming.flow.rows.PackedRow` declares their columns, in any order."""
        return cls(
            artifact=_artifact_in_force(rows),
            challenger=_newest(rows["challenger"]),
            newest_ms=int(rows["newest_ms"].max()),
            consumed=int(rows["consumed"].sum()),
            incidents=Incidents.concatenate([Incidents.unpack(blob) for blob in rows["incidents"] if blob]),
            refused=_rejections_in(rows["rejections"]),
        )


def _artifact_in_force(rows: pd.DataFrame) -> str:
    """The heartbeat's artifact; before a new region's first heartbeat, the one that its messages name."""
    by_heartbeat = rows.loc[rows["is_heartbeat"], "artifact"]
    return _newest(by_heartbeat if len(by_heartbeat) else rows["artifact"])


def _newest(folders: pd.Series) -> str:
    """The names of a region's artifacts begin with the time at which each was made."""
    return max((folder for folder in folders if folder), default="")


def _rejections_in(blobs: pd.Series) -> list[Rejection]:
    return [rejection for blob in blobs for rejection in unpack_rejections(blob)]
