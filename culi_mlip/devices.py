"""Which processor or GPU computes: one check for every ``--device``, and who sees which GPU."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from culi_mlip.errors import CuliError


def check_device(device: str | None) -> str:
    """Return the device to compute on, by PyTorch's name.

    Parameters
    ----------
    device
        "cpu", "cuda" or "cuda:N", the N-th GPU that this process sees, from 0; None takes the
        first GPU, or the CPU where there is none.

    Raises
    ------
    CuliError
        If the name is another one, or there is no such GPU.
    """
    if device == "cpu":
        return device
    gpus = gpu_names()
    if device is None:
        return "cuda" if gpus else "cpu"
    match = re.fullmatch(r"cuda(?::(\d+))?", str(device))
    if match is None:
        raise CuliError(
            f"device '{device}' is unknown: give cpu, cuda or cuda:N (a GPU is called cuda); "
            f"there is {_what_there_is(gpus)}"
        )
    if int(match[1] or 0) >= len(gpus):
        raise CuliError(f"there is no device '{device}': there is {_what_there_is(gpus)}")
    return str(device)


def gpu_names() -> list[str]:
    """Return the GPUs that this process sees, in PyTorch's order.

    Each is an entry for ``CUDA_VISIBLE_DEVICES``: an index, or ``GPU-…`` or ``MIG-…``.
    """
    import torch

    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(i) for i in range(n)] if visible is None else visible.split(",")
    return [name.strip() for name in names[:n]]  # CUDA ignores what follows an impossible entry


def environment_of(device: str) -> dict[str, str]:
    """Return the environment variables of a process that is to see this device alone.

    The device is one of `check_device`; "cuda" leaves all GPUs that this process sees.
    """
    if device == "cuda":
        return {}
    return {"CUDA_VISIBLE_DEVICES": "" if device == "cpu" else gpu_names()[_index(device)]}


def hardware(device: str | None) -> str:
    """Return the name of the processor or GPU that evaluates."""
    import torch

    if check_device(device) != "cpu":
        return str(torch.cuda.get_device_name(check_device(device)))
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def gpu_indices(device: str) -> list[int]:
    """Return the GPUs, by PyTorch's number, that a device leaves to choose from."""
    if device == "cpu":
        return []
    return list(range(len(gpu_names()))) if device == "cuda" else [_index(device)]


def gpu_identity(index: int) -> str:
    """Return what tells a GPU from all others of the machine, whoever sees it under what number."""
    import torch

    return str(getattr(torch.cuda.get_device_properties(index), "uuid", gpu_names()[index]))


def _index(device: str) -> int:
    return int(device.partition(":")[2])


def _what_there_is(gpus: list[str]) -> str:
    import torch

    if gpus:
        return "cpu and " + ", ".join(f"cuda:{i}" for i in range(len(gpus)))
    if torch.version.cuda is None:
        return f"only cpu, as this PyTorch ({torch.__version__}) is built without CUDA"
    return "only cpu"
