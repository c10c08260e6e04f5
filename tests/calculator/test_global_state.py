"""The settings of the program that uses a model are left as they were."""

import logging
import os
import random
import warnings
from pathlib import Path

import e3nn
import numpy as np
import pytest
import torch
import torch._dynamo
from nequip.utils import global_state

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.global_state import evaluating, loading, precisions
from culi_mlip.structures import bulk


def settings():
    """All that is global and that nequip, PyTorch, e3nn, Lightning or we could change."""
    strategy = torch.jit.set_fusion_strategy([("STATIC", 1)])
    torch.jit.set_fusion_strategy(strategy)
    loggers = logging.root.manager.loggerDict.items()
    return {
        "dtype": torch.get_default_dtype(),
        "random state": torch.get_rng_state().tolist(),
        "numpy's random state": repr(np.random.get_state()),  # noqa: NPY002
        "python's random state": random.getstate(),
        "e3nn": dict(e3nn.get_optimization_defaults()),
        "fusion": strategy,
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "dynamo": (
            torch._dynamo.config.capture_scalar_outputs,
            torch._dynamo.config.capture_dynamic_output_shape_ops,
        ),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "levels": {n: lg.level for n, lg in loggers if isinstance(lg, logging.Logger)},
        "handlers": (logging.root.level, len(logging.root.handlers), logging.root.manager.disable),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "precision": (torch.get_float32_matmul_precision(), precisions()),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": (torch.is_grad_enabled(), torch.is_anomaly_enabled()),
        "numpy's errors": np.geterr(),
        "nequip": (
            global_state._GLOBAL_STATE_INITIALIZED,
            dict(global_state._latest_global_config),
        ),
        "folder": Path.cwd(),
    }


@pytest.fixture
def fresh(monkeypatch):
    """Global settings as in a process that has not loaded a model yet."""
    with loading():  # puts everything back afterwards
        monkeypatch.setattr(global_state, "_GLOBAL_STATE_INITIALIZED", False)
        torch.set_default_dtype(torch.float32)
        torch.multiprocessing.set_sharing_strategy("file_descriptor")
        torch.jit.set_fusion_strategy([("STATIC", 2), ("DYNAMIC", 3)])
        torch._dynamo.config.capture_scalar_outputs = False
        torch._dynamo.config.capture_dynamic_output_shape_ops = False
        e3nn.set_optimization_defaults(jit_mode="script", optimize_einsums=False)
        for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PYTORCH_JIT_USE_NNC_NOT_NVFUSER"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(logging.getLogger("nequip"), "level", logging.ERROR)
        torch.manual_seed(5), random.seed(5), np.random.seed(5)  # noqa: NPY002
        yield


def test_loading_and_evaluating_a_model_changes_no_global_setting(trained, fresh):
    model, atoms = trained["mlp"], bulk("Cu", repeat=(2, 1, 1))
    before = settings()
    atoms.calc = HybridAllegro(model, device="cpu")
    loaded = settings()
    atoms.get_forces()
    evaluated = settings()
    for found in (loaded, evaluated):  # modules that are imported meanwhile add loggers
        found["levels"] = {name: found["levels"][name] for name in before["levels"]}
    for name, value in before.items():
        assert loaded[name] == value, name
        assert evaluated[name] == value, name


@pytest.mark.parametrize("was_set", [False, True])
def test_nequips_settings_are_held_while_a_model_loads(fresh, monkeypatch, was_set):
    """Whatever the program made of them, also where nequip had set them before."""
    monkeypatch.setattr(global_state, "_GLOBAL_STATE_INITIALIZED", was_set)
    with loading():
        assert torch.get_default_dtype() == torch.float64
        assert e3nn.get_optimization_defaults()["optimize_einsums"]
        assert torch._dynamo.config.capture_scalar_outputs
    assert torch.get_default_dtype() == torch.float32


@pytest.fixture
def unusual_precision():
    """A program's own choice of precision, which is not PyTorch's default."""
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


def test_precision_of_products_is_put_back(unusual_precision):
    """On a GPU, nequip sets them all to full precision."""
    before = precisions()
    assert "tf32" in before.values()
    with loading():
        torch.backends.fp32_precision = "ieee"
        torch.backends.cudnn.allow_tf32 = False
        nequips = precisions()
        assert nequips != before
    assert precisions() == before
    with evaluating(nequips):
        assert precisions() == nequips
        assert torch.get_default_dtype() == torch.float64
    assert precisions() == before


def test_a_program_that_uses_nequip_with_other_settings_gets_them_back(fresh, monkeypatch):
    """Models load as in nequip's own programs all the same: its seed and its double precision."""
    monkeypatch.setattr(global_state, "_GLOBAL_STATE_INITIALIZED", True)
    monkeypatch.setenv("PL_GLOBAL_SEED", "77")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    monkeypatch.setenv("ANOTHER", "here")
    before = settings()
    assert before["dtype"] == torch.float32
    with loading():
        assert torch.get_default_dtype() == torch.float64
        assert os.environ["PL_GLOBAL_SEED"] == "123"
        assert torch.initial_seed() == 123
        del os.environ["ANOTHER"]
        os.environ["FURTHER"] = "there"
    after = settings()
    for name, value in before.items():
        assert after[name] == value, name


def test_settings_are_put_back_after_an_error():
    before = torch.get_default_dtype(), dict(os.environ), list(warnings.filters)
    with pytest.raises(ZeroDivisionError), loading():
        assert 1 / 0
    assert (torch.get_default_dtype(), dict(os.environ), list(warnings.filters)) == before


def test_environment_is_put_back(monkeypatch):
    """What was added, changed or removed meanwhile."""
    monkeypatch.setenv("CULI_TEST_CHANGED", "before")
    monkeypatch.setenv("CULI_TEST_REMOVED", "before")
    before = dict(os.environ)
    with loading():
        os.environ |= {"CULI_TEST_ADDED": "new", "CULI_TEST_CHANGED": "after"}
        del os.environ["CULI_TEST_REMOVED"]
    assert dict(os.environ) == before


def test_a_program_in_single_precision_gets_the_same_forces(trained):
    atoms = bulk("Cu", repeat=(2, 1, 1))
    atoms.rattle(0.1, seed=0)
    forces, default = [], torch.get_default_dtype()
    for dtype in (torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        try:
            atoms.calc = HybridAllegro(trained["mlp"], device="cpu")
            forces.append(atoms.get_forces())
        finally:
            torch.set_default_dtype(default)
    np.testing.assert_array_equal(*forces)
