"""A cluster to label on."""

import os

import pytest

from tests.conftest import need
from tests.slurm import missing_programs, slurm


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    missing = missing_programs()
    need("slurm", f"SLURM lacks {', '.join(missing)}" if missing else "")
    need("slurm", "only root can start SLURM" if os.getuid() else "")
    with slurm(tmp_path_factory.mktemp("slurm")) as nodes:
        yield nodes
