"""Adsorption energy of lithium on Cu(100) with a trained potential, by site.

Run it with the path of a model: ``python examples/li_on_cu.py quickstart/run``.
"""

import sys

from ase.optimize import BFGS

from culi_mlip.calculator import HybridAllegro
from culi_mlip.structures import adatoms, bulk, slab

calculator = HybridAllegro(sys.argv[1] if len(sys.argv) > 1 else "quickstart/run")
base = slab("Cu", (1, 0, 0), thickness=5, vacuum=10, free_layers=1)


def relaxed_energy(atoms):
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=0.05, steps=100)
    return atoms.get_potential_energy()


lithium = bulk("Li", cubic=True)
lithium.calc = calculator
per_atom = lithium.get_potential_energy() / len(lithium)
clean = relaxed_energy(base * (2, 2, 1))
for structure in adatoms(base, "Li", repeat=(2, 2, 1)):
    adsorption = relaxed_energy(structure) - clean - per_atom
    print(f"{structure.info['site']:7s} {adsorption:+.3f} eV against bulk Li")
