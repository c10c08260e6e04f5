"""Freed memory stays with the process; a family of processes ends together."""

import subprocess
import sys

import psutil
import pytest

from culi_mlip.process import KEEP_FREED_MEMORY, end_family

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


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's")
def test_a_process_dies_with_its_parent():
    code = (
        "import subprocess, time\n"
        "from culi_mlip.process import die_with_parent\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=die_with_parent)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert gone or alive[0].status() == psutil.STATUS_ZOMBIE


def test_limits_of_freed_memory_are_larger_than_tensors():
    """Whole numbers of bytes, as glibc reads them from the environment."""
    gib = 1024**3
    assert {name: int(value) for name, value in KEEP_FREED_MEMORY.items()} == {
        "MALLOC_MMAP_THRESHOLD_": 4 * gib,
        "MALLOC_TRIM_THRESHOLD_": 8 * gib,
        "MALLOC_TOP_PAD_": gib // 16,
    }
