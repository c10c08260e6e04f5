"""Where structures are labelled: here, by processes on this machine, or by SLURM jobs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

from threadpoolctl import threadpool_limits

from culi_mlip.labelling.slurm import JOB_SCRIPT, SlurmExecutor, WorkerError
from culi_mlip.process import die_with_parent

__all__ = ["JOB_SCRIPT", "LOCAL", "SlurmExecutor", "WorkerError", "Workers", "open_executor"]


@dataclass(frozen=True)
class Workers:
    """Who labels.

    Attributes
    ----------
    where
        "local" is this process; "processes" are others on this machine; "slurm" submits jobs
        from here.
    number
        Processes, or jobs that are queued or run at a time; by default one a processor, or 100.
    per_job
        Structures a job labels.
    job_script
        First lines of a job's script: what ``#SBATCH`` lines and modules a job of yours needs.
    """

    where: Literal["local", "processes", "slurm"] = "local"
    number: int | None = None
    per_job: int = 1
    job_script: str = JOB_SCRIPT

    @property
    def in_flight(self) -> int:
        """How many calls are under way: a process has its next one waiting."""
        if self.where == "slurm":
            return self.number or 100
        return 2 * (self.number or os.cpu_count() or 1)


LOCAL = Workers()
"""This process."""


@contextlib.contextmanager
def open_executor(workers: Workers, folder: str | os.PathLike[str]) -> Iterator[Executor | None]:
    """Open the executor of workers; None labels here.

    Parameters
    ----------
    workers
        Who labels. Processes share the processors evenly and end with this one; jobs outlive it.
    folder
        For the files of jobs; all nodes of a cluster must see it.

    Raises
    ------
    EngineError
        If there is no SLURM, or executorlib is not installed.
    """
    if workers.where == "local":
        yield None
    elif workers.where == "processes":
        n = workers.number or os.cpu_count() or 1
        threads = max(1, (os.cpu_count() or 1) // n)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            n, spawn, initializer=_begin, initargs=(os.getpid(), threads)
        ) as processes:
            yield processes
    else:
        jobs = SlurmExecutor(folder, workers.job_script)
        try:
            yield jobs
        finally:
            jobs.shutdown(wait=False)


def _begin(parent: int, threads: int) -> None:
    """Let a worker end with its parent, and not use the others' processors."""
    die_with_parent()
    if os.getppid() != parent:  # it died before that
        os._exit(1)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for what is loaded later
    threadpool_limits(threads)
