"""Freed memory stays with the process; a family of processes ends together."""

import subprocess
import sys

import psutil
import pytest

from culi_mlip.process import end_family

FAULTS = """
import resource, sys
import numpy as np
from culi_mlip.process import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def work():
    for _ in range(20):
        np.ones(10_000_000)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    return int(subprocess.check_output([sys.executable, "-c", FAULTS, how]))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_kept_memory_is_not_faulted_in_again():
    assert page_faults("keep") < 0.01 * page_faults("return")


def test_a_family_ends_together():
    """Also what a process started and does not wait for."""
    code = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; time.sleep(60)"], stdout=subprocess.PIPE
    )
    child = psutil.Process(int(process.stdout.readline()))
    end_family(process)
    assert process.returncode is not None
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert gone or alive[0].status() == psutil.STATUS_ZOMBIE
