"""The kinds of network, apart from them: what reads a manifest or a recipe needs no torch."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from schemas.errors import DataError

if TYPE_CHECKING:  # torch takes seconds to import, and only training and scoring need it
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
