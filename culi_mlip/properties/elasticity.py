"""Elastic constants, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from culi_mlip.dynamics import relax
from culi_mlip.errors import EngineError
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.eos import equation_of_state
from culi_mlip.properties.evaluation import check_stress, why_not_converged
from culi_mlip.structures import bulk

LARGEST_STRAIN, N_STRAINS = 0.005, 5
"""The largest strain of each pattern, and how many there are, from its opposite to it."""


@dataclass(frozen=True)
class ElasticConstants:
    """The stiffness tensor of a crystal.

    Attributes
    ----------
    tensor
        In GPa, shape (6, 6), Voigt order xx, yy, zz, yz, xz, xy along the cubic axes.
    errors
        Standard errors of the linear fits in GPa, shape (6, 6).
    """

    tensor: NDArray[np.float64]
    errors: NDArray[np.float64]

    @property
    def is_stable(self) -> bool:
        """Whether all small strains cost energy (Born's criterion)."""
        return bool(np.linalg.eigvalsh(self.tensor).min() > 0)

    @property
    def bulk_modulus(self) -> float:
        """Average of Voigt, Reuss and Hill in GPa; of a cubic crystal (C11 + 2 C12)/3."""
        return float(self._averages().k_vrh)

    @property
    def shear_modulus(self) -> float:
        """Average of Voigt, Reuss and Hill in GPa, of a polycrystal."""
        return float(self._averages().g_vrh)

    @property
    def youngs_modulus(self) -> float:
        """Of a polycrystal, in GPa."""
        return 9 * self.bulk_modulus / (1 + 3 * self.bulk_modulus / self.shear_modulus)

    @property
    def poisson_ratio(self) -> float:
        """Of a polycrystal."""
        return 0.5 - self.youngs_modulus / (6 * self.bulk_modulus)

    @property
    def zener_ratio(self) -> float:
        """Anisotropy of a cubic crystal, 2 C44/(C11 - C12); 1 if it is isotropic."""
        c = self.tensor
        return float(2 * c[3, 3] / (c[0, 0] - c[0, 1]))

    def _averages(self):  # type: ignore[no-untyped-def]  # pymatgen's ElasticTensor, slow to import
        from pymatgen.analysis.elasticity import ElasticTensor

        return ElasticTensor.from_voigt(self.tensor)


def elastic_constants(
    crystal: str | Atoms,
    calculator: Calculator,
    *,
    a: float | None = None,
    strain: float = LARGEST_STRAIN,
    fmax: float = 0.001,
    steps: int = 500,
    progress: Progress = no_progress,
) -> ElasticConstants:
    """Return the elastic constants of a crystal, from stresses of small strains (matscipy).

    Parameters
    ----------
    crystal
        An fcc or bcc element, or a crystal in its relaxed cell; atoms relax in each strained cell.
    calculator
        One with stress.
    a
        Cubic lattice constant of the element in Å; by default that of `equation_of_state`.
    strain
        The largest strain.
    fmax, steps
        Largest force in eV/Å once atoms are relaxed, and the most steps.
    progress
        Called with (percent done, 100) of the strained cells.

    Raises
    ------
    EngineError
        If the calculator has no stress, or atoms do not relax.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> elastic_constants("Cu", EMT()).tensor[[0, 0, 3], [0, 1, 3]].round()
    array([173., 115.,  90.])
    """
    from matscipy.elasticity import fit_elastic_constants, generate_strained_configs

    check_stress(calculator, "elastic constants")
    if isinstance(crystal, str):
        a = equation_of_state(crystal, calculator).lattice_constant if a is None else a
        # matscipy's patterns are along the axes of the cube.
        atoms, symmetry = bulk(crystal, a=a, cubic=True), "cubic"
    else:
        atoms, symmetry = crystal, "triclinic"
    delta = 2 * strain / (N_STRAINS - 1)
    cells = list(generate_strained_configs(atoms, symmetry, N_STRAINS, delta))
    options: dict[str, Any] = {"fmax": fmax, "steps": steps, "optimizer": "lbfgs"}
    found = relax(cells, calculator, progress=progress, **options)
    if why := why_not_converged(found, [f"strained cell {i}" for i in range(len(found))], fmax):
        raise EngineError(why)
    tensor, errors = fit_elastic_constants(
        [relaxed.atoms for relaxed in found], symmetry, verbose=False, graphics=False
    )
    return ElasticConstants(tensor / units.GPa, errors / units.GPa)
