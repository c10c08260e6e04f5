"""Phonons by finite displacements: bands, density of states, thermal properties (phonopy)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from culi_mlip.errors import CuliError, StructureError
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.eos import equation_of_state
from culi_mlip.properties.evaluation import evaluated
from culi_mlip.structures import bulk

LENGTH = 12.0
"""Shortest side of a supercell in Å, twice the usual cutoff of a potential."""

IMAGINARY = 0.05
"""In THz; modes below minus this are imaginary, not rounded."""


@dataclass(frozen=True)
class Bands:
    """Frequencies along straight lines between special points.

    Attributes
    ----------
    ends
        Names of the two points of each line.
    distances
        Of each line: distance from the start of the path in 1/Å (without 2π), shape (points,).
    frequencies
        Of each line, in THz; imaginary ones are negative, shape (points, modes).
    """

    ends: tuple[tuple[str, str], ...]
    distances: tuple[NDArray[np.float64], ...]
    frequencies: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True)
class Phonons:
    """Harmonic vibrations of a crystal.

    Attributes
    ----------
    crystal
        Formula of its primitive cell.
    frequencies
        At the special points by name (seekpath's), in THz, lowest first; imaginary are negative.
    bands
        Along the path between them.
    dos
        Density of states: frequencies in THz, and states per THz and primitive cell, shape (2, n).
    temperatures, free_energy, entropy, heat_capacity
        K; Helmholtz energy in eV/atom; J/K per mole of atoms, both, at constant volume.
    lowest
        The lowest frequency of mesh and path in THz.
    """

    crystal: str
    frequencies: Mapping[str, NDArray[np.float64]]
    bands: Bands
    dos: NDArray[np.float64]
    temperatures: NDArray[np.float64]
    free_energy: NDArray[np.float64]
    entropy: NDArray[np.float64]
    heat_capacity: NDArray[np.float64]
    lowest: float

    @property
    def is_stable(self) -> bool:
        """Whether no mode is imaginary. Where one is, thermal properties leave it out."""
        return self.lowest > -IMAGINARY


def phonons(
    crystal: str | Atoms,
    calculator: Calculator,
    *,
    a: float | None = None,
    repeat: Sequence[int] | None = None,
    displacement: float = 0.01,
    mesh: int = 20,
    points: int = 51,
    temperatures: Sequence[float] = tuple(range(0, 1001, 50)),
    progress: Progress = no_progress,
) -> Phonons:
    """Return the phonons of a crystal, whose acoustic modes are zero at Γ.

    Parameters
    ----------
    crystal
        An fcc or bcc element, or a relaxed crystal.
    calculator
        Any of ASE's.
    a
        Cubic lattice constant of the element in Å; by default that of `equation_of_state`.
    repeat
        Cells along each vector; by default as many as reach 12 Å.
    displacement
        Of an atom in Å.
    mesh
        Wave vectors along each reciprocal vector, for density of states and thermal properties.
    points
        Of each line of the path.
    temperatures
        In K.
    progress
        Called with (percent done, 100) of the displaced cells.

    Raises
    ------
    StructureError
        If the crystal is not periodic in three directions.
    CuliError
        If Python is older than 3.11.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> phonons("Cu", EMT(), mesh=10).frequencies["X"].round(1)
    array([5.5, 5.5, 8.1])
    """
    try:
        from phonopy import Phonopy
    except ImportError as error:
        raise CuliError("phonons need phonopy, and that needs Python 3.11 or newer") from error
    if isinstance(crystal, str):
        a = equation_of_state(crystal, calculator).lattice_constant if a is None else a
        crystal = bulk(crystal, a=a, cubic=True)
    if not crystal.pbc.all():
        raise StructureError(f"{crystal.get_chemical_formula()}: phonons need three periods")
    repeat = repeat or np.ceil(LENGTH / crystal.cell.lengths()).astype(int).tolist()
    with warnings.catch_warnings():  # that cells become primitive, and that Γ is on the mesh
        warnings.simplefilter("ignore")
        found = Phonopy(_to_phonopy(crystal), np.diag(repeat), primitive_matrix="auto")
    found.generate_displacements(distance=displacement)
    cells = [_from_phonopy(cell) for cell in found.supercells_with_displacements or []]
    forces = evaluated(cells, calculator, progress=progress)
    found.forces = [atoms.get_forces() for atoms in forces]
    found.produce_force_constants()
    found.symmetrize_force_constants()
    ends, coordinates, bands = _bands(found, points)
    special = {name: found.get_frequencies(q) for name, q in coordinates.items()}
    on_mesh = found.run_mesh([mesh] * 3, is_gamma_center=True)
    found.run_total_dos()
    found.run_thermal_properties(temperatures=temperatures, exclude_gamma_acoustic=True)
    thermal, n_atoms = found.get_thermal_properties_dict(), len(found.primitive)
    lowest = min(np.min(line) for line in (on_mesh.frequencies, *bands[1]))
    dos = found.get_total_dos_dict()
    return Phonons(
        _from_phonopy(found.primitive).get_chemical_formula(),
        special,
        Bands(ends, *bands),
        np.array([dos["frequency_points"], dos["total_dos"]]),
        thermal["temperatures"],
        thermal["free_energy"] / n_atoms * _EV_PER_KJ_MOL,
        thermal["entropy"] / n_atoms,
        thermal["heat_capacity"] / n_atoms,
        float(lowest),
    )


_EV_PER_KJ_MOL = 1 / 96.48533212331


def _bands(found: Any, points: int) -> tuple[Any, dict[str, Any], Any]:
    """Ends of the lines of seekpath's path, its points, and distances and frequencies."""
    from seekpath import get_path_orig_cell

    path = get_path_orig_cell(found.primitive.totuple())
    coordinates = {_greek(name): np.array(q) for name, q in path["point_coords"].items()}
    ends = tuple((_greek(first), _greek(last)) for first, last in path["path"])
    lines = [np.linspace(coordinates[first], coordinates[last], points) for first, last in ends]
    found.run_band_structure(lines)
    bands = found.get_band_structure_dict()
    used = {name: coordinates[name] for pair in ends for name in pair}
    return ends, used, (tuple(bands["distances"]), tuple(bands["frequencies"]))


def _greek(name: str) -> str:
    return "Γ" if name == "GAMMA" else name


def _to_phonopy(atoms: Atoms) -> Any:
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )


def _from_phonopy(cell: Any) -> Atoms:
    return Atoms(cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
