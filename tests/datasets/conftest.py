"""A cluster to label on."""

import os

import pytest

from tests.conftest import need
from tests.slurm import missing_programs, slurm

# When a node that crashed comes back, its jobs are missed after seconds instead of minutes.
SOON = "MessageTimeout=10\nBatchStartTimeout=10"


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    missing = missing_programs()
    need("slurm", f"SLURM lacks {', '.join(missing)}" if missing else "")
    need("slurm", "only root can start SLURM" if os.getuid() else "")
    with slurm(tmp_path_factory.mktemp("slurm"), more=SOON) as nodes:
        yield nodes
