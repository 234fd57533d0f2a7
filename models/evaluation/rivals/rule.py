"""Rivals with nothing to fit: their forecast is a formula of the known steps."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Self

from models.measures.cube import Cube


class Rule:
    """Rival and forecaster in one; a rule adds its `name` and its `forecast`."""

    __slots__ = ()

    @property
    def chosen(self) -> Mapping[str, float]:
        return MappingProxyType({})

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> Self:
        return self
