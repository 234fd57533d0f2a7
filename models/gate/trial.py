"""A trial: a challenger beside a champion, by a plan that was fixed before it began.

<artifacts>/<region>/trial.json
"""

from pathlib import Path
from typing import Annotated

import msgspec

from models.artifact.pointer import Version
from models.artifact.untrusted_bytes import read_regular_file
from models.gate.plan import GatePlan
from schemas.errors import ArtifactError, RiskError
from schemas.files import replace_file, write_errors

_MAX_BYTES = 65_536


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """margin: nats per value by which the challenger may be worse; see `models.gate.judge.margin_of`."""

    champion: Version
    challenger: Version
    plan: GatePlan
    plan_sha256: str
    margin: Annotated[float, msgspec.Meta(ge=0)]
    started_s: int


def trial_path(artifacts: Path, region: str) -> Path:
    return artifacts / region / "trial.json"


def read_trial(artifacts: Path, region: str) -> Trial | None:
    """The region's trial; None without one. Raises ArtifactError when it cannot be used."""
    path = trial_path(artifacts, region)
    if not path.exists() and not path.is_symlink():
        return None
    remedy = "start the trial again with `python -m models gate start`"
    try:
        return msgspec.json.decode(read_regular_file(path, _MAX_BYTES), type=Trial)
    except (msgspec.DecodeError, RiskError) as error:
        raise ArtifactError(f"{path} cannot be used ({error})", remedy) from error


def write_trial(artifacts: Path, region: str, trial: Trial) -> None:
    """Put the trial in place in one step. Raises ArtifactError."""
    path = trial_path(artifacts, region)
    with write_errors(ArtifactError, path):
        replace_file(path, msgspec.json.format(msgspec.json.encode(trial)) + b"\n")
