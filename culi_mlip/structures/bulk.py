"""Elemental crystals, and their strained and rattled versions."""

from __future__ import annotations

from collections.abc import Sequence

import ase.build
import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses, atomic_numbers, chemical_symbols, reference_states
from ase.neighborlist import neighbor_list
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad

from culi_mlip.errors import StructureError
from culi_mlip.structures.checks import check_integers, check_numbers, check_symbol

LATTICE_CONSTANTS = {"Cu": 3.578, "Li": 3.414}
"""Cubic lattice constants in Å: equilibrium of CHGNet's r2SCAN model, the embedded engine.

Those of another engine: `culi_mlip.reference.Engine.lattice_constant`.
"""

DEBYE_TEMPERATURES = {"Cu": 343.0, "Li": 344.0}
"""Debye temperatures in K, low-temperature limit (Kittel)."""

PRIMITIVE_VECTORS = {
    "fcc": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
    "bcc": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
}
"""Primitive lattice vectors (rows) of the one-atom cubic crystals, in lattice constants."""


def crystal_of(symbol: str) -> str:
    """Return the ground-state crystal of an element, "fcc" or "bcc".

    Raises
    ------
    StructureError
        If the symbol is not an element or its crystal is neither fcc nor bcc.
    """
    check_symbol(symbol)
    state = reference_states[chemical_symbols.index(symbol)]
    crystal = state["symmetry"] if state else "unknown"
    if crystal not in PRIMITIVE_VECTORS:
        raise StructureError(
            f"the crystal of {symbol} is {crystal}: only fcc and bcc elements can be built here"
        )
    return str(crystal)


def lattice_constant(symbol: str, a: float | None = None) -> float:
    """Return `a`, or the default cubic lattice constant of an element, in Å.

    Raises
    ------
    StructureError
        If `a` is not above 1 Å, or is not given for an element without a default.
    """
    if a is None:
        if symbol not in LATTICE_CONSTANTS:
            raise StructureError(
                f"no lattice constant is known here for {symbol}: give it in Å (a; film_a and "
                "substrate_a of interfaces; adatom_a of adlayers)"
            )
        return LATTICE_CONSTANTS[symbol]
    check_numbers(a=a, above=1)
    return a


def atomic_volume(symbol: str, a: float | None = None) -> float:
    """Return the volume of an atom in the bulk crystal of an element in Å³."""
    atoms_a_cube = {"fcc": 4, "bcc": 2}[crystal_of(symbol)]
    return lattice_constant(symbol, a) ** 3 / atoms_a_cube


def nearest_distance(symbol: str, a: float | None = None) -> float:
    """Return the distance of nearest neighbours in the bulk crystal of an element in Å."""
    in_cubes = {"fcc": 1 / 2**0.5, "bcc": 3**0.5 / 2}[crystal_of(symbol)]
    return lattice_constant(symbol, a) * in_cubes


def bulk_modulus(symbol: str) -> float:
    """Return the experimental bulk modulus of an element in GPa, from pymatgen's table.

    Raises
    ------
    StructureError
        If there is none.
    """
    from pymatgen.core import Element  # slow to import, rarely needed

    modulus = Element(symbol).bulk_modulus
    if modulus is None:
        raise StructureError(f"no bulk modulus of {symbol} is known: strain one side alone")
    return float(modulus)


def bulk(
    symbol: str,
    *,
    a: float | None = None,
    cubic: bool = False,
    repeat: Sequence[int] = (1, 1, 1),
) -> Atoms:
    """Return the fcc or bcc crystal of an element.

    Parameters
    ----------
    symbol
        Chemical symbol.
    a
        Cubic lattice constant in Å; for Cu and Li there is a default.
    cubic
        Take the conventional cubic cell instead of the primitive one.
    repeat
        Number of cells along each lattice vector.

    Returns
    -------
    Atoms
        Periodic in three directions.
    """
    crystal = crystal_of(symbol)
    check_integers("repeat", repeat, 3)
    unit = ase.build.bulk(symbol, crystal, a=lattice_constant(symbol, a), cubic=cubic)
    return unit * tuple(repeat)


def strained(atoms: Atoms, strain: ArrayLike) -> Atoms:
    """Return a homogeneously strained copy.

    Parameters
    ----------
    atoms
        Structure to strain; atoms keep their fractional positions.
    strain
        One number (the same along all axes), three (along x, y and z) or a 3×3 tensor.
        Cell vectors v (rows) become v (1 + strain), the vacuum of a slab too.

    Raises
    ------
    StructureError
        If the strain is not a number, 3 numbers or a 3×3 tensor, or turns the cell over.
    """
    try:
        values = np.asarray(strain, dtype=float)
    except ValueError:
        values = np.full(2, np.nan)
    if values.shape not in {(), (3,), (3, 3)} or not np.isfinite(values).all():
        raise StructureError(f"strain {strain!r}: give one finite number, three, or a 3×3 tensor")
    tensor = values if values.ndim == 2 else np.diag(np.broadcast_to(values, 3))
    deformation = np.eye(3) + tensor
    if not np.linalg.det(deformation) > 0:
        raise StructureError(f"strain {values.tolist()} turns the cell over: give a smaller one")
    result = atoms.copy()
    result.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return result


def thermal(atoms: Atoms, temperature: float, *, seed: int, min_distance: float = 1.8) -> Atoms:
    """Return a copy displaced as at a temperature, each atom on its own.

    The mean square displacement along each axis is that of Debye's model,
    ⟨u²⟩ = 3ħ²/(m k θ) · [1/4 + (T/θ)² ∫₀^{θ/T} x/(eˣ - 1) dx], with the element's Debye
    temperature θ (Kittel, Introduction to Solid State Physics, 8th ed., chapter 5, table 1).

    Parameters
    ----------
    atoms
        Structure to displace; constraints are ignored.
    temperature
        In K, at least 0 (zero-point motion alone).
    seed, min_distance
        As in `rattled`.

    Raises
    ------
    StructureError
        If the temperature is negative, an element has no Debye temperature here, or no draw
        keeps the atoms apart.
    """
    check_numbers(temperature=temperature, min_distance=min_distance, least=0)
    sigma = {symbol: _debye_displacement(symbol, temperature) for symbol in set(atoms.symbols)}
    return _displaced(atoms, np.array([sigma[s] for s in atoms.symbols]), seed, min_distance, 100)


def rattled(
    atoms: Atoms, sigma: float, *, seed: int, min_distance: float = 1.8, attempts: int = 100
) -> Atoms:
    """Return a copy with normally distributed displacements.

    Parameters
    ----------
    atoms
        Structure to displace; constraints are ignored.
    sigma
        Standard deviation of each Cartesian displacement in Å.
    seed
        Seed of the random numbers.
    min_distance
        No two atoms of the result are closer than this, in Å.
    attempts
        How often to draw anew before giving up.

    Raises
    ------
    StructureError
        If no draw keeps the atoms apart.
    """
    check_numbers(sigma=sigma, min_distance=min_distance, least=0)
    return _displaced(atoms, np.full(len(atoms), sigma), seed, min_distance, attempts)


def _displaced(
    atoms: Atoms,
    sigma: NDArray[np.float64],
    seed: int,
    min_distance: float,
    attempts: int,
) -> Atoms:
    rng = np.random.default_rng(seed)
    for _ in range(attempts):
        result = atoms.copy()
        result.positions += rng.normal(size=(len(atoms), 3)) * sigma[:, None]
        if len(neighbor_list("i", result, min_distance)) == 0:
            return result
    raise StructureError(
        f"displacing {atoms.get_chemical_formula()} by {sigma.max():.3g} Å brings atoms closer "
        f"than {min_distance} Å in each of {attempts} draws: lower it or min_distance"
    )


def _debye_displacement(symbol: str, temperature: float) -> float:
    """Root mean square displacement along one axis in Å."""
    if symbol not in DEBYE_TEMPERATURES:
        raise StructureError(
            f"no Debye temperature of {symbol} is known here: use rattled with a size in Å"
        )
    theta = DEBYE_TEMPERATURES[symbol]
    mass = atomic_masses[atomic_numbers[symbol]] * units._amu
    ratio = temperature / theta
    integral = 0.0
    if ratio > 0:
        integral = quad(lambda x: x / np.expm1(x) if x else 1.0, 0, 1 / ratio)[0]
    square = 3 * units._hbar**2 / (mass * units._k * theta) * (0.25 + ratio**2 * integral)
    return float(np.sqrt(square) * 1e10)
