"""Training in a third of its time, for tests of what is read and written, not of how well is learned."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def one_penalty(penalty: float = 1e-2) -> Iterator[None]:
    """The linear part is fitted with one penalty in place of five."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("models.network.PENALTIES", (penalty,))
        yield
