"""A fit in equal shares: each process takes its part of every minibatch, and the sums of the parts are the whole's."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of one of `ranks` processes. `add_up` sums a tensor over all of them, in place and on each."""

    rank: int  # from 0
    ranks: int
    add_up: Callable[[Tensor], object]

    def of(self, positions: Tensor) -> tuple[Tensor, int]:
        """This rank's positions, at least one, and how many of them count.

        Where there are fewer positions than ranks, a rank that is left out gets one that counts for nothing, so that a
        mean over its positions is a number.
        """
        mine = positions[self.rank :: self.ranks]
        return (mine, len(mine)) if len(mine) else (positions[:1], 0)

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all ranks, in one message."""
        if self.ranks == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        self.add_up(together)
        parts = torch.split(together, [gradient.numel() for gradient in gradients])
        for gradient, summed in zip(gradients, parts, strict=True):
            gradient.copy_(summed.view_as(gradient))


ALONE = Share(rank=0, ranks=1, add_up=lambda tensor: None)
