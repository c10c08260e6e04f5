"""One trial of a tuning, in a process of its own: train, then measure.

``python -m culi_mlip.tuning.trial FOLDER`` reads ``job.json`` in the folder and leaves
``result.json``, whatever happens short of being killed.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.compiled import compile_model
from culi_mlip.datasets.frames import training_frames
from culi_mlip.devices import check_device, hardware
from culi_mlip.dynamics import energy_drift, run_md
from culi_mlip.errors import CuliError
from culi_mlip.files import file_lock
from culi_mlip.models.evaluation import evaluate
from culi_mlip.models.files import model_file
from culi_mlip.models.training import learning_curve, train
from culi_mlip.process import keep_freed_memory
from culi_mlip.tuning.records import TrialJob, TrialResult
from culi_mlip.tuning.timing import inference_times, on_cores

DRIFT_TIME, DRIFT_TEMPERATURE = 1.0, 300.0  # ps, K


class _StoppedEarlyError(Exception):
    """The training was told to stop: what it has learnt is measured."""


def main(folder: Path) -> None:
    """Run the trial of a folder."""
    job = TrialJob.read(folder / "job.json")
    with file_lock(folder / ".trial", wait=True):  # an interrupted trial may still be going down
        if (folder / "result.json").exists():
            return
        try:
            with on_cores(job.cores, job.threads):
                result = _run(folder, job)
        except CuliError as error:
            result = TrialResult(failure=str(error))
        except Exception as error:
            result = TrialResult(failure=f"{type(error).__name__}: {error}")
        result.write(folder / "result.json")


def _run(folder: Path, job: TrialJob) -> TrialResult:
    keep_freed_memory()
    started = time.monotonic()
    data, run, stop = Path(job.data), folder / "run", folder / "stop"

    def watch(_done: int, _epochs: int) -> None:
        if stop.exists():
            raise _StoppedEarlyError

    with contextlib.suppress(_StoppedEarlyError):
        train(data, run, job.settings, progress=watch)
    seconds = time.monotonic() - started
    device = check_device(job.device)
    calculator = HybridAllegro(run, device=device, compile=False)
    errors = evaluate(training_frames(data / "val.extxyz"), calculator).errors[-1]
    test = training_frames(data / "test.extxyz")
    with_drift = job.max_drift is not None
    drift = _drift(folder / "nve", test[0], calculator) if with_drift else None
    timed = HybridAllegro(compiled(run, device), device) if job.compile else None
    (measured,) = inference_times([timed or calculator], test, repeats=job.repeats)
    return TrialResult(
        error=errors.energy_mae if errors.force_mae is None else errors.force_mae,
        force_mae=errors.force_mae,
        energy_mae=errors.energy_mae,
        parameters=sum(p.numel() for p in calculator.model.parameters()),
        epochs=len(learning_curve(run)),
        training_seconds=seconds,
        hardware=hardware(device),
        threads=job.threads,
        drift_meV_per_atom_ps=drift,
        inference_seconds=measured.median,
        inference_quartiles=measured.quartiles,
        memory_MB=_peak_memory(device),
    )


def compiled(run: Path, device: str) -> Path:
    """Compile a run folder's model into the folder, once."""
    device = device.partition(":")[0]
    out = run / f"compiled-{device}.nequip.pt2"
    if not out.exists():
        compile_model(model_file(run), device, out=out)
    return out


def _drift(folder: Path, atoms: Any, calculator: HybridAllegro) -> float:
    """Size of the drift of the conserved energy in NVE, in meV/atom/ps."""
    log = run_md(
        atoms,
        calculator,
        temperature=DRIFT_TEMPERATURE,
        time=DRIFT_TIME,
        ensemble="nve",
        out=folder,
    ).log
    return abs(1000 * energy_drift(log["time_ps"], log["conserved_eV"], len(atoms)))


def _peak_memory(device: str) -> float:
    """Most memory that the evaluation held, in MB: of the GPU if it ran there."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main(Path(sys.argv[1]))
