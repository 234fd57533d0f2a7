"""Where a network is fitted: on the CPU or on a GPU."""

import torch

from schemas.errors import SettingsError

DEVICE_HELP = "auto: a GPU if there is one; cpu; cuda. Equal seeds give equal models on the CPU only"


def device_of(asked: str, *, workers: int) -> str:
    """`cpu` or `cuda`, for a fit by `workers` processes. Raises SettingsError when it is not possible."""
    if asked not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"--device {asked} is unknown", remedy="choose auto, cpu or cuda")
    if asked == "cuda" and workers > 1:
        raise SettingsError(f"--device cuda with --workers {workers}: workers use CPUs", "leave out one of the two")
    if asked == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            f"--device cuda: torch {torch.__version__} finds no GPU here",
            remedy="give --device cpu, or install the driver and a torch that is built for CUDA",
        )
    return "cuda" if asked != "cpu" and workers == 1 and torch.cuda.is_available() else "cpu"
