"""A cluster to label on."""

import pytest

from tests.slurm import need_slurm, slurm


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    need_slurm()
    with slurm(tmp_path_factory.mktemp("slurm")):
        yield
