"""A program in VASP's place: it takes VASP's input and writes VASP's output.

Its physics are Lennard-Jones pairs, so that labels have values which ASE gives, too. As VASP, it
takes no left-handed cell, sorts nothing, wraps positions into the cell, and needs all four files.
Each run adds its folder to the file that RECORDED_VASP_LOG names.
"""

import os
import re
import sys
from pathlib import Path

import numpy as np
from ase import units
from ase.calculators.lj import LennardJones
from ase.io.vasp import read_vasp, write_vasp

TITLES = {
    "Cu_pv": "PAW_PBE Cu_pv 06Sep2000",
    "Li_sv": "PAW_PBE Li_sv 10Sep2004",
    "Li": "PAW_PBE Li 17Jan2003",
}
LJ = {"sigma": 2.3, "epsilon": 0.1, "rc": 5.0, "smooth": True}

TYPES = {"METAGGA": "string", "PREC": "string", "ALGO": "string", "LREAL": "logical"}


def install(folder, monkeypatch, first=""):
    """Make the program VASP's command; return the file with the folders that it ran in.

    `first` are lines of shell script before it.
    """
    program, log = folder / "vasp_std", folder / "reached"
    program.write_text(f"#!/bin/sh\n{first}\nexec {sys.executable} {Path(__file__).resolve()}\n")
    program.chmod(0o755)
    log.touch()
    monkeypatch.setenv("ASE_VASP_COMMAND", str(program))
    monkeypatch.setenv("RECORDED_VASP_LOG", str(log))
    return log


def main():
    with Path(os.environ["RECORDED_VASP_LOG"]).open("a") as log:
        log.write(f"{Path.cwd()}\n")
    incar = dict(re.findall(r"(?m)^\s*(\w+) = (.+?)\s*$", Path("INCAR").read_text()))
    mesh = tuple(int(n) for n in Path("KPOINTS").read_text().splitlines()[3].split())
    atoms = read_vasp("POSCAR")
    if np.linalg.det(atoms.cell) < 0:
        sys.exit("the triple product of the basis vectors is negative exchange two basis vectors")
    names = re.findall(r"TITEL\s*=\s*PAW_PBE (\S+)", Path("POTCAR").read_text())
    species = list(dict.fromkeys(atoms.symbols))
    assert [re.match("[A-Z][a-z]?", name)[0] for name in names] == species, "POTCAR is another's"
    atoms.calc = LennardJones(**LJ)
    steps = list(run(atoms, incar))
    titles = [TITLES[name] for name in names]
    Path("OUTCAR").write_text(outcar(steps, incar, mesh, titles))
    Path("vasprun.xml").write_text(vasprun(steps, incar, mesh, titles))
    Path("OSZICAR").write_text("".join(f"   {n} F= -.1E+01\n" for n in range(1, 1 + len(steps))))
    atoms.set_scaled_positions(atoms.get_scaled_positions(wrap=False) % 1)
    write_vasp("CONTCAR", atoms, direct=True)


def run(atoms, incar):
    """Yield the ionic steps: a structure with its labels, and the kinetic energy."""
    task, number = int(incar["IBRION"]), int(incar["NSW"])

    def step():
        copy = atoms.copy()
        copy.set_scaled_positions(copy.get_scaled_positions(wrap=False) % 1)
        labels = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
        return copy, *labels, atoms.get_stress(apply_constraint=False), atoms.get_kinetic_energy()

    yield step()
    if task == 2:
        from ase.optimize import BFGS

        optimizer = BFGS(atoms, logfile=None)
        for is_done in optimizer.irun(fmax=-float(incar["EDIFFG"]), steps=number - 1):
            if optimizer.nsteps:
                yield step()
            if is_done:
                return
    elif task == 0:
        from ase.md.verlet import VelocityVerlet

        dynamics = VelocityVerlet(atoms, float(incar["POTIM"]) * units.fs)
        for n in range(number):
            dynamics.run(1)
            if n < number - 1:
                yield step()


def outcar(steps, incar, mesh, titles):
    """Return what ASE and culi_mlip read of an OUTCAR."""
    atoms = steps[0][0]
    counts = [list(atoms.symbols).count(s) for s in dict.fromkeys(atoms.symbols)]
    shown = {"LREAL": "F", "LASPH": "T", "LDIPOL": incar.get("LDIPOL", "F").strip(".")[:1]}
    lines = [
        " vasp.6.4.2 20Jul23 (build) complex",
        "",
        " executed on  LinuxIFC date 2026.11.27  10:00:00",
        *(f" POTCAR:    {title}" for title in titles),
    ]
    for title in titles:
        lines += [f" POTCAR:    {title}", "   LEXCH  = PE", f"   TITEL  = {title}"]
    lines += [
        f" METAGGA = {incar['METAGGA'][:5]}    LMAXTAU =  6    LMIXTAU =  T",
        "Automatic generation of k-mesh.",
        f" generate k-points for: {mesh[0]:4d} {mesh[1]:4d} {mesh[2]:4d}",
        f"   ions per type = {' '.join(map(str, counts))}",
        f"   PREC   = {incar['PREC'][:6].lower()}    normal or accurate",
        "   ISTART =      0    job   : 0-new  1-cont  2-samecut",
        "   ICHARG =      2    charge: 1-file 2-atom 10-const",
        f"   ISPIN  = {incar['ISPIN']:>6}    spin polarized calculation?",
        "   LNONCOLLINEAR =      F non collinear calculations",
        "   LSORBIT =      F    spin-orbit coupling",
        f"   LASPH  =      {shown['LASPH']}    aspherical Exc in radial PAW",
        f"   ENCUT  = {float(incar['ENCUT']):6.1f} eV  38.22 Ry",
        f"   NELM   = {incar['NELM']:>6};   NELMIN=  2; NELMDL= -5     # of ELM steps",
        f"   EDIFF  = {float(incar['EDIFF']):.1E}   stopping-criterion for ELM",
        f"   LREAL  =      {shown['LREAL']}    real-space projection",
        f"   IBRION = {incar['IBRION']:>6}    ionic relax: 0-MD 1-quasi-New 2-CG",
        f"   NSW    = {incar['NSW']:>6}    number of steps for IOM",
        f"   ISMEAR = {incar['ISMEAR']:>5};   SIGMA  = {float(incar['SIGMA']):6.2f}  eV",
        "   IALGO  =     58    algorithm",
        f"   LDIPOL =      {shown['LDIPOL']}    correct potential (dipole corrections)",
        f"   IDIPOL =      {incar.get('IDIPOL', 0)}    1-x, 2-y, 3-z, 4-all directions",
        "   EPSILON=  1.0000000 bulk dielectric constant",
        "   GGA     =    --    GGA type",
        "   LEXCH   =     8    internal setting for exchange type",
        "   LHFCALC =     F    Hartree Fock is set to",
    ]
    for number, (step, energy, forces, stress, kinetic) in enumerate(steps, 1):
        kbar = -stress[[0, 1, 2, 5, 3, 4]] / units.GPa * 10
        lines.append(f"--------------------- Iteration {number:6d}(   1)  ---------------------")
        lines.append("--------- aborting loop because EDIFF is reached ----------")
        lines.append("  in kB  " + "".join(f"{x:14.7f}" for x in kbar))
        lines += [" VOLUME and BASIS-vectors are now :"]
        lines += ["      direct lattice vectors                 reciprocal lattice vectors"]
        for row, back in zip(step.cell, step.cell.reciprocal(), strict=True):
            lines.append("".join(f"{x:16.11f}" for x in (*row, *back)))
        lines += [
            "",
            " POSITION                                TOTAL-FORCE (eV/Angst)",
            " " + 83 * "-",
        ]
        for place, force in zip(step.positions, forces, strict=True):
            lines.append(" " + "".join(f"{x:17.10f}" for x in (*place, *force)))
        lines += [" " + 83 * "-", "    total drift:          0.000000  0.000000  0.000000"]
        lines += ["", "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)", "  " + 51 * "-"]
        lines += [f"  free  energy   TOTEN  = {energy:20.10f} eV", ""]
        lines += [f"  energy  without entropy={energy:19.10f}  energy(sigma->0) ={energy:19.10f}"]
        if incar["IBRION"] == "0":
            lines.append(f"  kinetic energy EKIN   = {kinetic:16.8f}")
            lines.append(f"  total energy   ETOTAL = {energy + kinetic:16.8f} eV")
        lines.append("     LOOP+:  cpu time    1.0000: real time    1.0000")
    return "\n".join([*lines, " General timing and accounting informations for this job:", ""])


def vasprun(steps, incar, mesh, titles):
    """Return what ASE, pymatgen and culi_mlip read of a vasprun.xml."""
    atoms = steps[0][0]
    symbols = list(dict.fromkeys(atoms.symbols))
    given = "".join(_tag(name, value) for name, value in incar.items())
    rows = "".join(_cells(f"{s} ", 1 + symbols.index(s)) for s in atoms.symbols)
    types = "".join(
        _cells(list(atoms.symbols).count(s), s, 1.0, 1.0, f" {title} ")
        for s, title in zip(symbols, titles, strict=True)
    )
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in mesh), indexing="ij"), -1)
    points = points.reshape(-1, 3)
    weights = "".join(f"<v> {1 / len(points):.8f} </v>" for _ in points)
    calculations = "".join(
        f"<calculation><scstep><energy>{_energy(energy)}</energy></scstep>"
        f"<structure>{_structure(step)}</structure>"
        f'<varray name="forces">{_rows(forces)}</varray>'
        f'<varray name="stress">{_rows(_tensor(stress))}</varray>'
        f"<energy>{_energy(energy)}</energy></calculation>\n"
        for step, energy, forces, stress, _ in steps
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<generator>'
        '<i name="program" type="string">vasp </i><i name="version" type="string">6.4.2 </i>'
        f"</generator>\n<incar>{given}</incar>\n"
        f'<kpoints><generation param="Gamma"><v type="int" name="divisions">'
        f'{" ".join(map(str, mesh))}</v><v name="usershift"> 0.0 0.0 0.0 </v></generation>'
        f'<varray name="kpointlist">{_rows(points)}</varray>'
        f'<varray name="weights">{weights}</varray></kpoints>\n'
        f"<parameters>{given}{_tag('ENMAX', incar['ENCUT'])}</parameters>\n"
        f"<atominfo><atoms>{len(atoms)}</atoms><types>{len(symbols)}</types>"
        '<array name="atoms"><dimension dim="1">ion</dimension>'
        '<field type="string">element</field>'
        f'<field type="int">atomtype</field><set>{rows}</set></array>'
        '<array name="atomtypes"><dimension dim="1">type</dimension>'
        '<field type="int">atomspertype</field><field type="string">element</field>'
        "<field>mass</field><field>valence</field>"
        f'<field type="string">pseudopotential</field><set>{types}</set></array></atominfo>\n'
        f'<structure name="initialpos">{_structure(atoms)}</structure>\n{calculations}'
        f'<structure name="finalpos">{_structure(steps[-1][0])}</structure>\n</modeling>\n'
    )


def _tag(name, value):
    if value in (".TRUE.", ".FALSE."):
        return f'<i type="logical" name="{name}"> {value[1]} </i>\n'
    if name in TYPES:
        return f'<i type="{TYPES[name]}" name="{name}"> {value}</i>\n'
    if len(value.split()) > 1:
        return f'<v name="{name}"> {value} </v>\n'
    kind = ' type="int"' if re.fullmatch(r"-?\d+", value) else ""
    return f'<i{kind} name="{name}"> {value} </i>\n'


def _cells(*values):
    return f"<rc>{''.join(f'<c>{value}</c>' for value in values)}</rc>"


def _rows(array):
    return "".join(f"<v>{''.join(f'{x:18.10f}' for x in row)}</v>\n" for row in array)


def _tensor(stress):
    """In kbar, by VASP's sign."""
    xx, yy, zz, yz, xz, xy = -stress / units.GPa * 10
    return [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]


def _structure(atoms):
    return (
        f'<crystal><varray name="basis">{_rows(atoms.cell)}</varray>'
        f'<i name="volume"> {atoms.cell.volume:.8f} </i>'
        f'<varray name="rec_basis">{_rows(atoms.cell.reciprocal())}</varray></crystal>'
        f'<varray name="positions">{_rows(atoms.get_scaled_positions(wrap=False))}</varray>'
    )


def _energy(energy):
    names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
    return "".join(f'<i name="{name}"> {energy:.10f} </i>' for name in names)


if __name__ == "__main__":
    main()
