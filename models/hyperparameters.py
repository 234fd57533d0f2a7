"""The recipe: how a network is made. Its widths, and how it is trained; `tune` writes one, `train` reads one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from schemas.errors import DataError

LEAST_WIDTH, MOST_WIDTH = 8, 128  # a whole grid is scored at once: the widths decide the memory that it takes

_LIMITS: Mapping[str, tuple[float, float]] = {
    "width": (LEAST_WIDTH, MOST_WIDTH),
    "learning_rate": (1e-6, 1),
    "weight_decay": (0, 10),
    "minibatch": (16, 1e6),
    "patience": (1, 100),
}

_Whole = Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)]  # a number that a message can show


class Hyperparameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Raises DataError for what no training should be asked to do."""

    network: str = "residual"  # kind of network: a name in models.network_kinds.MODELS
    widths: tuple[_Whole, _Whole] = (64, 32)  # of the hidden layers
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    minibatch: _Whole = 2048  # cells at a moment, each with all its categories
    patience: _Whole = 3  # epochs without a smaller validation loss until training stops

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            for value in self.widths if name == "width" else (getattr(self, name),):
                if not least <= value <= most:
                    raise DataError(f"{name} of {value:g}", f"choose {least:g} to {most:g}")


DEFAULT = Hyperparameters()


class TunedOn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a recipe was chosen by."""

    data_sha256: str
    layout: str
    cell_m: float
    task: str
    objective: str
    seed: int
    trials: int
    made_at: str  # UTC


class RecipeFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe, and what it was tuned on."""

    recipe: Hyperparameters
    tuned_on: TunedOn | None = None  # a recipe written by hand was not tuned


def write_recipe(path: Path, recipe: Hyperparameters, tuned_on: TunedOn) -> None:
    """Write a recipe and what it was tuned on, as JSON for people."""
    content = msgspec.json.encode(RecipeFile(recipe=recipe, tuned_on=tuned_on))
    path.write_bytes(msgspec.json.format(content, indent=2) + b"\n")


def read_recipe(path: Path) -> RecipeFile:
    """What `path` holds. Raises DataError when there is none, or one that cannot be used."""
    remedy = "write one with `risk tune`, or leave out the recipe"
    try:
        return msgspec.json.decode(path.read_bytes(), type=RecipeFile)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", remedy) from error
    except (msgspec.DecodeError, UnicodeDecodeError, DataError) as error:
        raise DataError(f"{path} is no recipe ({error})", remedy) from error
