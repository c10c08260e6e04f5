"""Reconstruction of fcc (100) faces: missing rows, clean and filled by adatoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms

from culi_mlip.dynamics import relax
from culi_mlip.errors import StructureError
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.eos import equation_of_state
from culi_mlip.properties.evaluation import why_not_converged
from culi_mlip.properties.surfaces import FMAX, STEPS
from culi_mlip.structures import adatoms, slab, supercell
from culi_mlip.structures.bulk import crystal_of
from culi_mlip.structures.checks import check_symbol

ADATOM_HEIGHT = 1.0
"""Of an adatom above the place of the atom that it replaces, in Å, before it relaxes."""


@dataclass(frozen=True)
class MissingRow:
    """The (2×1) missing row of a (100) face; see `missing_row`.

    Attributes
    ----------
    substrate, adatom
        Elements.
    clean
        Energy of the bare missing-row face above that of the ideal one, eV per (2×1) cell: positive
        where the clean face does not reconstruct.
    covered
        Energy of the missing-row face, its rows filled by adatoms (half a monolayer), above that of
        the ideal face with as many in a c(2×2) of hollow sites, eV an adatom: negative where
        adatoms make the face reconstruct.
    structures
        As relaxed: ideal, missing row, c(2×2), filled missing row.
    withheld
        Why values are missing.
    """

    substrate: str
    adatom: str
    clean: float | None
    covered: float | None
    structures: tuple[Atoms, Atoms, Atoms, Atoms]
    withheld: str | None = None


def missing_row(
    substrate: str,
    calculator: Calculator,
    *,
    adatom: str = "Li",
    a: float | None = None,
    thickness: float = 14.0,
    vacuum: float = 12.0,
    fmax: float = FMAX,
    steps: int = STEPS,
    progress: Progress = no_progress,
) -> MissingRow:
    """Return what it costs to take every other row of atoms out of a (100) face.

    Lithium on Cu(100) fills missing rows at 300 K, and lies in a c(2×2) on the ideal face at 180 K
    (Tochihara and Mizuno, Surf. Sci. 287–288, 423, 1993). Atoms that are taken out go to the bulk
    (to kinks of steps). The lower half of the slab stays as in bulk.

    Parameters
    ----------
    substrate, adatom
        Elements; the substrate is fcc.
    calculator
        Any of ASE's; one that evaluates many structures at a time is given all together.
    a
        Cubic lattice constant of the substrate in Å; by default that of `equation_of_state`.
    thickness, vacuum
        Of the slab, and on each side of it, in Å.
    fmax, steps
        Largest force in eV/Å once a structure is relaxed, and the most steps.
    progress
        Called with (percent done, 100) of the relaxation.

    Raises
    ------
    StructureError
        If the substrate is not fcc, or the adatom no element.
    """
    check_symbol(adatom)
    if crystal_of(substrate) != "fcc":
        raise StructureError(f"{substrate} is not fcc: the missing row is of fcc (100) faces")
    state = equation_of_state(substrate, calculator)
    a = state.lattice_constant if a is None else a
    base = slab(substrate, (1, 0, 0), a=a, thickness=thickness, vacuum=vacuum, free_layers=None)
    base.set_constraint(FixAtoms(mask=base.arrays["layer"] < len(base) // 2))
    ideal = supercell(base, (2, 1, 1))
    removed = int(np.flatnonzero(ideal.arrays["layer"] == len(base) - 1)[0])
    row = ideal.copy()
    del row[removed]
    filled = row + Atoms(adatom, positions=[ideal.positions[removed] + [0, 0, ADATOM_HEIGHT]])
    covered = adatoms(base, adatom, repeat=[[1, 1], [-1, 1]])
    checkered = next(atoms for atoms in covered if atoms.info["site"] == "hollow")
    frames = [ideal, row, checkered, filled]
    names = ["the ideal face", "the missing row", "the c(2×2)", "the filled missing row"]
    options: dict[str, Any] = {"fmax": fmax, "steps": steps, "optimizer": "lbfgs"}
    found = relax(frames, calculator, progress=progress, **options)
    withheld = [why_not_converged(found[i : i + 2], names[i : i + 2], fmax) for i in (0, 2)]
    energies = [float(r.atoms.get_potential_energy()) for r in found]
    first, second, third, fourth = (r.atoms for r in found)
    return MissingRow(
        substrate,
        adatom,
        None if withheld[0] else energies[1] + state.energy - energies[0],
        None if withheld[1] else energies[3] + state.energy - energies[2],
        (first, second, third, fourth),
        withheld[0] or withheld[1],
    )
