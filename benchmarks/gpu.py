"""MD on a GPU: 10³ to 10⁶ atoms, kernels and TF32 on and off, in one table.

    python benchmarks/gpu.py                      # within ten minutes; --device cpu to try it

Lithium on Cu(100), an untrained Allegro of the default size, float32. For each compiled model: the
bare call on a fixed graph, a step of ASE's velocity Verlet with HybridAllegro, both in µs an atom,
and the largest deviation of its forces from those of the same model in float64 by the CPU.
Published for Allegro in LAMMPS on an A100: 27.8 µs an atom and step at 192 atoms, 0.55 at 422,000
(Musaelian et al., Nat. Commun. 14, 579, 2023), 0.29 for a million of silver.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from calculator import lithium_on_copper
from hybrid import R_MAX, training_frames

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.compiled import compile_model
from culi_mlip.errors import CuliError
from culi_mlip.models.files import model_file
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import train

VARIANTS: dict[str, dict[str, Any]] = {
    "written out": {},
    "written out, TF32": {"tf32": True},
    "Triton": {"kernel": "triton"},
    "cuEquivariance": {"kernel": "cuequivariance"},
}
"""How the model is compiled, in the order of how much we want to know it."""


def seconds(call: Callable[[], Any], device: str, at_least: float = 0.5) -> float:
    """Return the time of a call, by as many as take half a second; the device is waited for."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < at_least or done < 2:
        call()
        done += 1
        if device != "cpu":
            torch.cuda.synchronize()
    return (time.perf_counter() - start) / done


def measured(calculator: HybridAllegro, atoms: Atoms) -> tuple[float, float]:
    """Return the time of the bare model and of an MD step."""
    device = calculator.device
    atoms = atoms.copy()
    atoms.calc = calculator
    md = VelocityVerlet(atoms, 1.0 * units.fs)
    md.run(3)
    graph, members = calculator.graph(atoms), calculator._members
    with members.first.evaluating():
        bare = seconds(lambda: calculator.model(dict(graph)), device)
    return bare, seconds(lambda: md.run(1), device)


def main() -> None:
    """Compile, time and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--variant", default="allegro")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin nothing new after these")
    arguments = parser.parse_args()
    device, started = arguments.device, time.monotonic()
    name = torch.cuda.get_device_name() if device != "cpu" else "CPU"
    print(f"{name}; torch {torch.__version__}; {arguments.variant}, cutoff {R_MAX} Å", flush=True)
    print(f"{'':20}{'atoms':>9}{'model':>10}{'step':>10}{'ratio':>7}   µs an atom; forces off by")
    with tempfile.TemporaryDirectory() as place:
        run, exact = (trained(Path(place), arguments.variant, d) for d in ("float32", "float64"))
        atoms = lithium_on_copper(1000)
        atoms.calc = HybridAllegro(exact, device="cpu", compile=False)
        reference = atoms.get_forces()
        for label, options in VARIANTS.items():
            if time.monotonic() - started > 60 * arguments.minutes:
                print(f"{label:20} not begun: no time left")
                continue
            try:
                file = compile_model(model_file(run), device, **options)
                calculator = HybridAllegro(file or run, device=device)
                atoms.calc = calculator
                off = np.abs(atoms.get_forces() - reference).max()
                for size in arguments.sizes:
                    structure = lithium_on_copper(size)
                    bare, step = (1e6 * t / len(structure) for t in measured(calculator, structure))
                    print(
                        f"{label:20}{len(structure):9}{bare:10.3f}{step:10.3f}{step / bare:7.3f}"
                        f"   {off:.1e} eV/Å",
                        flush=True,
                    )
            except CuliError as error:
                print(f"{label:20} {error}", flush=True)


def trained(folder: Path, variant: str, dtype: str) -> Path:
    """Return a run folder of one epoch; in double precision with the single one's weights."""
    data, run = folder / "data", folder / dtype
    if not data.exists():
        data.mkdir()
        training_frames(data)
    settings = TrainSettings(variant=variant, epochs=1, r_max=R_MAX, model_dtype=dtype)
    train(data, run, settings, device="cpu")
    if dtype == "float64":
        single = torch.load(model_file(folder / "float32"), weights_only=False)
        double = torch.load(model_file(run), weights_only=False)
        kept = double["state_dict"]
        for key, value in single["state_dict"].items():
            is_weight = isinstance(value, torch.Tensor)
            kept[key] = value.to(kept[key].dtype) if is_weight else value
        torch.save(double, model_file(run))
    return run


if __name__ == "__main__":
    main()
