"""A label of lithium on copper by GPAW: whether it converges, and what it costs.

    python benchmarks/dft_slab.py --out build/dft_slab

Five layers of Cu(100), √2 × √2, under a monolayer of Li in the hollows: 12 atoms, displaced by
0.05 Å, 5 Å of vacuum on each side. The engine has its default settings. Forces add up to zero but
for the code's error.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import ase.io
import numpy as np

from culi_mlip.reference import get_engine
from culi_mlip.reference.relaxation import computed_labels
from culi_mlip.structures import li_on_cu, rattled, slab


def main() -> None:
    """Label, and print what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/dft_slab"))
    arguments = parser.parse_args()
    copper = slab("Cu", (1, 0, 0), a=3.6, thickness=7.2, vacuum=5.0, free_layers=None)
    atoms = rattled(li_on_cu(copper, 1.0, repeat=2), 0.05, seed=1)
    print(atoms, flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.out)
    ase.io.write("slab.extxyz", atoms)
    atoms.calc = get_engine("gpaw").calculator()
    start, cpu_start = time.monotonic(), time.process_time()
    results = computed_labels(atoms)
    forces = np.asarray(results["forces"])
    print(f"{time.process_time() - cpu_start:.0f} CPU s, {time.monotonic() - start:.0f} s")
    print(f"energy {results['energy']:.6f} eV")
    print(f"forces at most {np.abs(forces).max():.3f} eV/Å")
    print(f"their sum over the number of atoms {np.linalg.norm(forces.mean(axis=0)):.5f} eV/Å")


if __name__ == "__main__":
    main()
