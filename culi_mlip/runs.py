"""Run folders: what a long job was asked to do, with what, and how it ended."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from culi_mlip import __version__
from culi_mlip.errors import CuliError
from culi_mlip.files import file_lock, output_errors, write_text

_RECORDED_PACKAGES = ("ase", "chgnet", "e3nn", "nequip", "nequip-allegro", "numpy", "torch")


@contextmanager
def run_folder(
    path: str | os.PathLike[str], command: str, inputs: Mapping[str, Any]
) -> Iterator[Path]:
    """Open a run folder: lock it, write ``run.yaml``, and close that with the outcome.

    Parameters
    ----------
    path
        The folder; it is made where it is missing.
    command
        What is run in it.
    inputs
        The fully resolved input, plain values only.

    Yields
    ------
    Path
        The folder.

    Raises
    ------
    CuliError
        If another process works in the folder.
    OutputError
        If the folder cannot be written.
    """
    with locked(path) as folder:
        record: dict[str, Any] = {
            "command": command,
            "status": "running",
            "started": _now(),
            "inputs": dict(inputs),
            "versions": _versions(),
            "hardware": {"machine": platform.machine(), "cpus": os.cpu_count()},
        }
        _write(folder, record)
        try:
            yield folder
        except BaseException as error:
            record |= {"status": "failed", "reason": str(error) or type(error).__name__}
            raise
        else:
            record["status"] = "done"
        finally:
            record["ended"] = _now()
            _write(folder, record)


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hold the lock of a folder, which ends with the process however that ends.

    Parameters
    ----------
    path
        The folder; it is made where it is missing.

    Raises
    ------
    CuliError
        If another process works in the folder.
    OutputError
        If the folder cannot be written.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise CuliError(f"{path} is a file: give a folder for the results")
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / ".lock"):
        yield folder


def is_finished(
    path: str | os.PathLike[str],
    inputs: Mapping[str, Any],
    *,
    grows: str = "",
    instead: str = "choose another --out, or remove it to start anew",
) -> bool:
    """Say whether a folder holds this very job, and finished.

    Parameters
    ----------
    path
        The run folder; it may not exist yet.
    inputs
        The fully resolved input of the job.
    grows
        The input that may be larger than the recorded one: then the job goes on.
    instead
        What to do about a folder with another job.

    Raises
    ------
    CuliError
        If the folder holds a job with other inputs, or its record cannot be read.
    """
    record_file = Path(path) / "run.yaml"
    if not record_file.is_file():
        return False
    try:
        record = yaml.safe_load(record_file.read_text(encoding="utf-8"))
        command, status, recorded = record["command"], record["status"], record["inputs"]
        changed = [k for k in (inputs | recorded) if recorded.get(k) != inputs.get(k)]
        more = changed == [grows] and inputs[grows] > recorded[grows]
    except (yaml.YAMLError, ValueError, TypeError, KeyError) as error:
        raise CuliError(
            f"{record_file} is no record of a run: choose another --out, or remove {path} to start "
            "anew"
        ) from error
    if changed and not more:
        raise CuliError(
            f"{path} holds another job ({command} with other {', '.join(changed)}): {instead}"
        )
    return bool(status == "done") and not more


def _write(folder: Path, record: dict[str, Any]) -> None:
    write_text(folder / "run.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    versions = {"culi-mlip": __version__, "python": platform.python_version()}
    for package in _RECORDED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
