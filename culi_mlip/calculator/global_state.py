"""Global settings that nequip relies on, held while its models load and run and then put back.

nequip sets them once a process: PyTorch's default dtype and precision, random seeds, e3nn's
options, environment variables. They belong to the program that uses the calculator.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import e3nn
import numpy as np
import torch
from nequip.utils import global_state
from nequip.utils.dtype import torch_default_dtype
from nequip.utils.global_dtype import _GLOBAL_DTYPE

_DYNAMO = ("capture_dynamic_output_shape_ops", "capture_scalar_outputs")

_PRECISIONS = (
    "fp32_precision",
    "cuda.matmul.allow_tf32",
    "cudnn.allow_tf32",
    "cuda.matmul.fp32_precision",
    "cudnn.fp32_precision",
    "cudnn.conv.fp32_precision",
    "cudnn.rnn.fp32_precision",
    "mkldnn.fp32_precision",
    "mkldnn.matmul.fp32_precision",
)
"""Where torch.backends keeps the precision of float32 products; the others inherit the first."""


@contextmanager
def loading() -> Iterator[None]:
    """Hold nequip's global settings, as at the start of its own programs."""
    put_back = _snapshot()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            global_state._GLOBAL_STATE_INITIALIZED = False
            global_state.set_global_state()
            yield
    finally:
        put_back()


@contextmanager
def evaluating(precision: dict[str, Any]) -> Iterator[None]:
    """Hold what a model's evaluation depends on.

    Parameters
    ----------
    precision
        From `precisions` after the model was loaded; empty where none matters.
    """
    before = precisions() if precision else {}
    with torch_default_dtype(_GLOBAL_DTYPE):
        _set_precisions(precision)
        try:
            yield
        finally:
            _set_precisions(before)


def precisions() -> dict[str, Any]:
    """Return PyTorch's precision of float32 products, by its place in torch.backends."""
    found = {place: _precision(place) for place in _PRECISIONS}
    return {place: value for place, value in found.items() if value is not None}


def _precision(place: str) -> Any:
    try:
        return attrgetter(place)(torch.backends)
    except (RuntimeError, AttributeError):  # set by its newer name, or an older PyTorch
        return None


def _set_precisions(values: dict[str, Any]) -> None:
    for place, value in values.items():
        if _precision(place) != value:
            owner, _, name = place.rpartition(".")
            setattr(attrgetter(owner)(torch.backends) if owner else torch.backends, name, value)


def _snapshot() -> Callable[[], None]:
    """Remember all global settings that nequip changes; returns what puts them back."""
    dtype, sharing = torch.get_default_dtype(), torch.multiprocessing.get_sharing_strategy()
    seeds = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    e3nns, environment = e3nn.get_optimization_defaults(), dict(os.environ)
    dynamo = {name: getattr(torch._dynamo.config, name) for name in _DYNAMO}
    nequips = global_state._GLOBAL_STATE_INITIALIZED, dict(global_state._latest_global_config)
    fusion = torch.jit.set_fusion_strategy([("DYNAMIC", 10)])
    torch.jit.set_fusion_strategy(fusion)
    precision = precisions()

    def put_back() -> None:
        torch.set_default_dtype(dtype)
        torch.multiprocessing.set_sharing_strategy(sharing)
        torch.set_rng_state(seeds[0])
        np.random.set_state(seeds[1])  # noqa: NPY002
        random.setstate(seeds[2])
        if of_gpus is not None:
            torch.cuda.set_rng_state_all(of_gpus)
        e3nn.set_optimization_defaults(**e3nns)
        for name, value in dynamo.items():
            setattr(torch._dynamo.config, name, value)
        global_state._GLOBAL_STATE_INITIALIZED = nequips[0]
        global_state._latest_global_config.clear()
        global_state._latest_global_config.update(nequips[1])
        torch.jit.set_fusion_strategy(fusion)
        _set_precisions(precision)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)

    return put_back
