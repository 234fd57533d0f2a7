"""When the triggers of a region were last asked, and what became of it: for those who look after it.

<artifacts>/<region>/retrain.json
"""

from pathlib import Path
from typing import Literal

import msgspec

from schemas.errors import ArtifactError
from schemas.files import read_small_json, replace_file, write_errors

Outcome = Literal["nothing due", "on trial", "waits", "trial started", "refused", "failed"]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last ask. Times: epoch seconds."""

    at_s: int
    outcome: Outcome
    because: str  # in one line
    made_s: int | None = None  # the last one that started a trial


def asked_path(artifacts: Path, region: str) -> Path:
    return artifacts / region / "retrain.json"


def read_asked(artifacts: Path, region: str) -> Asked | None:
    """None for a region that was never asked. Raises ArtifactError when it cannot be read."""
    return read_small_json(asked_path(artifacts, region), Asked, remedy="delete it: the next ask writes it")


def keep_asked(artifacts: Path, region: str, outcome: Outcome, because: str, *, now_s: int) -> None:
    """Write down an ask of a region that has a folder. Raises ArtifactError."""
    try:
        before = read_asked(artifacts, region)
    except ArtifactError:
        before = None  # it is written again
    made_s = before.made_s if before else None
    asked = Asked(
        at_s=now_s,
        outcome=outcome,
        because=because,
        made_s=now_s if outcome == "trial started" else made_s,
    )
    path = asked_path(artifacts, region)
    if not path.parent.is_dir():
        return
    with write_errors(ArtifactError, path):
        replace_file(path, msgspec.json.format(msgspec.json.encode(asked)) + b"\n")
