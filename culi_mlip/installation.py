"""What is installed here: versions, devices, engines, caches."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata

from culi_mlip import __version__
from culi_mlip.devices import gpu_names, hardware
from culi_mlip.errors import RecipeError, SetupError
from culi_mlip.files import cache_folder

PACKAGES = ("torch", "nequip", "nequip-allegro", "e3nn", "ase", "pymatgen", "numpy", "optuna")

OPTIONAL = {
    "torch-sim-atomistic": "torchsim",
    "executorlib": "slurm",
    "psycopg": "postgresql",
    "chemiscope": "viewer",
    "optuna-dashboard": "dashboard",
}
"""Packages that some commands use, by the extra that installs them."""


def facts() -> dict[str, list[tuple[str, str]]]:
    """Return what is installed here, as names and values under titles."""
    return {
        "Versions": [
            ("culi-mlip", __version__),
            ("Python", platform.python_version()),
            *((name, metadata.version(name)) for name in PACKAGES),
        ],
        "Devices": _devices(),
        "Engines": _engines(),
        "Optional packages": [(name, _version(name, extra)) for name, extra in OPTIONAL.items()],
        "Cache": [("compiled models", _cache())],
    }


def _devices() -> list[tuple[str, str]]:
    import torch

    compiler = os.environ.get("CXX", "g++")
    return [
        ("cpu", f"{hardware('cpu')}, {torch.get_num_threads()} threads"),
        *((f"cuda:{i}", hardware(f"cuda:{i}")) for i in range(len(gpu_names()))),
        ("C++ compiler", shutil.which(compiler) or f"none: models stay eager without {compiler}"),
    ]


def _engines() -> list[tuple[str, str]]:
    from culi_mlip.reference import ENGINES, get_engine

    found = []
    for name in ENGINES:
        try:
            get_engine(name).check(["Cu", "Li"])
            found.append((name, "ready"))
        except SetupError as error:
            found.append((name, str(error)))
        except RecipeError:  # it needs settings, such as the name of a calculator
            continue
    return found


def _version(name: str, extra: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"missing: pip install 'culi-mlip[{extra}]'"


def _cache() -> str:
    folder = cache_folder("compiled")
    sizes = [path.stat().st_size for path in folder.glob("*.nequip.pt2")]
    return f"{len(sizes)} in {folder}, {sum(sizes) / 1e6:.1f} MB"
