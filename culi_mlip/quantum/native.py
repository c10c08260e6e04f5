"""The C++ kernel of the Fourier form, compiled once a machine by its own compiler.

PyTorch's compiled models need a C++ compiler anyway. Without one, or on a GPU, the layer is
evaluated by ordinary operations of PyTorch, with the same result.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_SOURCE = Path(__file__).with_name("polynomial.cpp")

INTERFACE = 1
"""Changes with the meaning of this module's functions; packaged models ask for theirs."""

_INSTRUCTIONS = {
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
    "AVX2": ["-mavx2", "-mfma"],
}
"""Compiler flags for what PyTorch finds of this processor."""

_MAX_ANGLES, _MAX_VALUES = 6, 8  # as in polynomial.cpp

_TYPES = {torch.float32: "float32", torch.float64: "float64"}

Results = tuple[Tensor | None, Tensor | None, Tensor | None]


def takes(angles: Tensor, matrix: Tensor) -> bool:
    """Whether the kernel evaluates these polynomials; the plain form says what is wrong."""
    return (
        angles.device.type == matrix.device.type == "cpu"
        and angles.dtype == matrix.dtype
        and angles.dtype in _TYPES
        and angles.ndim == matrix.ndim == 2
        and 1 <= angles.shape[1] <= _MAX_ANGLES
        and len(matrix) % 3 == 0
        and len(matrix) <= 3 * _MAX_VALUES
        and matrix.shape[1] == 3 ** (angles.shape[1] - 1)
        and library() is not None
    )


def sweep(
    cos: Tensor,
    sin: Tensor,
    matrix: Tensor,
    *,
    direction: Tensor | None = None,
    grad: Tensor | None = None,
    with_values: bool = True,
    with_matrix: bool = False,
) -> Results:
    """Evaluate polynomials and their gradients, or the derivatives of both along a direction.

    Parameters
    ----------
    cos, sin
        Of the angles, shape (batch, angles).
    matrix
        Coefficients as `culi_mlip.quantum.kernels.polynomial` takes them.
    direction
        Direction of the derivatives, as the angles.
    grad
        Gradient with respect to the values, shape (batch, n).
    with_values, with_matrix
        Whether the values, the gradient of the coefficients, are wanted.

    Returns
    -------
    values, gradient of the angles, gradient of the matrix
        ``None`` where not asked for.
    """
    n_values = len(matrix) // 3
    inputs = [None if t is None else t.contiguous() for t in (cos, sin, direction, matrix, grad)]
    values = cos.new_empty(len(cos), n_values) if with_values else None
    of_angles = torch.empty_like(inputs[0]) if grad is not None else None  # type: ignore[arg-type]
    of_matrix = torch.empty_like(inputs[3]) if with_matrix else None  # type: ignore[arg-type]
    function = getattr(library(), f"polynomial_{_TYPES[cos.dtype]}")
    function(
        *(ctypes.c_int(cos.shape[1]), ctypes.c_int(n_values), ctypes.c_int64(len(cos))),
        *(_pointer(tensor) for tensor in (*inputs, values, of_angles, of_matrix)),
    )
    return values, of_angles, of_matrix


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernel, compiling it if this machine has none; ``None`` if it can't."""
    capability = torch.backends.cpu.get_cpu_capability()
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None or not _SOURCE.exists():
        return None
    command = [
        *(*compiler.split(), "-std=c++17", "-O3", "-ffp-contract=fast", "-shared", "-fPIC"),
        *_INSTRUCTIONS.get(capability, []),
    ]
    key = repr((command, platform.machine())).encode() + _SOURCE.read_bytes()
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "culi_mlip"
        file = folder / f"polynomial-{hashlib.sha256(key).hexdigest()[:16]}.so"
        if file.exists():
            try:
                return _loaded(file)
            except (OSError, AttributeError):  # damaged, or made on another system
                file.unlink()
        _compile(command, file)
        return _loaded(file)
    except (OSError, AttributeError, RuntimeError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        logging.getLogger(__name__).warning(
            "the quantum layer runs without its C++ kernel, more slowly: %s", reason
        )
        return None


def _compile(command: list[str], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as place:
        made = Path(place) / file.name
        subprocess.run(  # noqa: S603 (the machine's own compiler, fixed arguments)
            [*command, str(_SOURCE), "-o", str(made)], check=True, capture_output=True, text=True
        )
        made.replace(file)


def _loaded(file: Path) -> ctypes.CDLL:
    kernel = ctypes.CDLL(str(file))
    for name in _TYPES.values():
        getattr(kernel, f"polynomial_{name}")
    return kernel


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
