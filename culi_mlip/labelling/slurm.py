"""SLURM jobs by executorlib, with what that leaves open: all that touches executorlib is here.

Written for executorlib 1.9; the requirement has version 2 as its upper bound.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, Future, InvalidStateError
from pathlib import Path
from typing import Any, TypeVar

from culi_mlip.errors import CuliError, EngineError

Result = TypeVar("Result")

PATROL = 10.0
"""Seconds between two looks at the queue of SLURM."""

JOB_SCRIPT = """\
#!/bin/bash
#SBATCH --cpus-per-task={{cores}}
"""
"""What a job begins with by default."""

_REST = """
#SBATCH --chdir={{working_directory}}
#SBATCH --output={{output}}
"""


class WorkerError(CuliError):
    """The job that should have labelled ended without a result."""


class SlurmExecutor(Executor):
    """Runs each call as one SLURM job, by executorlib.

    A job outlives the process that submitted it: the same call finds it again, or its result. A
    call is the same by the names and values in it, whatever the version of a package. One that
    raised is made anew.

    What executorlib leaves open is settled here: a job that ends without a result (its time is up,
    its node died) raises `WorkerError` instead of being waited for without end, and what was to be
    a job never runs on the submit node.

    All nodes must see the folder, which gets the files of jobs. `job_script` has the first lines of
    a job's script.

    Raises
    ------
    EngineError
        If there is no SLURM, or executorlib is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], job_script: str = JOB_SCRIPT) -> None:
        if shutil.which("sbatch") is None:
            raise EngineError(
                "there is no sbatch here: run this on a machine that submits to SLURM, or choose "
                "another executor"
            )
        try:
            from executorlib import SlurmClusterExecutor
        except ImportError as error:
            raise EngineError(
                "jobs on SLURM need executorlib: pip install 'executorlib[cluster]'"
            ) from error
        self.folder = Path(folder).absolute() / "jobs"
        for sign in ("|", "\n", "{{", "{%", "{#"):  # of SLURM's list of jobs, of templates
            if sign in str(self.folder):
                raise EngineError(
                    f"SLURM's jobs cannot work in {self.folder}: avoid {sign!r} in it"
                )
        head, *rest = job_script.split("\n", 1)
        self._script = "\n".join([head + _REST.rstrip(), *rest, "", "{{command}}", ""])
        _check_script(job_script)
        self._scripts = tempfile.TemporaryDirectory(prefix="culi_mlip-")
        self._jobs: dict[Future[Any], str] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._executor = SlurmClusterExecutor(
            cache_directory=str(self.folder), disable_dependencies=True, refresh_rate=0.5
        )
        self._patrol = threading.Thread(target=self._watch, daemon=True)
        self._patrol.start()

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Submit a call as a job."""
        from executorlib.standalone.command import get_cache_execute_command

        content = json.dumps(_named([fn, args, kwargs]), sort_keys=True)
        name = f"label-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
        self._drop_error(name)
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        script = self._script.replace("\n", f"\n#SBATCH --job-name={name}\n", 1)
        for word, text in (
            ("{{working_directory}}", shlex.quote(str(folder))),
            ("{{output}}", shlex.quote(f"{folder}/job.out".replace("%", "%%"))),
            ("{{command}}", shlex.join(get_cache_execute_command(f"{folder}_i.h5"))),
        ):
            script = script.replace(word, text)
        resources = {
            "cache_key": name,
            # Where the script is written, which may have no blank; the job works in its folder.
            "cwd": self._scripts.name if " " in str(folder) else str(folder),
            "submission_template": script,
        }
        submitter = os.environ.get("SLURM_JOB_ID")
        future: Future[Result] = self._executor.submit(
            _in_job, fn, submitter, *args, resource_dict=resources, **kwargs
        )
        with self._lock:
            self._jobs[future] = name
        future.add_done_callback(self._forget)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End; jobs that still run are waited for, or left to themselves."""
        self._executor.shutdown(wait=wait, cancel_futures=cancel_futures)
        self._closed.set()
        self._patrol.join()

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            name = self._jobs.pop(future)
        if future.cancelled():
            return
        for end in ("_i.h5", "_o.h5"):
            (self.folder / f"{name}{end}").unlink(missing_ok=True)
        if future.exception() is None:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _watch(self) -> None:
        """End the futures whose jobs have left the queue without a result, seen twice."""
        missed: set[str] = set()
        while not self._closed.wait(PATROL):
            with self._lock:
                jobs = dict(self._jobs)
            if not self._executor._task_scheduler._process.is_alive():
                self._break(jobs)
                return
            queued = _queued_jobs()
            if queued is None:  # the controller does not answer: ask again
                continue
            gone = set()
            for future, name in jobs.items():
                number = self._number(name)
                if number is None or number in queued or (self.folder / f"{name}_o.h5").exists():
                    continue
                gone.add(name)
                if name in missed:
                    with contextlib.suppress(InvalidStateError):  # it came after all
                        future.set_exception(
                            WorkerError(
                                f"SLURM job {number} ended without a result: see "
                                f"{self.folder / name / 'job.out'}"
                            )
                        )
            missed = gone

    def _break(self, jobs: Iterable[Future[Any]]) -> None:
        """End all futures: executorlib's thread dies of a job that SLURM does not take."""
        self._executor._task_scheduler._future_queue = None  # or shutdown waits for that thread
        for future in jobs:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(BrokenExecutor("SLURM did not take a job: see above"))

    def _drop_error(self, name: str) -> None:
        """Forget a call that raised in an earlier process, as its reason may be mended."""
        from executorlib.standalone.hdf import get_output

        result = self.folder / f"{name}_o.h5"
        with contextlib.suppress(OSError):
            if result.exists() and get_output(str(result))[:2] == (True, False):
                result.unlink()
                (self.folder / f"{name}_i.h5").unlink(missing_ok=True)

    def _number(self, name: str) -> int | None:
        from executorlib.standalone.hdf import get_queue_id

        with contextlib.suppress(OSError):  # being written
            return get_queue_id(str(self.folder / f"{name}_i.h5"))
        return None


def _named(value: Any) -> Any:
    """What identifies a call's part, in plain values: its `identity`, if it has one."""
    if hasattr(value, "identity"):
        return value.identity
    if isinstance(value, dict):
        return {key: _named(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_named(part) for part in value]
    return value.__qualname__ if callable(value) else value


def _check_script(job_script: str) -> None:
    """Ask SLURM whether it would take a job."""
    script = job_script.replace("{{cores}}", "1").rstrip() + "\ntrue\n"
    command = ["sbatch", "--test-only"]
    answer = subprocess.run(command, input=script, capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        raise EngineError(
            f"SLURM does not take the job ({' '.join(answer.stderr.split())}): mend the job "
            "script, or ask whether SLURM runs"
        )


def _queued_jobs() -> set[int] | None:
    """Numbers of this user's jobs that wait or run; None if SLURM does not answer."""
    command = ["squeue", "--noheader", "--format", "%A", "--user", getpass.getuser()]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return None if answer.returncode else {int(word) for word in answer.stdout.split()}


def _in_job(fn: Callable[..., Result], submitter: str | None, *args: Any, **kwargs: Any) -> Result:
    """Call a function, within a job of its own only."""
    if os.environ.get("SLURM_JOB_ID") in (None, submitter):
        raise EngineError("this should have been a SLURM job, but ran where it was submitted")
    return fn(*args, **kwargs)
