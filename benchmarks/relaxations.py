"""Many relaxations at once beside one by one: lithium adatoms on copper, on the CPU.

    python benchmarks/relaxations.py --model quickstart/run    # of `culi-mlip quickstart`; minutes

The ways take turns (A B B A), to 0.05 eV/Å with ASE's FIRE, on PyTorch's threads (--threads); the
minima are compared. Models are eager, then compiled.
"""

from __future__ import annotations

import argparse
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.optimize import FIRE

from culi_mlip.calculator import HybridAllegro
from culi_mlip.dynamics import relax
from culi_mlip.structures import adatoms, rattled, slab

FMAX, STEPS = 0.05, 500


def structures(n: int) -> list[Atoms]:
    """Return so many lithium adatoms on copper, on the distinct sites of three faces."""
    faces = [slab("Cu", face, thickness=6) for face in ((1, 0, 0), (1, 1, 0), (1, 1, 1))]
    sites = [a for face in faces for a in adatoms(face, "Li", repeat=(2, 2, 1))]
    found = list(islice(cycle(sites), n))
    return [rattled(atoms, 0.05, seed=i) for i, atoms in enumerate(found)]


def one_by_one(frames: list[Atoms], calculator: HybridAllegro) -> list[tuple[float, int]]:
    """Relax as ASE's users do; give energies and numbers of steps."""
    found = []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        run = FIRE(atoms, logfile=None)
        run.run(fmax=FMAX, steps=STEPS)
        found.append((atoms.get_potential_energy(), run.nsteps))
    return found


def at_once(frames: list[Atoms], calculator: HybridAllegro) -> list[tuple[float, int]]:
    """Relax in batches; give energies and numbers of steps."""
    found = relax(frames, calculator, fmax=FMAX, steps=STEPS)
    return [(relaxed.atoms.get_potential_energy(), relaxed.steps) for relaxed in found]


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--structures", type=int, default=200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    frames = structures(arguments.structures)
    sizes = [len(atoms) for atoms in frames]
    print(f"{len(frames)} structures of {min(sizes)} to {max(sizes)} atoms")
    print(f"{arguments.threads} threads; torch {torch.__version__}")
    for compile_ in (False, True):
        calculator = HybridAllegro(arguments.model, device="cpu", compile=compile_)
        ways = {"one by one": one_by_one, "in batches": at_once}
        for way in ways.values():
            way(frames[:3], calculator)  # compiles, and settles caches
        seconds, found = dict.fromkeys(ways, 0.0), {}
        for name in (*ways, *reversed(ways)):
            start = time.perf_counter()
            found[name] = np.array(ways[name](frames, calculator))
            seconds[name] += (time.perf_counter() - start) / 2
        alone, together = found.values()
        print(
            f"{'compiled' if compile_ else 'eager':9} {seconds['in batches']:7.1f} s in batches, "
            f"{seconds['one by one']:7.1f} s one by one: "
            f"{seconds['in batches'] / seconds['one by one']:.3f}; steps on average "
            f"{alone[:, 1].mean():.1f}; energies differ by at most "
            f"{1e3 * abs(alone - together)[:, 0].max():.4f} meV",
            flush=True,
        )


if __name__ == "__main__":
    main()
