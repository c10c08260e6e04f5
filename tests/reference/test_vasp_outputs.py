"""Outputs of VASP: what a label depends on is read and compared, and so is its convergence."""

import bz2
import gzip
import lzma
import os
import re
import shutil
from contextlib import suppress

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from culi_mlip.errors import LabelError
from culi_mlip.reference import VaspSettings
from culi_mlip.reference.vasp_inputs import KPoints, functional_name
from culi_mlip.reference.vasp_outputs import accepted_frames, own_frames, read_vasp
from culi_mlip.structures import slab
from tests.vasp_files import irreducible, lithium, outcar, vasprun

PAPER = VaspSettings(kpoint_length=6.0)  # a mesh of 2×2×2 for two atoms of lithium
PBE = PAPER.model_copy(update={"functional": "pbe"})
WRITERS = {"OUTCAR": outcar, "vasprun.xml": vasprun}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    """Return how to write an output of either format and read it back."""

    def write(*arguments, **options):
        file = tmp_path / request.param
        file.write_text(WRITERS[request.param](*arguments, **options))
        return read_vasp(file)

    return write


def own(run, settings=PAPER):
    return own_frames(run, settings)[0][1]


def test_numbers_are_those_of_the_output(written):
    frames = lithium()
    run = written(frames)
    assert len(accepted_frames(run, PAPER)) == 3
    assert not run.inputs.unknown()
    for atoms, told in zip(frames, run.frames, strict=True):
        assert told.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(told.get_forces(), atoms.get_forces(), atol=1e-6)
        np.testing.assert_allclose(told.get_stress(), atoms.get_stress(), atol=1e-6)
        np.testing.assert_allclose(told.positions, atoms.positions, atol=1e-5)


DIFFERENT = [
    ({"METAGGA": "", "GGA": "PE"}, "is pbe, not r2scan"),
    ({"METAGGA": "SCAN"}, "is scan, not r2scan"),
    ({"ENCUT": "400.0"}, "has ENCUT 400 eV, not 520"),
    ({"ENCUT": "520.2"}, "has ENCUT 520.2 eV, not 520"),
    ({"PREC": "normal"}, "has PREC [nN]ormal, not Accurate"),
    ({"LASPH": "F"}, "has LASPH F, not T"),
    ({"LREAL": "T"}, "has LREAL T, not F"),
    ({"LREAL": "A"}, "has LREAL T, not F"),
    ({"ISPIN": "2"}, "has ISPIN 2, not 1"),
    ({"ISMEAR": "-5"}, "has ISMEAR -5, not 1"),
    ({"SIGMA": "0.20"}, "has SIGMA 0.2, not 0.1"),
    ({"SIGMA": "0.11"}, "has SIGMA 0.11, not 0.1"),
    ({"EDIFF": "0.1E-02"}, "has EDIFF 0.001, not 1e-05"),
    ({"EDIFF": "0.2E-04"}, "has EDIFF 2e-05, not 1e-05"),
    ({"LHFCALC": "T", "AEXX": "0.2500"}, r"has LHFCALC T \(AEXX 0.25\), not F"),
    ({"LDAU": "T"}, "has LDAU T, not F"),
    ({"IVDW": "12"}, "has IVDW 12, not 0"),
    ({"LVDW": "T"}, "has LVDW T, not F"),
    ({"LUSE_VDW": "T"}, "has LUSE_VDW T, not F"),
    ({"LSORBIT": "T"}, "has LSORBIT T, not F"),
    ({"LNONCOLLINEAR": "T"}, "has LNONCOLLINEAR T, not F"),
    ({"LSOL": ".TRUE."}, "has LSOL T, not F"),
    ({"LTRUNCATE": "T"}, "has LTRUNCATE T, not F"),
    ({"EFIELD": "0.05"}, "has EFIELD 0.05, not 0"),
    ({"LDIPOL": "T", "IDIPOL": "3"}, "has LDIPOL T, not F; has IDIPOL 3, not 0"),
    ({"LMONO": "T"}, "has LMONO T, not F"),
    ({"EPSILON": "78.4"}, "has EPSILON 78.4, not 1"),
    ({"AGGAC": "0.0000"}, "has AGGAC 0, not 1"),
    ({"ALDAX": "0.5000"}, "has ALDAX 0.5, not 1"),
    ({"LMODELHF": "T"}, "has LMODELHF T, not F"),
    ({"LTHOMAS": "T"}, "has LTHOMAS T, not F"),
    ({"GGA_COMPAT": "F"}, "has GGA_COMPAT F, not T"),
    ({"I_CONSTRAINED_M": "1"}, "has I_CONSTRAINED_M 1, not 0"),
    ({"METAGGA": "LIBXC", "LIBXC1": "MGGA_X_SCAN"}, "is libxc, not r2scan"),
]


@pytest.mark.parametrize(("tags", "words"), DIFFERENT)
def test_what_changes_a_label_is_named(written, tags, words):
    """And a run of such a tag has settings of its own, which say so."""
    run = written(lithium(1), tags)
    with pytest.raises(LabelError, match=words):
        accepted_frames(run, PAPER)
    assert own(run) != own(written(lithium(1)))


UNFIT = [
    ({"ML_LMLFF": "T"}, "ML_LMLFF = T"),
    ({"PSTRESS": "10.0"}, "PSTRESS = 10.0"),
    ({"SCALEE": "0.5"}, "SCALEE = 0.5"),
    ({"ICHARG": "11"}, "ICHARG = 11"),
    ({"IALGO": "3"}, "IALGO = 3"),
    ({"IALGO": "90"}, "IALGO = 90"),
    ({"ALGO": "Eigenval"}, "ALGO = Eigenval"),
    ({"ALGO": "EVGW0"}, "ALGO = EVGW0"),
    ({"ALGO": "ACFDTR"}, "ALGO = ACFDTR"),
    ({"ALGO": "None"}, "ALGO = None"),
    ({"VCA": "0.50"}, "VCA = 0.5"),
]


@pytest.mark.parametrize(("tags", "words"), UNFIT)
def test_what_is_no_label_is_refused_whatever_is_asked_for(written, tags, words):
    run = written(lithium(1), tags)
    for accept in (accepted_frames, own_frames):
        with pytest.raises(LabelError, match=f"(?i)holds no labels of DFT: it has {words}"):
            accept(run, PAPER)


@pytest.mark.parametrize(
    "tags",
    [
        *({"ALGO": word} for word in ("All", "Normal", "Fast", "VeryFast", "Damped", "C", "n")),
        {"ISYM": "2", "ADDGRID": "T", "NCORE": "4", "LWAVE": "T", "NWRITE": "3"},
        {"ICHARG": "1", "IALGO": "38"},
        {"NELMIN": "6", "MAGMOM": "2*0.0", "NUPDOWN": "-1.0000"},
        {"PREC": "Accurate", "LASPH": ".TRUE.", "LREAL": ".FALSE."},
    ],
)
def test_what_changes_no_label_does_not_count(written, tags):
    assert len(accepted_frames(written(lithium(2), tags), PAPER)) == 2


@pytest.mark.parametrize(
    ("titles", "words"),
    [
        (["PAW_PBE Li 17Jan2003"], "has the potential 'PAW_PBE Li 17Jan2003' for Li, not Li_sv"),
        (["PAW Li_sv 10Sep2004"], "'PAW Li_sv 10Sep2004' for Li, not PAW_PBE Li_sv"),
        (["PAW_PBE Li_sv 23Jan2001"], "for Li, not that of potpaw_PBE.54"),
    ],
)
def test_potentials_are_compared_by_set_name_and_release(written, titles, words):
    with pytest.raises(LabelError, match=words):
        accepted_frames(written(lithium(1), titles=titles), PAPER)
    other = PAPER.model_copy(update={"potential_version": "of my own"})
    if "23Jan2001" in titles[0]:  # a release that nobody lists
        assert accepted_frames(written(lithium(1), titles=titles), other)


def test_a_charged_cell_is_refused(written):
    assert accepted_frames(written(lithium(1), {"NELECT": "6.0000"}), PAPER)
    with pytest.raises(LabelError, match=r"has a charge of \+1 e \(NELECT\)"):
        accepted_frames(written(lithium(1), {"NELECT": "5.0000"}), PAPER)


def test_atoms_of_two_species_have_their_own_forces_and_electrons(written):
    """Li2H has 2 × 3 + 1 electrons."""
    (atoms,) = lithium(1)
    atoms += Atoms("H", [[0.3, 1.9, 0.2]])
    forces = np.arange(9.0).reshape(3, 3) / 100 - 0.04
    results = {"energy": -7.5, "forces": forces, "stress": np.arange(6) / 100}
    atoms.calc = SinglePointCalculator(atoms, **results)
    titles = ["PAW_PBE Li_sv 10Sep2004", "PAW_PBE H 15Jun2001"]
    run = written([atoms], {"NELECT": "7.0000"}, titles=titles)
    (told,) = accepted_frames(run, PAPER)
    assert told.get_chemical_symbols() == ["Li", "Li", "H"]
    np.testing.assert_allclose(told.get_forces(), forces, atol=1e-6)
    np.testing.assert_allclose(told.positions, atoms.positions, atol=1e-5)
    assert run.inputs.titles == tuple(titles)
    assert own(written([atoms], {"NELECT": "8.5000"}, titles=titles))["charge"] == -1.5


@pytest.mark.parametrize(
    ("tags", "title"),
    [
        ({"METAGGA": "SCAN"}, "PAW_PBE Li_sv 10Sep2004"),
        ({}, "PAW_PBE Li 17Jan2003"),
        ({"NELECT": "5.0000"}, "PAW_PBE Li_sv 10Sep2004"),
        ({"PSTRESS": "10.0"}, "PAW_PBE Li_sv 10Sep2004"),
    ],
)
def test_joined_runs_have_one_functional_potential_charge_and_pressure(tmp_path, tags, title):
    file = tmp_path / "OUTCAR"
    file.write_text(outcar(lithium(1)) + outcar(lithium(1, seed=1), tags, titles=[title]))
    with pytest.raises(LabelError, match="joins runs of different settings"):
        read_vasp(file)


@pytest.mark.parametrize(
    ("mesh", "shift", "words"),
    [
        ((9, 9, 9), 0, "k-points 9×9×9, not 10×10×10"),
        ((6, 6, 6), 0.5, "k-points .* without Γ, not 6×6×6"),
        ((1, 1, 1), 0, "k-points 1×1×1, not 10×10×10"),
        ((6, 6, 3), 0, "k-points 6×6×3, not 6×6×6"),
        ((8, 8, 8), 0, "k-points 8×8×8, not 4×4×4"),
    ],
)
def test_mesh_is_that_of_the_settings_in_the_cell(written, mesh, shift, words):
    """3.44 Å: the paper's 32 Å give 10, 20 Å give 6, 12 Å give 4."""
    wanted = int(words[-1]) if words[-2] == "×" else 10
    settings = VaspSettings(kpoint_length={10: 32, 6: 20, 4: 12}[wanted])
    run = written(lithium(1), mesh=mesh, shift=shift)
    with pytest.raises(LabelError, match=words):
        accepted_frames(run, settings)
    assert own(run, settings)["kpoints"] == str(run.inputs.kpoints)
    right = written(lithium(1), mesh=(wanted,) * 3)
    assert accepted_frames(right, settings)
    assert own(right, settings)["kpoints"] == f"length {settings.kpoint_length:g} Å"


def test_two_shifts_of_a_mesh_are_two_engines(written):
    shifts = (0.5, 0.25, np.array([0.5, 0.5, 0.0]))
    told = [own(written(lithium(1), mesh=(4, 4, 4), shift=shift))["kpoints"] for shift in shifts]
    assert len(set(told)) == 3
    assert all(name.endswith("without Γ") for name in told)


def test_points_without_weight_do_not_count(tmp_path):
    """As for bands of hybrids."""
    run = written_with_a_band_point(tmp_path / "vasprun.xml", vasprun(lithium(1)))
    assert accepted_frames(run, PAPER)
    run = written_with_a_band_point(tmp_path / "OUTCAR", outcar(lithium(1)))
    assert accepted_frames(run, PAPER)


def written_with_a_band_point(file, text):
    """Read an output that lists a further point of no weight."""
    text = re.sub(r"(</varray>\s*<varray name=\"weights\">)", r"<v>0.1 0.2 0.3</v>\n\1", text)
    text = re.sub(r"(</varray>\s*</kpoints>)", r"<v>0.0</v>\n\1", text)
    text = re.sub(r"(Coordinates +Weight\n)", r"\1  0.100000  0.200000  0.300000  0.000000\n", text)
    text = re.sub(r"(weights: K\n)", r"\1  0.10000000  0.20000000  0.30000000  0.000\n", text)
    file.write_text(text)
    return read_vasp(file)


def test_mesh_is_told_from_a_list_of_points(tmp_path):
    """KPOINTS may be a list; no output of it says the numbers."""
    for mesh in ((6, 6, 6), (6, 6, 3), (3, 3, 3)):
        (tmp_path / "vasprun.xml").write_text(vasprun(lithium(1), mesh=mesh, with_mesh=False))
        run = read_vasp(tmp_path / "vasprun.xml")
        assert run.inputs.kpoints.mesh is None
        assert str(run.inputs.kpoints) == "×".join(map(str, mesh))
        assert run.inputs.kpoints.are((6, 6, 6)) == (mesh == (6, 6, 6))


def test_mesh_of_a_hexagonal_cell_with_all_its_symmetry():
    """Of 2×2×1 points the three besides Γ are one by symmetry, which lies along one vector."""
    points = KPoints(points=((0, 0, 0), (0.5, 0, 0)), weights=(0.25, 0.75))
    assert points.are((2, 2, 1))
    assert not points.are((2, 1, 1))
    assert not points.are((2, 2, 2))
    assert not points.are((4, 4, 1))


def test_weights_of_three_digits_do_not_hide_a_mesh():
    """1/14³ is 0.000 to three digits, as is 1/28³."""
    points = KPoints(points=((0, 0, 0), (1 / 14, 0, 0)), weights=(0.0, 1.0), precision=6e-4)
    assert points.are((14, 14, 14))
    assert not points.are((28, 28, 28))


def test_symmetry_leaves_a_mesh_what_it_is():
    """Points of cubic 4×4×4, reduced by all 48 operations or by k = −k alone."""
    mesh = (4, 4, 4)
    stars = {}
    for k, n in irreducible(mesh):
        star = tuple(sorted(abs(x) for x in k))
        stars[star] = stars.get(star, 0) + n
    for listed in (stars.items(), irreducible(mesh)):
        points = KPoints(
            points=tuple(k for k, _ in listed), weights=tuple(n / 64 for _, n in listed)
        )
        assert points.are(mesh)
        assert not points.are((4, 4, 2))
        assert not points.are((8, 8, 8))


def test_steps_whose_cell_has_another_mesh_are_left_out(written):
    """VASP keeps the mesh of the first cell, 6 / 3.44 = 1.7; 6 / 2.9 = 2.1 asks for 3."""
    frames = lithium(3)
    frames[2].set_cell([2.9] * 3, scale_atoms=True)
    found = accepted_frames(written(frames), PAPER)
    assert [atoms.info["step"] for atoms in found] == [1, 2]


def test_slab_has_a_dipole_correction_and_one_point_along_vacuum(written):
    atoms = slab("Li", (1, 0, 0), thickness=5, vacuum=12)
    atoms.pbc = True
    atoms.calc = lithium(1)[0].calc
    atoms.calc.results["forces"] = np.zeros((len(atoms), 3))
    atoms.calc.atoms = atoms.copy()
    n = -(-6 // np.linalg.norm(atoms.cell[0]))
    mesh = (int(n), int(n), 1)
    corrected = {"LDIPOL": "T", "IDIPOL": "3"}
    assert accepted_frames(written([atoms], corrected, mesh=mesh), PAPER)
    with pytest.raises(LabelError, match="has LDIPOL F, not T; has IDIPOL 0, not 3"):
        accepted_frames(written([atoms], mesh=mesh), PAPER)
    assert accepted_frames(
        written([atoms], mesh=mesh), PAPER.model_copy(update={"dipole_correction": False})
    )


def test_a_step_that_used_all_iterations_is_not_converged(written):
    """Though VASP says there, too, that EDIFF is reached."""
    run = written(lithium(3), {"NELM": "15"}, iterations=[15, 9, 14])
    assert run.is_converged == [False, True, True]
    assert [atoms.info["step"] for atoms in accepted_frames(run, PAPER)] == [2, 3]
    run = written(lithium(2), {"NELM": "15"}, iterations=[15, 15])
    with pytest.raises(LabelError, match="the electrons converged in none of 2 steps"):
        accepted_frames(run, PAPER)


def test_electrons_that_vasp_says_are_not_converged(tmp_path):
    text = outcar(lithium(2)).replace(
        "aborting loop because EDIFF is reached",
        "aborting loop EDIFF was not reached (unconverged)",
        1,
    )
    (tmp_path / "OUTCAR").write_text(text)
    assert read_vasp(tmp_path / "OUTCAR").is_converged == [False, True]


def test_tags_of_the_response_functions_are_not_those_of_the_electrons(tmp_path):
    further = '<separator name="response functions"><i type="int" name="NELM"> 1</i>'
    further += '<i name="ENMAX"> 100.0</i></separator>'
    (tmp_path / "vasprun.xml").write_text(vasprun(lithium(2), further=further))
    run = read_vasp(tmp_path / "vasprun.xml")
    assert run.is_converged == [True, True]
    assert len(accepted_frames(run, PAPER)) == 2


def test_names_are_padded(tmp_path):
    """VASP 6.4.3 pads some of them."""
    file = tmp_path / "vasprun.xml"
    file.write_text(vasprun(lithium(1), {"METAGGA": "", "GGA": "PS"}, padding="    "))
    with pytest.raises(LabelError, match="is pbesol, not pbe"):
        accepted_frames(read_vasp(file), PBE)
    file.write_text(vasprun(lithium(1), {"LHFCALC": "T"}, padding="  "))
    with pytest.raises(LabelError, match="has LHFCALC T"):
        accepted_frames(read_vasp(file), PAPER)


@pytest.mark.parametrize("tag", ["IVDW", "LSOL", "ML_LMLFF"])
def test_tags_that_only_the_users_input_shows_count(tmp_path, tag):
    file = tmp_path / "vasprun.xml"
    kind, value = ("int", "12") if tag == "IVDW" else ("logical", "T")
    file.write_text(vasprun(lithium(1), given=f'<i type="{kind}" name="{tag}"> {value}</i>'))
    with pytest.raises(LabelError, match=tag):
        accepted_frames(read_vasp(file), PAPER)


def test_what_vasp_took_counts_and_not_what_it_was_given(tmp_path):
    """A width that it replaced, as for another kind of smearing."""
    (tmp_path / "vasprun.xml").write_text(vasprun(lithium(1), given='<i name="SIGMA"> 0.05</i>'))
    head = " INCAR:\n   SIGMA = 0.05\n"
    text = outcar(lithium(1))
    (tmp_path / "OUTCAR").write_text(text.replace("   PREC  ", head + "   PREC  ", 1))
    for name in WRITERS:
        run = read_vasp(tmp_path / name)
        assert run.inputs.tag("SIGMA") == 0.1
        assert len(accepted_frames(run, PAPER)) == 1


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("   LDA+U is selected, type is set to LDAUTYPE =  2", "LDAU T"),
        ("  vdW kernel read from vdw_kernel.bindat", "LUSE_VDW T"),
        ("  Edisp (eV):  -0.3", "IVDW on"),
        (" INCAR:\n   IVDW = 11\n", "IVDW 11"),
        (" INCAR:\n   METAGGA = R2SCANL\n", "is r2scanl, not r2scan"),
        ("  ML FREE ENERGIE OF THE SYSTEM", "no labels of DFT: it has ML_LMLFF"),
    ],
)
def test_marks_of_outcar_where_it_prints_no_tag(tmp_path, head, words):
    file = tmp_path / "OUTCAR"
    tags = {"LDAU": "F"} if "LDA+U" not in head else {}
    text = outcar(lithium(1), tags, head=head)
    file.write_text(re.sub(r" *LDAU .*\n", "", text))
    with pytest.raises(LabelError, match=words):
        accepted_frames(read_vasp(file), PAPER)


def test_comments_and_warnings_of_outcar_set_nothing(tmp_path):
    head = " INCAR:\n   # LDAU = T\n   ISMEAR = 1 ! not ISMEAR = -5\n"
    head += "|     Bloechl's method, ISMEAR=-5, is not variational). Please switch to IALGO=3 |"
    file = tmp_path / "OUTCAR"
    text = outcar(lithium(1)).replace(" k-points in reciprocal", head + "\n k-points in reciprocal")
    file.write_text(re.sub(r" *LDAU .*\n", "", text))
    assert accepted_frames(read_vasp(file), PAPER)


def test_two_values_of_hubbards_u_are_two_engines(written):
    one, other = (own(written(lithium(1), {"LDAU": "T", "LDAUU": u})) for u in ("4.0", "3.0"))
    assert one != other


@pytest.mark.parametrize(
    ("tags", "name", "values"),
    [
        ({"IVDW": "12"}, "VDW_S8", ("0.7898", "0.6018")),
        ({"METAGGA": "LIBXC"}, "LIBXC1", ("MGGA_X_R2SCAN", "MGGA_X_SCAN")),
        ({"LUSE_VDW": "T", "GGA": "MK"}, "PARAM1", ("0.1234", "0.1833")),
    ],
)
def test_two_values_of_a_parameter_are_two_engines(written, tags, name, values):
    one, other = (own(written(lithium(1), {**tags, name: value})) for value in values)
    assert one != other


def test_values_of_each_potential_are_told_with_its_name(written):
    """Whatever the order of the species; U is on lithium, then on hydrogen."""
    titles = {"Li": "PAW_PBE Li_sv 10Sep2004", "H": "PAW_PBE H 15Jun2001"}

    def told(order, u):
        frame = lithium(1)[0]
        frame.symbols = order
        frame.calc.atoms = frame.copy()
        tags = {"LDAU": "T", "LDAUU": u}
        return own(written([frame], tags, titles=[titles[symbol] for symbol in order]))

    assert told(["Li", "H"], "4.0 0.0") == told(["H", "Li"], "0.0 4.0")
    assert told(["Li", "H"], "4.0 0.0") != told(["H", "Li"], "4.0 0.0")


def test_species_that_come_twice_are_of_one_potential(written):
    """POSCAR may list Li, H, Li; the settings are those of Li, H."""
    lone, atom = lithium(1)[0], Atoms("Li", [[1.0, 0.0, 1.0]])
    titles = ["PAW_PBE Li_sv 10Sep2004", "PAW_PBE H 15Jun2001"]
    lone.symbols = ["Li", "H"]
    frame = lone + atom
    for atoms in (lone, frame):
        labels = {**lithium(1)[0].calc.results, "forces": np.zeros((len(atoms), 3))}
        atoms.calc = SinglePointCalculator(atoms, **labels)
    run = written([frame], titles=[*titles, titles[0]])
    assert list(run.frames[0].symbols) == ["Li", "H", "Li"]
    assert own(run) == own(written([lone], titles=titles))


def test_iterations_are_those_that_vasp_took(tmp_path):
    """INCAR, which VASP 6 repeats, may have another number in a comment."""
    file = tmp_path / "OUTCAR"
    for comment in ("# NELM = 15", "! NELM = 500"):
        head = f" INCAR:\n   {comment}\n   NELM = 60"
        text = outcar(lithium(2), {"NELM": "60"}, iterations=[20, 60])
        file.write_text(text.replace("   PREC ", f"{head}\n   PREC ", 1))
        assert read_vasp(file).is_converged == [True, False]


def test_a_neutral_cell_has_one_charge(written):
    """Rounding leaves no sign, which would be another digest."""
    told = own(written(lithium(1), {"NELECT": "6.0001"}))
    assert str(told) == str(own(written(lithium(1))))


def test_outcar_without_titel_names_its_potentials(tmp_path):
    """NWRITE 0 or 1."""
    text = re.sub(r".*TITEL.*\n", "", outcar(lithium(2)))
    (tmp_path / "OUTCAR").write_text(text)
    run = read_vasp(tmp_path / "OUTCAR")
    assert run.inputs.titles == ("PAW_PBE Li_sv 10Sep2004",)
    assert len(accepted_frames(run, PAPER)) == 2


def test_steps_beyond_9999_are_read(tmp_path):
    frames = lithium(4)
    (tmp_path / "OUTCAR").write_text(outcar(frames, first=9998, iterations=[12, 200, 12, 200]))
    run = read_vasp(tmp_path / "OUTCAR")
    assert run.is_converged == [True, False, True, False]
    assert [a.get_potential_energy() for a in run.frames] == pytest.approx(
        [-4.7, -4.71, -4.72, -4.73]
    )


def test_joined_outcars_give_the_steps_of_all(tmp_path):
    """Also where the first was cut in a step: its last whole one is the end."""
    file = tmp_path / "OUTCAR"
    first, second = outcar(lithium(3)), outcar(lithium(2, seed=1), iterations=[12, 200])
    file.write_text(first + second)
    run = read_vasp(file)
    assert run.is_converged == [True] * 4 + [False]
    assert len(accepted_frames(run, PAPER)) == 4
    file.write_text(first[: first.rfind("TOTAL-FORCE")] + second)
    run = read_vasp(file)
    assert len(run.frames) == 4
    np.testing.assert_allclose(run.frames[2].positions, lithium(1, seed=1)[0].positions, atol=1e-5)
    for other in (outcar(lithium(1), {"ISMEAR": "0"}), outcar(lithium(1), mesh=(3, 3, 3))):
        file.write_text(first + other)
        with pytest.raises(LabelError, match="joins runs of different settings"):
            read_vasp(file)


@pytest.mark.parametrize(("pack", "suffix"), [(gzip, "gz"), (bz2, "bz2"), (lzma, "xz")])
def test_packed_outputs(tmp_path, pack, suffix):
    for name, write in WRITERS.items():
        file = tmp_path / f"{name}.{suffix}"
        content = pack.compress(write(lithium(2)).encode())
        file.write_bytes(content)
        assert len(accepted_frames(read_vasp(file), PAPER)) == 2
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(LabelError, match=f"{name}.{suffix} is cut off or damaged"):
            read_vasp(file)


def test_letters_of_other_encodings_are_no_damage(tmp_path):
    """Of a SYSTEM in Latin-1, say."""
    file = tmp_path / "OUTCAR"
    first, *others = WRITERS["OUTCAR"](lithium(2)).splitlines(keepends=True)
    file.write_bytes(first.encode() + b" SYSTEM = Gr\xf6\xdfe\n" + "".join(others).encode())
    assert len(accepted_frames(read_vasp(file), PAPER)) == 2


def test_numbers_that_are_none_are_refused(written):
    for key, value in (("energy", np.nan), ("forces", np.inf), ("stress", np.nan)):
        frames = lithium(2)
        frames[1].calc.results[key] = frames[1].calc.results[key] * value
        with pytest.raises(LabelError, match=f"step 2: the {key} hold|damaged"):
            written(frames)


def test_constraints_beside_an_outcar_do_not_touch_its_forces(tmp_path):
    """A POSCAR that is held lies beside; a broken one does not stop the reading."""
    frames = lithium(1)
    (tmp_path / "OUTCAR").write_text(outcar(frames))
    held = "held\n1.0\n3.44 0 0\n0 3.44 0\n0 0 3.44\nLi\n2\nSelective dynamics\nDirect\n"
    for poscar in (held + "0 0 0 F F F\n0.5 0.5 0.5 F F F\n", "broken"):
        (tmp_path / "POSCAR").write_text(poscar)
        (told,) = read_vasp(tmp_path / "OUTCAR").frames
        np.testing.assert_allclose(told.get_forces(), frames[0].get_forces(), atol=1e-6)


def test_constraints_of_vasprun_do_not_touch_its_forces(tmp_path):
    text = vasprun(lithium(1)).replace(
        "</varray></structure>",
        '</varray><varray name="selective" type="logical"><v> F F F </v><v> F F T </v></varray>'
        "</structure>",
        1,
    )
    (tmp_path / "vasprun.xml").write_text(text)
    (told,) = read_vasp(tmp_path / "vasprun.xml").frames
    np.testing.assert_allclose(told.get_forces(), lithium(1)[0].get_forces(), atol=1e-6)


@pytest.mark.parametrize(
    ("metagga", "gga", "name"),
    [
        ("R2scan", "--", "r2scan"),
        ("R2SCA", "--", "r2scan"),
        (" r2SCAN ", None, "r2scan"),
        ("R2SCANL", "--", "r2scanl"),
        ("SCAN", "--", "scan"),
        ("SCANL", "--", "scanl"),
        ("RSCAN", "--", "rscan"),
        ("TPSS", "PE", "tpss"),
        ("F", "PE", "pbe"),
        (".FALSE.", "PE", "pbe"),
        ("--", "PS", "pbesol"),
        ("--", " Pe ", "pbe"),
        (None, "RP", "rpbe"),
        (None, "RE", "revpbe"),
        (None, "BO", "bo"),
        (None, "CA", "lda"),
        (None, "--", "pbe"),
    ],
)
def test_functionals_in_every_spelling(metagga, gga, name):
    assert functional_name(metagga, gga, "PE") == name


def test_functional_of_the_potentials_where_no_other_is_given(tmp_path):
    for title, name in (("PAW Li_sv 10Sep2004", "lda"), ("PAW_GGA Li_sv 01Jan2000", "pw91")):
        text = outcar(lithium(1), {"METAGGA": ""}, titles=[title])
        (tmp_path / "OUTCAR").write_text(text)
        assert read_vasp(tmp_path / "OUTCAR").inputs.functional == name


REAL = {  # folder: (files, steps, words about the paper's settings)
    "pymatgen_LiH_R2SCAN_relax": (
        ["OUTCAR", "vasprun.xml.gz"],
        1,
        "has ENCUT 680 eV, not 520; has LREAL T, not F; has ISPIN 2, not 1; has ISMEAR -5, not 1; "
        "has SIGMA 0.05, not 0.1; has k-points 8×8×8, not 12×12×12",
    ),
    "custodian_Al_R2SCAN_relax": (
        ["vasprun.xml.gz"],
        2,
        "has ENCUT 680 eV, not 520; has LREAL T, not F; has ISPIN 2, not 1; has ISMEAR -5, not 1; "
        "has SIGMA 0.05, not 0.1; has k-points 11×11×11, not 12×12×12",
    ),
    "pymatgen_Li_PBE_relax": (
        ["OUTCAR", "vasprun.xml.gz"],
        3,
        "is pbe, not r2scan; has LASPH F, not T; has LREAL T, not F; has ISPIN 2, not 1; has "
        "ISMEAR -5, not 1; has SIGMA 0.2, not 0.1; has EDIFF 5e-05, not 1e-05; has the potential "
        "'PAW_PBE Li_sv 23Jan2001' for Li, not that of potpaw_PBE.54; has k-points 6×6×6, "
        "not 11×10×10",
    ),
    "custodian_LPS_NpT_MD": (["OUTCAR.gz"], 10, "is pbe, not r2scan; has ENCUT 400 eV, not 520"),
}


@pytest.mark.parametrize("folder", REAL)
def test_real_outputs_are_not_the_papers(raw_outputs, folder):
    """And both outputs of a run say the same of it."""
    names, steps, words = REAL[folder]
    told = []
    for name in names:
        run = read_vasp(raw_outputs / folder / name)
        assert run.is_converged == [True] * steps
        with pytest.raises(LabelError, match=re.escape(words)):
            accepted_frames(run, VaspSettings())
        told.append([settings for _, settings in own_frames(run, PAPER)])
    assert all(settings == told[0] for settings in told)


def test_both_outputs_of_a_run_agree(raw_outputs):
    for folder in ("pymatgen_LiH_R2SCAN_relax", "pymatgen_Li_PBE_relax"):
        runs = [read_vasp(raw_outputs / folder / name) for name in ("OUTCAR", "vasprun.xml.gz")]
        for one, other in zip(*(run.frames for run in runs), strict=True):
            assert one.get_potential_energy() == pytest.approx(
                other.get_potential_energy(), abs=1e-5
            )
            np.testing.assert_allclose(one.get_forces(), other.get_forces(), atol=1e-5)
            np.testing.assert_allclose(one.get_stress(), other.get_stress(), atol=1e-5)
            np.testing.assert_allclose(one.positions, other.positions, atol=1e-4)


def test_energy_is_the_free_energy_of_a_metal(tmp_path):
    """Read by regular expressions; what is extrapolated to zero smearing stands beside it."""
    texts = {name: write(lithium(3)) for name, write in WRITERS.items()}
    steps = re.findall(r"<calculation>.*?</calculation>", texts["vasprun.xml"], re.DOTALL)
    last = [re.sub(r"<scstep>.*?</scstep>", "", step, flags=re.DOTALL) for step in steps]
    free, zero = (
        [float(re.search(rf'name="{name}">\s*([-.\d]+)', step)[1]) for step in last]
        for name in ("e_fr_energy", "e_0_energy")
    )
    assert free == [float(x) for x in re.findall(r"TOTEN *= *(\S+) eV", texts["OUTCAR"])]
    assert not set(free) & set(zero)
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        frames = accepted_frames(read_vasp(tmp_path / name), PAPER)
        assert [atoms.get_potential_energy() for atoms in frames] == free


def test_energies_of_real_outputs_are_those_of_their_text(raw_outputs):
    with gzip.open(raw_outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", "rt") as packed:
        blocks = packed.read().split("FREE ENERGIE OF THE ION-ELECTRON SYSTEM")[1:]
    free = [float(re.search(r"TOTEN *= *(\S+) eV", block)[1]) for block in blocks]
    run = read_vasp(raw_outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz")
    assert [atoms.get_potential_energy() for atoms in run.frames] == free


def test_stress_has_ases_sign_and_order(raw_outputs):
    """VASP prints XX YY ZZ XY YZ ZX of minus the stress, in kbar."""
    with gzip.open(raw_outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz", "rt") as packed:
        rows = re.findall(r"in kB +(.*)", packed.read())
    run = read_vasp(raw_outputs / "custodian_LPS_NpT_MD" / "OUTCAR.gz")
    for row, atoms in zip(rows, run.frames, strict=True):
        xx, yy, zz, xy, yz, zx = (-0.1 * GPa * float(x) for x in row.split())
        np.testing.assert_allclose(atoms.get_stress(), [xx, yy, zz, yz, zx, xy], rtol=1e-6)


def test_what_is_cut_off_or_something_else_is_one_sentence(raw_outputs, tmp_path):
    source = raw_outputs / "pymatgen_LiH_R2SCAN_relax"
    with gzip.open(source / "vasprun.xml.gz", "rt") as packed:
        text = packed.read()
    (tmp_path / "vasprun.xml").write_text(text[: len(text) // 2])
    with pytest.raises(LabelError, match=r"vasprun.xml is cut off"):
        read_vasp(tmp_path / "vasprun.xml")
    (tmp_path / "OUTCAR").write_text(outcar(lithium(1)).split("LOOP+")[0])
    with pytest.raises(LabelError, match="is cut off before its first step"):
        read_vasp(tmp_path / "OUTCAR")
    (tmp_path / "notes").write_text("hello")
    with pytest.raises(LabelError, match=r"is neither a vasprun.xml nor an OUTCAR"):
        read_vasp(tmp_path / "notes")
    with pytest.raises(LabelError, match="does not exist"):
        read_vasp(tmp_path / "nothing")
    shutil.copy(source / "vasprun.xml.gz", tmp_path)
    os.truncate(tmp_path / "vasprun.xml.gz", 5000)
    with pytest.raises(LabelError, match="is cut off"):
        read_vasp(tmp_path / "vasprun.xml.gz")


def fuzzed(content, seed):
    """Cut at a random place, or with bytes changed."""
    rng = np.random.default_rng(seed)
    if seed % 2:
        return content[: rng.integers(len(content))]
    changed = np.frombuffer(content, np.uint8).copy()
    changed[rng.integers(len(content), size=5)] = rng.integers(256, size=5)
    return changed.tobytes()


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(40, 400), marks=pytest.mark.slow)], ids=str
)
def test_damaged_outputs_are_read_or_refused_in_one_sentence(tmp_path, name, seeds):
    content = WRITERS[name](lithium(2)).encode()
    file = tmp_path / name
    for seed in seeds:
        file.write_bytes(fuzzed(content, seed))
        with suppress(LabelError):
            run = read_vasp(file)
            frames = [atoms for atoms, _ in own_frames(run, PAPER)]
            frames += accepted_frames(run, PAPER)
            for atoms in frames:
                assert np.isfinite(atoms.get_potential_energy())
                assert np.isfinite(atoms.get_forces()).all()
