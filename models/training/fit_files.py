"""A fit in files, for processes that share a folder: tensors as safetensors, numbers as JSON. Nothing can execute.

`torchrun ... -m models.training.fit_files FOLDER` is one of the processes of the fit in FOLDER.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file
from torch import distributed

from models.dispersion import Dispersion
from models.network import NetworkShape
from models.network_kinds import kind_of_network
from models.training.fit_network import Examples, FitData, FitPlan, FittedNetwork, KeptState, fit_network

_EXAMPLES, _PLAN, _FITTED, _RATIOS, _KEPT = "examples.safetensors", "plan.json", "fitted.safetensors", "ratios", "kept"


def write_fit(folder: Path, plan: FitPlan, data: FitData) -> None:
    """Leave a fit in `folder`, for `read_fit`."""
    tensors = {
        "train_values": data.train.values,
        "train_counts": data.train.counts,
        "validation_values": data.validation.values,
        "validation_counts": data.validation.counts,
        "dispersion": torch.from_numpy(data.dispersion.r),
        "dispersion_power": torch.from_numpy(data.dispersion.power),
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / _EXAMPLES)
    (folder / _PLAN).write_bytes(msgspec.json.encode(plan))


def read_fit(folder: Path) -> tuple[FitPlan, FitData]:
    """What `write_fit` left. The file is mapped, so that processes of one machine share its memory."""
    tensors = load_file(folder / _EXAMPLES)
    return msgspec.json.decode((folder / _PLAN).read_bytes(), type=FitPlan), FitData(
        train=Examples(values=tensors["train_values"], counts=tensors["train_counts"]),
        validation=Examples(values=tensors["validation_values"], counts=tensors["validation_counts"]),
        dispersion=Dispersion(r=tensors["dispersion"].numpy(), power=tensors["dispersion_power"].numpy()),
    )


def write_fitted(folder: Path, fitted: FittedNetwork, ratios: Sequence[float]) -> None:
    """Leave the outcome, whole or not at all: the network, and the validation loss over the baseline's by epoch."""
    part = folder / f".{_FITTED}"
    kept = torch.frombuffer(bytearray(msgspec.json.encode(fitted.kept)), dtype=torch.uint8)
    about = {_RATIOS: torch.tensor(ratios, dtype=torch.float64), _KEPT: kept}
    save_file({**about, **fitted.network.state_dict()}, part)
    part.rename(folder / _FITTED)


def read_fitted(folder: Path, kind: str, shape: NetworkShape) -> tuple[FittedNetwork, list[float]]:
    """What `write_fitted` left: the outcome, and the ratios. FileNotFoundError when it left nothing."""
    tensors = load_file(folder / _FITTED)
    ratios = tensors.pop(_RATIOS).tolist()
    kept = msgspec.json.decode(tensors.pop(_KEPT).numpy().tobytes(), type=KeptState)
    network = kind_of_network(kind).from_tensors(tensors, shape)
    return FittedNetwork(network.eval().requires_grad_(False), kept), ratios


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
