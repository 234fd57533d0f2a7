"""One of the processes that a fit is spread over: `torchrun ... -m models.fit_rank FOLDER`, with a fit in FOLDER."""

import sys
from pathlib import Path

import torch
from torch import distributed

from models.fit_files import read_fit, write_fitted
from models.fit_network import fit_network
from models.shares import Share


def fit_share(folder: Path) -> None:
    """Take part in the fit in `folder`; rank 0 leaves the outcome there."""
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    distributed.init_process_group("gloo")
    share = Share(rank=distributed.get_rank(), ranks=distributed.get_world_size(), add_up=distributed.all_reduce)
    plan, data = read_fit(folder)
    ratios: list[float] = []
    network = fit_network(
        data.train,
        data.validation,
        data.dispersion,
        recipe=plan.recipe,
        epochs=plan.epochs,
        seed=plan.seed,
        after_epoch=lambda _, ratio: ratios.append(ratio),
        share=share,
    )
    if share.rank == 0:
        write_fitted(folder, network, ratios)
    # The last sum's tensor may still be in the hands of a thread of gloo. If Python ends first, the process aborts when
    # the thread lets go of it; at the barrier it has.
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    fit_share(Path(sys.argv[1]))
