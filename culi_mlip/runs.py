"""Run folders: what a long job was asked to do, with what, and how it ended."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

from culi_mlip import __version__
from culi_mlip.errors import CuliError
from culi_mlip.files import file_lock, output_errors, read_text, write_text
from culi_mlip.records import AnyRecord, Record

_RECORDED_PACKAGES = ("ase", "chgnet", "e3nn", "nequip", "nequip-allegro", "numpy", "torch")


class RunRecord(Record):
    """Content of ``run.yaml``."""

    REMEDY = "choose another --out, or remove the folder to start anew"

    command: str  # what is run in the folder
    status: Literal["running", "done", "failed"]  # "running" until it ends, however that is
    started: str  # UTC
    inputs: dict[str, Any]  # the fully resolved input, a record of its own
    versions: dict[str, str] = {}  # of the packages that matter, by name
    hardware: dict[str, Any] = {}  # of the machine
    reason: str | None = None  # why it failed
    ended: str | None = None  # UTC


@contextmanager
def run_folder(path: str | os.PathLike[str], command: str, inputs: Record) -> Iterator[Path]:
    """Open a run folder: lock it, write ``run.yaml``, and close that with the outcome.

    Parameters
    ----------
    path
        The folder; it is made where it is missing.
    command
        What is run in it.
    inputs
        The fully resolved input.

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
        record = RunRecord(
            command=command,
            status="running",
            started=_now(),
            inputs=inputs.plain(),
            versions=_versions(),
            hardware={"machine": platform.machine(), "cpus": os.cpu_count()},
        )
        _write(folder, record)
        end: dict[str, Any] = {"status": "done"}
        try:
            yield folder
        except BaseException as error:
            end = {"status": "failed", "reason": str(error) or type(error).__name__}
            raise
        finally:
            _write(folder, record.model_copy(update={**end, "ended": _now()}))


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Hold the lock of a folder, which ends with the process however that ends.

    The folder is made where it is missing.

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
    inputs: Record,
    *,
    grows: str = "",
    instead: str = "choose another --out, or remove it to start anew",
) -> bool:
    """Say whether a folder, which may not exist yet, holds this very job, and finished.

    Jobs are the same whose inputs have the same identity: a field that was added since, with a
    default, does not count.

    Parameters
    ----------
    path, inputs
        The run folder, and the fully resolved input of the job.
    grows
        The input that may be larger than the recorded one: then the job goes on.
    instead
        What to do about a folder with another job.

    Raises
    ------
    CuliError
        If the folder holds a job with other inputs, or its record cannot be read.
    """
    record = read_run(path)
    if record is None:
        return False
    recorded = type(inputs).of(record.inputs, f"{Path(path) / 'run.yaml'}")
    old, new = recorded.identity(), inputs.identity()
    changed = [name for name in (new | old) if old.get(name) != new.get(name)]
    more = changed == [grows] and inputs[grows] > recorded[grows]
    if changed and not more:
        raise CuliError(
            f"{path} holds another job ({record.command} with other {', '.join(changed)}): "
            f"{instead}"
        )
    return record.status == "done" and not more


def read_run(path: str | os.PathLike[str]) -> RunRecord | None:
    """Return the record of a run folder, if there is one.

    Raises
    ------
    CuliError
        If it cannot be read.
    """
    file = Path(path) / "run.yaml"
    if not file.is_file():
        return None
    try:
        return RunRecord.of(yaml.safe_load(read_text(file)), str(file))
    except (yaml.YAMLError, ValueError) as error:
        raise CuliError(
            f"{file} is no record of a run: choose another --out, or remove {path} to start anew"
        ) from error


def recorded_inputs(path: str | os.PathLike[str], kind: type[AnyRecord]) -> AnyRecord | None:
    """Return the inputs that the record of a run folder has, if there is one.

    Raises
    ------
    CuliError
        If they cannot be read, such as those of another command.
    """
    record = read_run(path)
    return kind.of(record.inputs, f"{Path(path) / 'run.yaml'}") if record else None


def _write(folder: Path, record: RunRecord) -> None:
    known = {name: value for name, value in record.plain().items() if value is not None}
    write_text(folder / "run.yaml", yaml.safe_dump(known, sort_keys=False, allow_unicode=True))


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
