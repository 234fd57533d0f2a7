"""The kinds of network, and the recipe by which one is made: what reads a manifest or a recipe needs no torch.

A recipe has the network's widths, and how it is trained; `tune` writes one, `train` reads one.
"""

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated

import msgspec

from schemas.errors import DataError

if TYPE_CHECKING:
    from models.network import RiskNetwork


# Name -> "module:class". To add a kind: its class, in a file of its own, and an entry here. The first kind is that of
# artifacts that do not name theirs.
MODELS = {"residual": "models.network:ResidualNetwork"}


def kind_of_network(name: str) -> "type[RiskNetwork]":
    """The class of a kind. Raises DataError for an unknown one.

    >>> kind_of_network("residual").__name__
    'ResidualNetwork'
    """
    if name not in MODELS:
        raise DataError(f"{name[:40]!r} is no kind of network", f"choose one of {', '.join(MODELS)}")
    kind: type[RiskNetwork] = resolve_name(MODELS[name])
    return kind


def name_of_kind(network: "RiskNetwork") -> str:
    """The name in MODELS of a network's kind."""
    place = f"{type(network).__module__}:{type(network).__qualname__}"
    return next(name for name, entry in MODELS.items() if entry == place)


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
