"""The eighteen constrained multi-objective problems of the SAMO-COBRA papers.

Each function takes an array of d numbers and returns objectives (minimised) and constraints
(hold where ≤ 0). Where the published experiments differ from a problem's first publication, they
are followed, since the targets were measured on them; the docstring says so.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Values = tuple[list[Any], list[Any]]


class Problem(NamedTuple):
    """A problem and its published hypervolumes.

    Attributes
    ----------
    function
        From d numbers to objectives and constraints.
    lower, upper
        Bounds.
    reference
        Reference point of the hypervolume.
    published
        Mean hypervolume by algorithm, after 40·d evaluations.
    """

    function: Callable[[Array], Values]
    lower: list[float]
    upper: list[float]
    reference: list[float]
    published: dict[str, float]


def bnh(x: Array) -> Values:
    """Binh and Korn, 1997."""
    return (
        [4 * x[0] ** 2 + 4 * x[1] ** 2, (x[0] - 5) ** 2 + (x[1] - 5) ** 2],
        [(x[0] - 5) ** 2 + x[1] ** 2 - 25, 7.7 - (x[0] - 8) ** 2 - (x[1] + 3) ** 2],
    )


def cexp(x: Array) -> Values:
    """Constr-Ex, Deb 2001."""
    return [x[0], (1 + x[1]) / x[0]], [6 - x[1] - 9 * x[0], 1 + x[1] - 9 * x[0]]


def srn(x: Array) -> Values:
    """Srinivas and Deb, 1994."""
    return (
        [2 + (x[0] - 2) ** 2 + (x[1] - 1) ** 2, 9 * x[0] - (x[1] - 1) ** 2],
        [x[0] ** 2 + x[1] ** 2 - 225, x[0] - 3 * x[1] + 10],
    )


def tnk(x: Array) -> Values:
    """Tanaka et al., 1995."""
    wave = 0.1 * np.cos(16 * np.arctan2(x[0], x[1]))
    return (
        [x[0], x[1]],
        [1 + wave - x[0] ** 2 - x[1] ** 2, (x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2 - 0.5],
    )


def ctp1(x: Array) -> Values:
    """Deb, Pratap and Meyarivan, 2001; two constraints."""
    f1, f2 = x[0], (1 + x[1]) * np.exp(-x[0] / (1 + x[1]))
    return (
        [f1, f2],
        [1 - f2 / (0.858 * np.exp(-0.541 * f1)), 1 - f2 / (0.728 * np.exp(-0.295 * f1))],
    )


def c3dtlz4(x: Array) -> Values:
    """Jain and Deb, 2014; as in the experiments, the angle is that of x₁, not of x₁¹⁰⁰."""
    radius = 1 + np.sum((x[1:] - 0.5) ** 2)
    f1, f2 = radius * np.cos(x[0] * np.pi / 2), radius * np.sin(x[0] * np.pi / 2)
    return [f1, f2], [1 - f1**2 / 4 - f2**2, 1 - f2**2 / 4 - f1**2]


def osy(x: Array) -> Values:
    """Osyczka and Kundu, 1995."""
    a, b, c, d, e, f = x
    first = 25 * (a - 2) ** 2 + (b - 2) ** 2 + (c - 1) ** 2 + (d - 4) ** 2 + (e - 1) ** 2
    return (
        [-first, np.sum(x**2)],
        [
            2 - a - b,
            a + b - 6,
            b - a - 2,
            a - 3 * b - 2,
            (c - 3) ** 2 + d - 4,
            4 - (e - 3) ** 2 - f,
        ],
    )


def tbtd(x: Array) -> Values:
    """Two-bar truss, Deb 2001."""
    y, a, b = x
    volume = a * np.sqrt(16 + y**2) + b * np.sqrt(1 + y**2)
    stress = 20 * np.sqrt(16 + y**2) / (y * a)
    other = 80 * np.sqrt(1 + y**2) / (y * b)
    return [volume, stress], [volume - 0.1, stress - 1e5, other - 1e5]


def nbp(x: Array) -> Values:
    """A cantilever beam of breadth b and height h, Forrester et al. 2008."""
    h, b = x
    length, force, young, shear, poisson = 1500.0, 5000.0, 216620.0, 86650.0, 0.27
    stress = 6 * force * length / (b * h**2)
    bend = force * length**3 / (3 * young * b * h**3 / 12)
    rigidity = shear * (b * h**3 / 12 + b**3 * h / 12) * young * b**3 * h / 12
    buckling = 4 / length**2 * np.sqrt(rigidity / (1 - poisson**2))
    return (
        [b * h, stress],
        [bend - 5, stress - 240, 1.5 * force / (b * h) - 120, h / b - 10, 2 * force - buckling],
    )


def dbd(x: Array) -> Values:
    """Disc brake, Osyczka and Kundu 1995."""
    inner, outer, force, n = x
    ring, cube = outer**2 - inner**2, outer**3 - inner**3
    return (
        [4.9e-5 * ring * (n - 1), 9.82e6 * ring / (force * n * cube)],
        [
            20 - (outer - inner),
            2.5 * (n + 1) - 30,
            force / (3.14 * ring) - 0.4,
            2.22e-3 * force * cube / ring**2 - 1,
            900 - 2.66e-2 * force * n * cube / ring,
        ],
    )


def spd(x: Array) -> Values:
    """Bulk carrier, Parsons and Scott 2004."""
    length, breadth, depth, draught, knots, block = x
    displacement = 1.025 * length * breadth * draught * block
    froude = 0.5144 * knots / np.sqrt(9.8065 * length)
    a = 4977.06 * block**2 - 8105.61 * block + 4456.51
    b = -10847.2 * block**2 + 12817 * block - 6960.32
    power = displacement ** (2 / 3) * knots**3 / (a + b * froude)
    machinery = 0.17 * power**0.9
    outfit = length**0.8 * breadth**0.6 * depth**0.3 * block**0.1
    steel = 0.034 * length**1.7 * breadth**0.7 * depth**0.4 * block**0.5
    light = steel + outfit + machinery
    gravity = 1 + 0.52 * depth
    metacentre = (0.085 * block - 0.002) * breadth**2 / (draught * block)
    buoyancy = 0.53 * draught
    dead = displacement - light
    daily = 0.19 * power * 24 / 1000 + 0.2
    sea_days = 5000 / (24 * knots)
    cargo = dead - daily * (sea_days + 5) - 2 * np.sqrt(dead)
    trips = 350 / (sea_days + 2 * (cargo / 8000 + 0.5))
    voyage = (1.05 * daily * sea_days * 100 + 6.3 * dead**0.8) * trips
    capital = 0.2 * 1.3 * (2000 * steel**0.85 + 3500 * outfit + 2400 * power**0.8)
    annual = cargo * trips
    return (
        [(capital + 40000 * dead**0.3 + voyage) / annual, light, -annual],
        [
            6 - length / breadth,
            length / depth - 15,
            length / draught - 19,
            draught - 0.45 * dead**0.31,
            draught - 0.7 * depth - 0.7,
            3000 - dead,
            dead - 500000,
            froude - 0.32,
            0.07 * breadth - (buoyancy + metacentre - gravity),
        ],
    )


def csi(x: Array) -> Values:
    """Car side impact, Jain and Deb 2014."""
    a, b, c, d, e, f, g = x
    force = 4.72 - 0.5 * d - 0.19 * b * c
    middle = 10.58 - 0.674 * a * b - 0.67275 * b
    door = 16.45 - 0.489 * c * g - 0.843 * e * f
    weight = 1.98 + 4.9 * a + 6.67 * b + 6.98 * c + 4.01 * d + 1.78 * e + 1e-5 * f + 2.73 * g
    viscous_upper = (
        0.214 + 0.00817 * e - 0.045195 * a - 0.0135168 * a + 0.03099 * b * f - 0.018 * b * g
        + 0.007176 * c + 0.023232 * c - 0.00364 * e * f - 0.018 * b**2
    )  # fmt: skip
    return (
        [weight, force, (middle + door) / 2],
        [
            1.16 - 0.3717 * b * d - 0.0092928 * c - 1,
            0.261 - 0.0159 * a * b - 0.06486 * a - 0.019 * b * g + 0.0144 * c * e
            + 0.0154464 * f - 0.32,
            viscous_upper - 0.32,
            0.74 - 0.61 * b - 0.031296 * c - 0.031872 * g + 0.227 * b**2 - 0.32,
            28.98 + 3.818 * c - 4.2 * a * b + 1.27296 * f - 2.68065 * g - 32,
            33.86 + 2.95 * c - 5.057 * a * b - 3.795 * b - 3.4431 * g + 1.45728 - 32,
            46.36 - 9.9 * b - 4.4505 * a - 32,
            force - 4,
            middle - 9.9,
            door - 15.7,
        ],
    )  # fmt: skip


def srd(x: Array) -> Values:
    """Speed reducer, Golinski; as in the experiments, the stresses have 1.691⁷ and 1.5751⁸."""
    a, b, c, d, e, f, g = x
    weight = (
        0.7854 * a * b**2 * (10 * c**2 / 3 + 14.933 * c - 43.0934)
        - 1.508 * a * (f**2 + g**2)
        + 7.477 * (f**3 + g**3)
        + 0.7854 * (d * f**2 + e * g**2)
    )
    first, second = 745 * d / (b * c), 745 * e / (b * c)
    return (
        [weight, np.sqrt(first**2 + 1.691e7) / (0.1 * f**3)],
        [
            1 / (a * b**2 * c) - 1 / 27,
            1 / (a * b**2 * c**2) - 1 / 397.5,
            d**3 / (b * c * f**4) - 1 / 1.93,
            e**3 / (b * c * g**4) - 1 / 1.93,
            b * c - 40,
            a / b - 12,
            5 - a / b,
            1.9 - d + 1.5 * f,
            1.9 - e + 1.1 * g,
            np.sqrt(first**2 + 1.691**7) / (0.1 * f**3) - 1300,
            np.sqrt(second**2 + 1.5751**8) / (0.1 * g**3) - 1100,
        ],
    )


def wb(x: Array) -> Values:
    """Welded beam, Deb 2001; as in the experiments, stresses in psi and x₄ to the sixth power."""
    weld, length, height, breadth = x
    load, span, young, shear = 6000.0, 14.0, 30e6, 12e6
    slender = 1 - height / (2 * span) * np.sqrt(young / (4 * shear))
    buckling = 4.013 * young * np.sqrt(height**2 * breadth**6 / 36) / span**2 * slender
    radius = np.sqrt(length**2 / 4 + ((weld + height) / 2) ** 2)
    inertia = 2 * np.sqrt(2) * weld * length * (length**2 / 12 + ((weld + height) / 2) ** 2)
    first = load / (np.sqrt(2) * weld * length)
    second = load * (span + length / 2) * radius / inertia
    tau = np.sqrt(first**2 + first * second * length / radius + second**2)
    return (
        [
            1.10471 * weld**2 * length + 0.04811 * height * breadth * (14 + length),
            4 * load * span**3 / (young * breadth * height**3),
        ],
        [
            tau - 13600,
            6 * load * span / (breadth * height**2) - 30000,
            weld - breadth,
            0.125 - weld,
            load - buckling,
        ],
    )


def bicop1(x: Array) -> Values:
    """Datta and Regis, 2016."""
    g = 1 + np.sum(x[1:])
    return [x[0] * g, g - np.sqrt(x[0])], [-g]


def bicop2(x: Array) -> Values:
    """Datta and Regis, 2016."""
    g = np.sum(x[1:] - np.sin(0.5 * np.pi * x[0])) ** 2
    return [x[0] + g, 1 - x[0] ** 2 + g], [0.1 - g, g - 0.9]


def tricop(x: Array) -> Values:
    """Datta and Regis, 2016."""
    a, b = x
    return (
        [
            0.5 * (a - 2) ** 2 + (b + 1) ** 2 / 13 + 3,
            (a + b - 3) ** 2 / 175 + (2 * b - a) ** 2 / 17 - 13,
            (3 * a - 2 * b + 4) ** 2 / 8 + (a - b + 1) ** 2 / 27 + 15,
        ],
        [4 * a + b - 4, -a - 1, a - b - 2],
    )


def wp(x: Array) -> Values:
    """Water resources planning, Musselman and Talavage 1980."""
    a, b, c = x
    return (
        [
            106780.37 * (b + c) + 61704.67,
            3000 * a,
            30570 * 0.02289 * b / (0.06 * 2289) ** 0.65,
            250 * 2289 * np.exp(-39.75 * b + 9.9 * c + 2.74),
            25 * (1.39 / (a * b) + 4940 * c - 80),
        ],
        [
            0.00139 / (a * b) + 4.94 * c - 0.08 - 1,
            0.000306 / (a * b) + 1.082 * c - 0.0986 - 1,
            12.307 / (a * b) + 49408.24 * c + 4051.02 - 50000,
            2.098 / (a * b) + 8046.33 * c - 696.71 - 16000,
            2.138 / (a * b) + 7883.39 * c - 705.04 - 10000,
            0.417 * a * b + 1721.26 * c - 136.54 - 2000,
            0.164 / (a * b) + 631.13 * c - 54.48 - 550,
        ],
    )


_BOUNDS: dict[str, tuple[Callable[[Array], Values], list[float], list[float]]] = {
    "BNH": (bnh, [0, 0], [5, 3]),
    "CEXP": (cexp, [0.1, 0], [1, 5]),
    "SRN": (srn, [-20, -20], [20, 20]),
    "TNK": (tnk, [1e-5, 1e-5], [np.pi, np.pi]),
    "CTP1": (ctp1, [0, 0], [1, 1]),
    "C3DTLZ4": (c3dtlz4, [0] * 6, [1] * 6),
    "OSY": (osy, [0, 0, 1, 0, 1, 0], [10, 10, 5, 6, 5, 10]),
    "TBTD": (tbtd, [1, 0.0005, 0.0005], [3, 0.05, 0.05]),
    "NBP": (nbp, [20, 10], [250, 50]),
    "DBD": (dbd, [55, 75, 500, 2], [80, 110, 3000, 20]),
    "SPD": (spd, [150, 25, 12, 8, 14, 0.63], [274.32, 32.31, 22, 11.71, 18, 0.75]),
    "CSI": (csi, [0.5, 0.45, 0.5, 0.5, 0.875, 0.4, 0.4], [1.5, 1.35, 1.5, 1.5, 2.625, 1.2, 1.2]),
    "SRD": (srd, [2.6, 0.7, 17, 7.3, 7.3, 2.9, 5], [3.6, 0.8, 28, 8.3, 8.3, 3.9, 5.5]),
    "WB": (wb, [0.125, 0.1, 0.1, 0.125], [5, 10, 10, 5]),
    "BICOP1": (bicop1, [0] * 10, [1] * 10),
    "BICOP2": (bicop2, [0] * 10, [1] * 10),
    "TRICOP": (tricop, [-4, -4], [4, 4]),
    "WP": (wp, [0.01, 0.01, 0.01], [0.45, 0.1, 0.1]),
}


def problems(targets: Path) -> dict[str, Problem]:
    """Return all problems, with the published means of ``targets/samo_cobra.csv``."""
    found = {}
    with targets.open(newline="") as lines:
        for row in csv.DictReader(lines):
            name = row.pop("problem")
            sizes = [int(row.pop(key)) for key in ("d", "k", "m")]
            reference = [float(value) for value in row.pop("reference_point").split()]
            published = {key: float(value) for key, value in row.items() if value}
            problem = Problem(*_BOUNDS[name], reference, published)
            objectives, constraints = problem.function(np.array(problem.upper, float))
            assert sizes == [len(problem.lower), len(objectives), len(constraints)], name  # noqa: S101
            found[name] = problem
    return found
