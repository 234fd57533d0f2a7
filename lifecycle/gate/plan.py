"""The plan of a gate: what a challenger must show, written down and hashed before its shadow starts."""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from schemas.errors import ArtifactError, SettingsError
from schemas.files import read_regular_file, sha256
from schemas.limits import MIB

Days = Annotated[int, msgspec.Meta(ge=3, le=365)]
Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class GatePlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of gate.toml, each with its default."""

    alpha: Share = 0.05  # how often a challenger that is worse by the margin may pass, over the whole trial
    margin: Share = 0.2  # how much of the champion's skill over the baseline a challenger may lose
    least_days: Days = 14
    most_days: Days = 60
    least_incidents: Annotated[int, msgspec.Meta(ge=1)] = 100  # in a category, before its total is judged
    calibration: Share = 0.1  # how far observed over expected may lie from 1
    held_out_days: Days = 28  # that a challenger's training leaves out, for the comparison before the shadow
    failed_hours: Share = 0.05  # of a trial's hours, in which the challenger may have failed
    trials_a_year: Annotated[int, msgspec.Meta(ge=1, le=52)] = 4  # that may start in a region; each errs in alpha
    auto: bool = False  # promote without a person
    groups: str = ""  # file of groups that a challenger may not serve less evenly; as of `models disparity`

    def __post_init__(self) -> None:
        if self.least_days > self.most_days:
            raise SettingsError(
                f"least_days = {self.least_days} and most_days = {self.most_days}", "choose least_days <= most_days"
            )


def read_plan(path: Path) -> tuple[GatePlan, str]:
    """The plan in a TOML file, and the file's sha256. Raises SettingsError."""
    remedy = f"write it with the keys {', '.join(GatePlan.__struct_fields__)}, or set RISK_GATE_PLAN to another file"
    try:
        content = read_regular_file(path, MIB)
        return msgspec.convert(tomllib.loads(content.decode()), GatePlan), sha256(content)
    except ArtifactError as error:
        raise SettingsError(error.message, remedy) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SettingsError(f"{path} is no plan of a gate ({error})", remedy) from error
