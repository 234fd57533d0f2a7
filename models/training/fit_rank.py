"""One of the processes of a distributed fit: `torchrun ... -m models.training.fit_rank FOLDER`, the fit in FOLDER."""

import sys
from pathlib import Path

import torch
from torch import distributed

from models.training.fit_files import read_fit, write_fitted
from models.training.fit_network import fit_network


def fit_share(folder: Path) -> None:
    """Take part in the fit in `folder`; rank 0 leaves the outcome there."""
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    distributed.init_process_group("gloo")
    plan, data = read_fit(folder)
    ratios: list[float] = []
    fitted = fit_network(data, plan, lambda _, ratio: ratios.append(ratio))
    if distributed.get_rank() == 0:
        write_fitted(folder, fitted, ratios)
    # A thread of gloo may still hold the last sum's tensor, and a process that ends before it lets go is aborted: in 2
    # of 21 fits on a busy machine, with the barrier in 1 of 54.
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    fit_share(Path(sys.argv[1]))
