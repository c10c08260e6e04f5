"""Vacancies in surfaces."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from culi_mlip.errors import StructureError
from culi_mlip.structures.orientation import inside, upright
from culi_mlip.structures.slabs import supercell
from culi_mlip.structures.surfaces import coordination, exposed_atoms


def surface_vacancies(slab: Atoms, *, repeat: ArrayLike = (2, 2, 1)) -> list[Atoms]:
    """Return one structure for each class of surface atoms, with one of them removed.

    A class are the exposed atoms with the same number of nearest neighbours; of a class the
    outermost atom is removed.

    Parameters
    ----------
    slab
        Unrelaxed primitive slab of one element, as in `culi_mlip.structures.adatoms`.
    repeat
        Supercell in which one atom is missing: repeats along the three vectors, or the number
        of surface cells, for the superlattice that keeps the vacancy farthest from its images.

    Returns
    -------
    list of Atoms
        Lowest coordination first; ``info["coordination"]`` is that of the missing atom.
        Constraints of the slab are kept.

    Raises
    ------
    StructureError
        If the supercell is a single cell of a slab with one atom a layer: that would remove
        the layer.
    """
    slab = upright(slab)
    exposed, neighbours = exposed_atoms(slab), coordination(slab)
    structures = []
    for number in np.unique(neighbours[exposed]):
        members = exposed[neighbours[exposed] == number]
        atom = members[slab.positions[members, 2].argmax()]
        marked = slab.copy()
        marked.set_array("missing", np.arange(len(slab)) == atom)
        structure = supercell(marked, repeat)
        images = np.flatnonzero(structure.arrays.pop("missing"))
        if len(images) == 1 == np.isclose(slab.positions[:, 2], slab.positions[atom, 2]).sum():
            raise StructureError(
                f"repeat {repeat!r} would remove a whole layer of {slab.get_chemical_formula()}: "
                "repeat the slab in the plane"
            )
        del structure[images[0]]
        structure.info["coordination"] = int(number)
        structures.append(inside(structure))
    return structures
