"""Outputs of VASP: small ones written by hand, real ones told as if other tags had been given."""

import re
from collections import Counter
from itertools import groupby, product

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

PAPER = {
    "PREC": "accura",
    "ISPIN": "1",
    "LNONCOLLINEAR": "F",
    "LSORBIT": "F",
    "LASPH": "T",
    "METAGGA": "R2SCAN",
    "ENCUT": "520.0",
    "NELM": "200",
    "EDIFF": "0.1E-04",
    "LREAL": "F",
    "ICHARG": "2",
    "ISMEAR": "1",
    "SIGMA": "0.10",
    "IALGO": "58",
    "GGA": "--",
    "LDAU": "F",
    "LHFCALC": "F",
    "AEXX": "0.0000",
    "LDIPOL": "F",
    "IDIPOL": "0",
    "EFIELD": "0.0",
    "PSTRESS": "0.0",
}
"""What an output says of a single point by the paper's settings."""

VALENCE = {"Li": 3.0, "H": 1.0, "Cu": 17.0}
"""Electrons of each potential."""


def lithium(n=3, seed=0):
    """So many steps of two lithium atoms, whose numbers mean nothing."""
    rng = np.random.default_rng(seed)
    frames = []
    for step in range(n):
        positions = np.array([[0.0] * 3, [1.72] * 3]) + rng.normal(0, 0.05, (2, 3))
        atoms = Atoms("Li2", positions.round(5), cell=[3.44] * 3, pbc=True)
        push = rng.normal(0, 0.1, 3).round(6)
        stress = rng.normal(0, 1, 6).round(3) * -0.1 * GPa
        atoms.calc = SinglePointCalculator(
            atoms, energy=-4.7 - step / 100, forces=[push, -push], stress=stress
        )
        frames.append(atoms)
    return frames


def species(atoms, titles):
    """Species of a structure and their atoms, one species for each potential."""
    groups = [(symbol, len(list(group))) for symbol, group in groupby(atoms.symbols)]
    return groups if len(groups) == len(titles) else list(Counter(atoms.symbols).items())


def irreducible(mesh, shift=0.0):
    """Points of a mesh and how often each counts, k and −k being the same."""
    points = Counter()
    for numbers in product(*map(range, mesh)):
        k = (np.array(numbers) + shift) / mesh
        k -= np.rint(k - 1e-9)
        points[min(tuple(k.round(8) + 0.0), tuple((-k - np.rint(-k - 1e-9)).round(8) + 0.0))] += 1
    return list(points.items())


def outcar(
    frames,
    tags=(),
    *,
    mesh=(2, 2, 2),
    shift=0.0,
    titles=("PAW_PBE Li_sv 10Sep2004",),
    iterations=(),
    head="",
    first=1,
):
    """Text of an OUTCAR."""
    tags = {**PAPER, **dict(tags)}
    symbols, counts = zip(*species(frames[0], titles), strict=True)
    numbers = "  ".join(map(str, counts))
    points = irreducible(mesh, shift)
    total = sum(n for _, n in points)
    lines = [" vasp.6.4.3 19Mar24 (build x) complex", "  ", " executed on LinuxIFC date 2025.01.01"]
    lines += [f" POTCAR:    {title}      " for title in titles] * 2
    lines += [f"   TITEL  = {title}      \n   LEXCH  = PE" for title in titles]
    lines += [" Following reciprocal coordinates:", "            Coordinates       Weight"]
    lines += [" {:9.6f} {:9.6f} {:9.6f} {:13.6f}".format(*k, n) for k, n in points]
    lines += [f" \n   k-points           NKPTS = {len(points):6d}   k-points in BZ     NKDIM = "
              f"{len(points):6d}   number of bands    NBANDS=      8"]  # fmt: skip
    lines += [f"   number of dos      NEDOS =    301   number of ions     NIONS = {len(frames[0])}"]
    lines += [f"   ions per type =               {numbers}"]
    lines += [head] * bool(head)
    for name, value in tags.items():
        rest = {"ENCUT": " eV", "NELM": ";   NELMIN=  2; NELMDL= -5     # of ELM steps"}
        if name == "METAGGA" and value:
            lines.append(f" METAGGA = {value[:5]}    LMAXTAU =  6    LMIXTAU =  T")
        if name == "METAGGA":
            lines.append("   METAGGA=      F    non-selfconsistent MetaGGA calc.")
        elif name == "SIGMA":
            lines[-1] += f";   SIGMA  =   {value}  broadening in eV"
        else:
            lines.append(f"   {name:6} = {value:>6}{rest.get(name, '    what it is')}")
    lines.append("   ZVAL   = " + " ".join(f"{VALENCE[s]:6.2f}" for s in symbols))
    lines.append(" k-points in reciprocal lattice and weights: K")
    lines += [" {:13.8f}{:12.8f}{:12.8f}{:12.3f}".format(*k, n / total) for k, n in points]
    lines.append("")
    for step, atoms in enumerate(frames):
        lines += _outcar_step(atoms, step + first, (iterations or [12] * len(frames))[step])
    return "\n".join([*lines, " General timing and accounting informations for this job:", ""])


def _outcar_step(atoms, step, iterations):
    results = atoms.calc.results
    stress = results["stress"][[0, 1, 2, 5, 3, 4]] / (-0.1 * GPa)
    name = f"{step:4d}" if step < 10000 else "****"
    dashes = "-" * 39
    lines = [f"{dashes} Iteration {name}({i + 1:4d})  {dashes}" for i in range(iterations)]
    lines += ["------------------------ aborting loop because EDIFF is reached -----------"]
    lines += ["  in kB " + " ".join(f"{x:11.5f}" for x in stress)]
    lines += [" VOLUME and BASIS-vectors are now :"]
    lines += ["      direct lattice vectors                 reciprocal lattice vectors"]
    lines += ["  " + " ".join(f"{x:12.9f}" for x in [*row, 0, 0, 0]) for row in atoms.cell.array]
    lines += [
        " POSITION                                       TOTAL-FORCE (eV/Angst)",
        " " + "-" * 83,
    ]
    rows = zip(atoms.positions, results["forces"], strict=True)
    lines += [" " + " ".join(f"{x:13.5f}" for x in r) + " " + " ".join(f"{x:13.6f}" for x in f)
              for r, f in rows]  # fmt: skip
    lines += [" " + "-" * 83, "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)", "  " + "-" * 51]
    energy = results["energy"]
    lines += [f"  free  energy   TOTEN  =      {energy:14.8f} eV", ""]
    lines += [f"  energy  without entropy= {energy + 0.008:14.8f}  energy(sigma->0) = "
              f"{energy + 0.004:14.8f}", ""]  # fmt: skip
    return [*lines, "     LOOP+:  cpu time    1.0: real time    1.0"]


def vasprun(
    frames,
    tags=(),
    *,
    mesh=(2, 2, 2),
    shift=0.0,
    titles=("PAW_PBE Li_sv 10Sep2004",),
    iterations=(),
    given="",
    further="",
    padding="",
    with_mesh=True,
):
    """Text of a vasprun.xml; `given` stands in INCAR's block, `further` after the parameters."""
    tags = {**PAPER, **dict(tags)}
    metagga = tags.pop("METAGGA")
    tags["ENMAX"] = tags.pop("ENCUT")
    points = irreducible(mesh, shift)
    total = sum(n for _, n in points)
    symbols = list(frames[0].symbols)
    kinds = species(frames[0], titles)
    kind_of = [n for n, (_, count) in enumerate(kinds, 1) for _ in range(count)]
    generation = (
        f'<generation param="Gamma"><v type="int" name="divisions">'
        f"{' '.join(map(str, mesh))}</v></generation>"
    )
    lines = ['<?xml version="1.0" encoding="ISO-8859-1"?>', "<modeling>", "<generator>",
             '<i name="program" type="string">vasp </i>',
             '<i name="version" type="string">6.4.3</i>', "</generator>", "<incar>"]  # fmt: skip
    lines += [_item("METAGGA", metagga)] * bool(metagga) + [given, "</incar>", "<kpoints>"]
    lines += [generation] * with_mesh + ['<varray name="kpointlist">']
    lines += ["<v>{:.8f} {:.8f} {:.8f}</v>".format(*k) for k, _ in points]
    lines += ["</varray>", '<varray name="weights">']
    lines += [f"<v>{n / total:.8f}</v>" for _, n in points] + ["</varray>", "</kpoints>"]
    lines += ["<parameters>", '<separator name="electronic">']
    lines += [_item(name + padding, value) for name, value in tags.items()]
    lines += ["</separator>", further, "</parameters>", "<atominfo>"]
    lines += [f"<atoms>{len(symbols)}</atoms>", f"<types>{len(kinds)}</types>"]
    lines += ['<array name="atoms"><set>']
    lines += [f"<rc><c>{s}</c><c>{n}</c></rc>" for s, n in zip(symbols, kind_of, strict=True)]
    lines += ["</set></array>", '<array name="atomtypes"><set>']
    for (symbol, count), title in zip(kinds, titles, strict=True):
        cells = (count, symbol, 7.0, VALENCE[symbol], f"  {title}   ")
        lines.append(f"<rc>{''.join(f'<c>{cell}</c>' for cell in cells)}</rc>")
    lines += ["</set></array>", "</atominfo>", _structure(frames[0], ' name="initialpos"')]
    for step, atoms in enumerate(frames):
        lines += _vasprun_step(atoms, (iterations or [12] * len(frames))[step])
    return "\n".join([*lines, "</modeling>", ""])


def _item(name, value):
    kind = ' type="logical"' if value in ("T", "F") else ""
    if not kind:
        try:
            float(value)
        except ValueError:
            kind = ' type="string"'
        else:
            kind = "" if "." in value else ' type="int"'
    return f'<i{kind} name="{name}">  {value}</i>'


def _structure(atoms, name=""):
    rows = "".join(f"<v>{x:.8f} {y:.8f} {z:.8f}</v>" for x, y, z in atoms.cell.array)
    places = "".join(
        f"<v>{x:.8f} {y:.8f} {z:.8f}</v>" for x, y, z in atoms.get_scaled_positions(wrap=False)
    )
    return (
        f'<structure{name}><crystal><varray name="basis">{rows}</varray><i name="volume">1.0</i>'
        f'</crystal><varray name="positions">{places}</varray></structure>'
    )


def _vasprun_step(atoms, iterations):
    results = atoms.calc.results
    xx, yy, zz, yz, xz, xy = results["stress"] / (-0.1 * GPa)
    tensor = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]

    def energies(free):
        names = {"e_fr_energy": free, "e_wo_entrp": free + 0.008, "e_0_energy": free + 0.004}
        items = (f'<i name="{name}">{value:.8f}</i>' for name, value in names.items())
        return f"<energy>{''.join(items)}</energy>"

    energy = results["energy"]
    lines = ["<calculation>"]
    lines += [f"<scstep>{energies(energy + 0.5 / (i + 1))}</scstep>" for i in range(iterations - 1)]
    lines += [f"<scstep>{energies(energy)}</scstep>", _structure(atoms)]
    for name, array in (("forces", results["forces"]), ("stress", tensor)):
        rows = "".join("<v>{:.8f} {:.8f} {:.8f}</v>".format(*row) for row in array)
        lines.append(f'<varray name="{name}">{rows}</varray>')
    return [*lines, energies(energy), "</calculation>"]


def retold(text, **tags):
    """Text of a real OUTCAR or vasprun.xml, with other values of tags."""
    for name, value in tags.items():
        text = re.sub(rf"(\b{name} *= *)[^\s;]+", rf"\g<1>{value}", text)
        text = re.sub(rf'(name="{name} *">)[^<]*', rf"\g<1> {value}", text)
    return text
