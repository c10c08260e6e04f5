"""What a process of ours asks of the system: memory that stays, and an end with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress

# glibc's environment variables for the same, read when a process starts: for processes of ours.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next tensors instead of returning it.

    By default glibc returns the memory of every large tensor to the system and faults it in anew
    for the next one: a third of a force call of 1,000 atoms on the CPU, and more of a training
    step. The setting holds for the whole process, which from now on holds the largest amount
    that it ever used. Does nothing with another C library than glibc.
    """
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, ValueError, TypeError):
        return
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, -1)


def die_with_parent() -> None:
    """Let the kernel kill this process when the thread that started it dies, however it dies.

    For ``preexec_fn`` of `subprocess.Popen`. Does nothing elsewhere than on Linux.
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def end_family(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all that it started, and wait for it."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
    process.wait()
