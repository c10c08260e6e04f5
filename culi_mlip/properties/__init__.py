"""What a potential says of crystals, surfaces and interfaces; takes any ASE calculator."""

from culi_mlip.properties.adatoms import Adsorbed, Adsorption, adsorption, coverage_series
from culi_mlip.properties.barriers import Barrier, barrier
from culi_mlip.properties.boundaries import Intermixing, intermixing
from culi_mlip.properties.elasticity import ElasticConstants, elastic_constants
from culi_mlip.properties.eos import (
    EquationOfState,
    cohesive_energy,
    equation_of_state,
)
from culi_mlip.properties.hops import hop, step_hop
from culi_mlip.properties.hull import Compound, ConvexHull, convex_hull
from culi_mlip.properties.interfaces import Adhesion, GammaSurface, gamma_surface, work_of_adhesion
from culi_mlip.properties.melting import Melting, melting_point
from culi_mlip.properties.reconstructions import MissingRow, missing_row
from culi_mlip.properties.soundness import DimerCurve, Safety, dimer_curve, safety
from culi_mlip.properties.surfaces import (
    SurfaceEnergy,
    WulffShape,
    surface_energies,
    surface_energy,
    wulff_shape,
)
from culi_mlip.properties.transport import (
    Arrhenius,
    Diffusion,
    arrhenius,
    diffusion,
    radial_distribution,
)
from culi_mlip.properties.vacancies import Vacancy, vacancy
from culi_mlip.properties.vibrations import Phonons, phonons

__all__ = [
    "Adhesion",
    "Adsorbed",
    "Adsorption",
    "Arrhenius",
    "Barrier",
    "Compound",
    "ConvexHull",
    "Diffusion",
    "DimerCurve",
    "ElasticConstants",
    "EquationOfState",
    "GammaSurface",
    "Intermixing",
    "Melting",
    "MissingRow",
    "Phonons",
    "Safety",
    "SurfaceEnergy",
    "Vacancy",
    "WulffShape",
    "adsorption",
    "arrhenius",
    "barrier",
    "cohesive_energy",
    "convex_hull",
    "coverage_series",
    "diffusion",
    "dimer_curve",
    "elastic_constants",
    "equation_of_state",
    "gamma_surface",
    "hop",
    "intermixing",
    "melting_point",
    "missing_row",
    "phonons",
    "radial_distribution",
    "safety",
    "step_hop",
    "surface_energies",
    "surface_energy",
    "vacancy",
    "work_of_adhesion",
    "wulff_shape",
]
