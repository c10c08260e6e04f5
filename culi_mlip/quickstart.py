"""The whole path once: structures, labels, a potential, molecular dynamics, a page."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from culi_mlip.files import atomic_path, read_frames, write_frames, write_json
from culi_mlip.progress import Step
from culi_mlip.records import Record
from culi_mlip.runs import is_finished, run_folder
from culi_mlip.workflows import workflow

if TYPE_CHECKING:
    from culi_mlip.dynamics.analysis import MDSummary
    from culi_mlip.models.evaluation import Errors

MD_TEMPERATURE = 300.0
"""Temperature of the demonstration in K."""


class QuickstartInputs(Record):
    """What a quickstart is asked for, as its folder's record has it."""

    quick: bool


@dataclass(frozen=True)
class QuickstartResult:
    """Where the page is, and the figures that matter."""

    page: Path  # the HTML page
    errors: Errors  # errors on test frames, all kinds together: eV/atom, eV/Å, eV/Å³
    nve_drift: float  # drift of the energy without thermostat in eV/atom/ps
    lost_atoms: list[int]  # atoms that left the slab


def quickstart(
    out: str | os.PathLike[str],
    *,
    quick: bool = False,
    say: Callable[[str], None],
    step: Step,
) -> QuickstartResult:
    """Run every step that is not done yet in a folder that can be kept, moved and continued.

    Parameters
    ----------
    out
        The folder.
    quick
        A tenth of everything, to see the path rather than a good potential.
    say
        Called with what happens, in plain words.
    step
        Called with the name of each long step; returns what to call as it advances.

    Raises
    ------
    CuliError
        If a step cannot be done; the finished ones are kept.
    """
    root = Path(out)
    inputs = QuickstartInputs(quick=quick)
    is_finished(root, inputs)
    with run_folder(root, "quickstart", inputs):
        say("1/7 Building structures, 2/7 labelling them, 3/7 auditing and splitting.")
        say("    Labels come from CHGNet's r2SCAN model: a stand-in for DFT, not DFT.")
        _dataset(root, quick, say, step)
        say("4/7 Training Allegro+QDI on energies, forces and stresses.")
        _training(root, quick, say, step)
        say("5/7 Testing it on structures of parents that it never saw.")
        errors = _evaluation(root, say, step)
        say(f"6/7 Moving lithium on Cu(100) at {MD_TEMPERATURE:g} K.")
        summary = _molecular_dynamics(root, quick, step)
        say(f"    Energy drift without thermostat: {1000 * summary.nve_drift:+.3f} meV/atom/ps.")
        say("7/7 Writing the page.")
        from culi_mlip.report import write_page

        page = write_page(root)
    return QuickstartResult(page, errors, summary.nve_drift, summary.lost_atoms)


def half_monolayer() -> Atoms:
    """Return the demonstration's structure, half a monolayer of Li on Cu(100), all atoms free."""
    from culi_mlip.structures import li_on_cu, slab

    base = slab("Cu", (1, 0, 0), thickness=5, vacuum=10, free_layers=None)
    return li_on_cu(base, 0.5, seed=0, repeat=(4, 4, 1))


def _dataset(root: Path, quick: bool, say: Callable[[str], None], step: Step) -> None:
    from culi_mlip.labelling import build_dataset, load_recipe

    recipe = load_recipe(workflow("quickstart-tiny.yaml" if quick else "quickstart.yaml"))
    card = build_dataset(recipe, root / "data", step=step).card
    counts = ", ".join(f"{n} {part}" for part, n in card.frames.items())
    energies = ", ".join(f"{s} {e:.3f}" for s, e in card.reference_energies.items())
    say(f"    Frames: {counts}. Reference energies (eV/atom): {energies}.")
    for sentence in card.split_missed:
        say(f"    {sentence}")


def _training(root: Path, quick: bool, say: Callable[[str], None], step: Step) -> None:
    from culi_mlip.calculator.uncertainty import calibrate, recorded_uncertainty
    from culi_mlip.datasets.frames import training_frames
    from culi_mlip.models.settings import TrainSettings
    from culi_mlip.models.training import learning_curve, train

    settings = (
        TrainSettings(epochs=4, num_scalar_features=16, num_tensor_features=4)
        if quick
        else TrainSettings(epochs=120, r_max=5.5)
    )
    trained = train(root / "data", root / "run", settings, progress=step("Training"))
    if recorded_uncertainty(trained.folder) is None:
        parts = [training_frames(root / "data" / f"{part}.extxyz") for part in ("train", "val")]
        calibrate(trained.folder, *parts, progress=step("Calibrating uncertainties"))
    write_json(root / "run" / "learning_curve.json", learning_curve(root / "run"))
    validation = trained.metadata.validation
    say(
        f"    Validation: forces {1000 * (validation.force_mae or np.nan):.1f} meV/Å, "
        f"energy {1000 * validation.energy_mae_per_atom:.1f} meV/atom."
    )


def _evaluation(root: Path, say: Callable[[str], None], step: Step) -> Errors:
    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.datasets.frames import training_frames
    from culi_mlip.models.evaluation import ErrorsRecord, evaluate

    frames = training_frames(root / "data" / "test.extxyz")
    result = evaluate(frames, HybridAllegro(root / "run", compile=False), progress=step("Testing"))
    ErrorsRecord(errors=result.errors).write(root / "evaluation" / "errors.json")
    with atomic_path(root / "evaluation" / "pairs.npz") as temporary:
        np.savez_compressed(
            temporary,
            energies=result.energies,
            forces=result.forces,
            stresses=result.stresses,
            force_errors=result.force_errors,
        )
    whole = result.errors[-1]
    say(
        f"    Test frames, split by parent: forces {1000 * (whole.force_mae or np.nan):.1f} meV/Å, "
        f"energy {1000 * whole.energy_mae:.1f} meV/atom."
    )
    return whole


def _molecular_dynamics(root: Path, quick: bool, step: Step) -> MDSummary:
    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.dynamics import energy_drift, height_profile, lost_atoms, run_md
    from culi_mlip.dynamics.analysis import Heights, MDSummary
    from culi_mlip.models.files import model_digest

    start_file = root / "li_on_cu100.extxyz"
    if not start_file.exists():
        write_frames(start_file, [half_monolayer()])
    start = read_frames(start_file)[0]
    calculator, model = HybridAllegro(root / "run", compile=False), model_digest(root / "run")
    length = 0.1 if quick else 1.0  # ps
    nvt = run_md(
        start,
        calculator,
        temperature=MD_TEMPERATURE,
        time=2 * length,
        out=root / "md" / "nvt",
        model=model,
        progress=step(f"MD at {MD_TEMPERATURE:g} K"),
    )
    nve = run_md(
        read_frames(nvt.final)[0],
        calculator,
        temperature=MD_TEMPERATURE,
        time=length,
        ensemble="nve",
        timestep=1.0,
        out=root / "md" / "nve",
        model=model,
        progress=step("MD without thermostat"),
    )
    frames = read_frames(nvt.trajectory)
    profiles = {symbol: height_profile(frames, symbol) for symbol in ("Cu", "Li")}
    summary = MDSummary(
        temperature_K=MD_TEMPERATURE,
        nvt_time_ps=2 * length,
        nve_time_ps=length,
        nve_drift=energy_drift(nve.log["time_ps"], nve.log["total_eV"], len(start)),
        lost_atoms=lost_atoms(read_frames(nve.final)[0]),
        heights={
            symbol: Heights(height=height.tolist(), density=density.tolist())
            for symbol, (height, density) in profiles.items()
        },
    )
    summary.write(root / "md" / "summary.json")
    return summary
