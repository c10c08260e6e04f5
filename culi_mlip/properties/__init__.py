"""What a potential says of crystals, surfaces and interfaces; takes any ASE calculator."""

from culi_mlip.properties.barriers import Barrier, barrier
from culi_mlip.properties.elasticity import ElasticConstants, elastic_constants
from culi_mlip.properties.eos import (
    EquationOfState,
    cohesive_energy,
    equation_of_state,
)
from culi_mlip.properties.interfaces import Adhesion, work_of_adhesion
from culi_mlip.properties.surfaces import (
    SurfaceEnergy,
    WulffShape,
    surface_energies,
    surface_energy,
    wulff_shape,
)
from culi_mlip.properties.vacancies import Vacancy, vacancy
from culi_mlip.properties.vibrations import Phonons, phonons

__all__ = [
    "Adhesion",
    "Barrier",
    "ElasticConstants",
    "EquationOfState",
    "Phonons",
    "SurfaceEnergy",
    "Vacancy",
    "WulffShape",
    "barrier",
    "cohesive_energy",
    "elastic_constants",
    "equation_of_state",
    "phonons",
    "surface_energies",
    "surface_energy",
    "vacancy",
    "work_of_adhesion",
    "wulff_shape",
]
