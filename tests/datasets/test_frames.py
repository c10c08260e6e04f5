"""Labelled frames of strangers: none is lost, and each label is what the file says."""

import bz2
import gzip

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.datasets.frames import (
    LabelKeys,
    labelled_frames,
    labels_of,
    plain_copy,
    training_frames,
)
from culi_mlip.errors import CuliError, DatasetError, StructureError
from culi_mlip.structures import bulk, rattled

BOX = 'Lattice="4 0 0 0 4 0 0 0 4" pbc="T T T"'
FORCES = [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
ROWS = ["Cu 0 0 0 0.1 0.2 0.3", "Li 2 2 2 -0.1 -0.2 -0.3"]


def text(comment, rows=ROWS, columns="species:S:1:pos:R:3:forces:R:3"):
    return "\n".join([str(len(rows)), f"{BOX} Properties={columns} {comment}", *rows, ""])


def written(path, *frames, sep=""):
    path.write_text(sep.join(frames))
    return path


def strained(strain=0.02):
    atoms = rattled(bulk("Cu", repeat=(2, 1, 1)), 0.1, seed=1)
    atoms.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
    atoms.calc = EMT()
    return atoms


@pytest.mark.parametrize("gap", ["\n", "  \n\n", "\r\n"])
def test_empty_lines_between_frames_lose_none(tmp_path, gap):
    frames = [text(f"energy=-{i}.5") for i in range(4)]
    read = training_frames(written(tmp_path / "train.extxyz", *frames, sep=gap))
    assert [atoms.get_potential_energy() for atoms in read] == [-0.5, -1.5, -2.5, -3.5]
    folder = plain_copy(tmp_path, {"train": read}, tmp_path / "plain")
    assert len(ase.io.read(folder / "train.extxyz", ":")) == 4, "nequip reads by ASE"


@pytest.mark.parametrize("name", ["a.xyz.gz", "a", "a.XYZ", "a.extxyz.bz2"])
def test_empty_lines_lose_no_frame_whatever_the_name(tmp_path, name):
    packs = {".gz": gzip.compress, ".bz2": bz2.compress}
    pack = packs.get((tmp_path / name).suffix, bytes)
    content = "\n\n".join(text(f"energy=-{i}.5") for i in range(4))
    (tmp_path / name).write_bytes(pack(content.encode()))
    assert len(training_frames(tmp_path / name)) == 4


def test_lines_of_windows_and_empty_comments_are_read(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_bytes(text("energy=-1.5").replace("\n", "\r\n").encode() * 2)
    assert len(training_frames(path)) == 2
    path.write_text("1\n\nCu 0 0 0\n\n1\n\nCu 0 0 1\n")
    assert [atoms.positions[0, 2] for atoms in labelled_frames(path)] == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text("energy=-1.5") + "2\ncomment\nCu 0 0 0\n", "line 5: frame 1 .*fewer than 2"),
        (text("energy=-1.5") + "what is this\n", "line 5: 'what is this' is not the number"),
        ("999999999999\n" + text("energy=-1.5"), "frame 0 .*fewer than 999999999999"),
        ("-3\n\n", "line 1"),
        (text("energy=-1.5", rows=[ROWS[0], "", ROWS[1]]), "cannot be read"),
        ("", "is empty"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, message):
    with pytest.raises(StructureError, match=message):
        labelled_frames(written(tmp_path / "a.extxyz", content))


def test_integers_are_energies_and_reach_nequip_as_reals(tmp_path):
    path = written(tmp_path / "train.extxyz", text("energy=-4"), text('energy="-5"'))
    read = training_frames(path)
    assert [atoms.get_potential_energy() for atoms in read] == [-4.0, -5.0]
    folder = plain_copy(tmp_path, {"train": read}, tmp_path / "plain")
    energies = [a.calc.results["energy"] for a in ase.io.read(folder / "train.extxyz", ":")]
    assert [float(e).is_integer() and isinstance(e, float) for e in energies] == [True, True]


def test_plain_files_are_not_copied(tmp_path):
    read = training_frames(written(tmp_path / "train.extxyz", text("energy=-4.5") * 3))
    assert plain_copy(tmp_path, {"train": read}, tmp_path / "plain") == tmp_path
    assert not (tmp_path / "plain").exists()


def test_a_virial_is_minus_the_volume_times_the_stress(tmp_path):
    """Its sign by finite differences: −V σ = −dE/dε, E of EMT under a strain."""
    atoms, h = strained(), 1e-5
    energies = []
    for strain in (h, -h):
        moved = atoms.copy()
        moved.set_cell(atoms.cell @ np.diag([1, 1, 1 + strain]), scale_atoms=True)
        moved.calc = EMT()
        energies.append(moved.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * h)
    frame = atoms.copy()
    frame.info["dft_virial"] = -atoms.get_stress(voigt=False) * atoms.get_volume()
    assert frame.info["dft_virial"][2, 2] == pytest.approx(-slope, rel=1e-4)
    frame.calc = SinglePointCalculator(frame, energy=1.5, forces=atoms.get_forces())
    ase.io.write(tmp_path / "a.extxyz", frame)
    (read,) = training_frames(tmp_path / "a.extxyz", LabelKeys(stress="dft_virial"))
    np.testing.assert_allclose(read.get_stress(), atoms.get_stress(), atol=1e-10)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("1 2 3 4 5 6", "REF_stress"),
        ("1 6 5 6 2 4 5 4 3", "REF_stress"),
        ("-64 -384 -320 -384 -128 -256 -320 -256 -192", "virials"),
        ("-64 -128 -192 -256 -320 -384", "VIRIAL"),
    ],
)
def test_stress_is_in_voigts_order_whatever_its_form(tmp_path, value, key):
    path = written(tmp_path / "a.extxyz", text(f'energy=-1.5 {key}="{value}"'))
    (read,) = training_frames(path, LabelKeys(stress=key))
    np.testing.assert_allclose(read.get_stress(), [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize(
    ("comment", "columns", "found"),
    [
        ("dft_energy=-1.5", "species:S:1:pos:R:3:forces:R:3", "--energy-key dft_energy"),
        ("Energy=-1.5", "species:S:1:pos:R:3:forces:R:3", "--energy-key Energy"),
        ("free_energy=-1.5", "species:S:1:pos:R:3:forces:R:3", "--energy-key free_energy"),
        ("energy=-1.5", "species:S:1:pos:R:3:force:R:3", "--forces-key force"),
        ("energy=-1.5", "species:S:1:pos:R:3:REF_forces:R:3", "--forces-key REF_forces"),
        ("energy=-1.5", "species:S:1:pos:R:3:f:R:3", "--forces-key f"),
        ("E=-1.5", "species:S:1:pos:R:3:forces:R:3", "--energy-key E"),
        (
            'energy=-1.5 virial="1 0 0 0 1 0 0 0 1"',
            "species:S:1:pos:R:3:forces:R:3",
            "--stress-key virial",
        ),
        (
            'REF_energy=-1.5 REF_stress="1 1 1 0 0 0"',
            "species:S:1:pos:R:3:dft_force:R:3",
            "--energy-key REF_energy --forces-key dft_force --stress-key REF_stress",
        ),
    ],
)
def test_labels_under_other_names_are_not_passed_over(tmp_path, comment, columns, found):
    path = written(tmp_path / "a.extxyz", text(comment, columns=columns))
    with pytest.raises(DatasetError, match=found):
        training_frames(path)
    options = found.replace("-key", "").split()
    keys = LabelKeys(**{k[2:]: v for k, v in zip(options[::2], options[1::2], strict=True)})
    (read,) = training_frames(path, keys)
    assert read.get_potential_energy() == -1.5
    np.testing.assert_allclose(read.get_forces(), FORCES)


def test_labels_of_a_set_are_those_of_every_frame():
    atoms = Atoms("Cu")
    results = {"energy": -1.0, "forces": np.zeros((1, 3)), "stress": np.zeros(6), "charges": [0.0]}
    frames = []
    for without in ("charges", "stress", "forces"):
        del results[without]
        frames.append(atoms.copy())
        frames[-1].calc = SinglePointCalculator(frames[-1], **results)
    assert labels_of(frames[:1]) == {"energy", "forces", "stress"}
    assert labels_of(frames[:2]) == {"energy", "forces"}
    assert labels_of(frames) == {"energy"}
    assert labels_of([*frames, atoms]) == set()


def test_labels_that_are_not_wanted_are_left_out(tmp_path):
    for column in ("friction", "force_sigma"):
        columns = f"species:S:1:pos:R:3:{column}:R:3"
        path = written(tmp_path / "a.extxyz", text("energy=-1.5", columns=columns))
        assert set(training_frames(path)[0].calc.results) == {"energy"}, "no name of forces"
    path = written(tmp_path / "a.extxyz", text('energy=-1.5 virial="1 0 0 0 1 0 0 0 1"'))
    (read,) = training_frames(path, LabelKeys(forces="none", stress="none"))
    assert set(read.calc.results) == {"energy"}


def test_a_name_wins_over_what_ase_finds(tmp_path):
    first, second = text("energy=-1.5 dft_energy=-9.5"), text("energy=-1.5")
    path = written(tmp_path / "a.extxyz", first)
    assert training_frames(path, LabelKeys("dft_energy"))[0].get_potential_energy() == -9.5
    path = written(tmp_path / "a.extxyz", first, second)
    with pytest.raises(DatasetError, match="frame 1: no label for energy"):
        training_frames(path, LabelKeys("dft_energy"))  # never two sorts of energies in one set


def test_energies_of_atoms_are_summed(tmp_path):
    rows = [f"{row} {e}" for row, e in zip(ROWS, (-1.25, -3), strict=True)]
    columns = "species:S:1:pos:R:3:forces:R:3:energies:R:1"
    path = written(tmp_path / "a.extxyz", text("", rows=rows, columns=columns))
    with pytest.raises(DatasetError, match="--energy-key energies"):
        training_frames(path)
    assert training_frames(path, LabelKeys("energies"))[0].get_potential_energy() == -4.25


@pytest.mark.parametrize(
    ("comment", "keys", "message"),
    [
        ("energy=abc", {}, "frame 0: the energy 'energy' is 'abc', not numbers"),
        ("energy=T", {}, "not numbers"),
        ("energy=nan", {}, "energy holds NaN"),
        ('energy=1.5 stress="1 2 3"', {}, "cannot be read as structures"),
        ('energy=1.5 a="1 2 3"', {"stress": "a"}, r"frame 0: the stress 'a' has shape \(3,\)"),
        ("energy=1.5 a=1.5", {"forces": "a"}, r"the forces 'a' has shape \(\), not three"),
        ("energy=1.5 a=1.5", {"forces": "A"}, "no frame has 'A' for the forces; there is a, "),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path, comment, keys, message):
    path = written(tmp_path / "a.extxyz", text(comment))
    with pytest.raises(CuliError, match=message):
        training_frames(path, LabelKeys(**keys))


def test_virial_of_a_molecule_gives_no_stress(tmp_path):
    frame = "1\nenergy=1.5 virial='1 0 0 0 1 0 0 0 1'\nCu 0 0 0\n"
    with pytest.raises(DatasetError, match="without a cell's volume"):
        training_frames(written(tmp_path / "a.xyz", frame), LabelKeys(stress="virial"))


@pytest.mark.parametrize("suffix", ["traj", "db", "json", "xyz"])
def test_files_of_ase_give_all_frames_and_labels(tmp_path, suffix):
    frames = [strained(s) for s in (0.0, 0.05)]
    for atoms in frames:
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=atoms.get_potential_energy(),
            forces=atoms.get_forces(),
            stress=atoms.get_stress(),
        )
    path = tmp_path / f"frames.{suffix}"
    ase.io.write(path, frames)
    for read, truth in zip(training_frames(path), frames, strict=True):
        assert read.get_potential_energy() == pytest.approx(truth.get_potential_energy(), abs=1e-7)
        np.testing.assert_allclose(read.get_forces(), truth.get_forces(), atol=1e-7)
        np.testing.assert_allclose(read.get_stress(), truth.get_stress(), atol=1e-7)


def test_columns_of_a_database_are_named_as_those_of_a_file(tmp_path):
    with ase.db.connect(tmp_path / "a.db") as database:
        forces = np.array(FORCES)
        database.write(
            Atoms("CuLi", [[0, 0, 0], [0, 0, 2]]), dft_energy=-1.5, data={"dft_forces": forces}
        )
    with pytest.raises(DatasetError, match="--energy-key dft_energy --forces-key dft_forces"):
        training_frames(tmp_path / "a.db")
    (read,) = training_frames(tmp_path / "a.db", LabelKeys("dft_energy", "dft_forces"))
    assert read.get_potential_energy() == -1.5
    np.testing.assert_array_equal(read.get_forces(), FORCES)


@pytest.mark.parametrize("name", ["a.db", "a.json", "a.traj", "a.cif", "a.xyz", "POSCAR"])
@pytest.mark.parametrize("content", [b"", b"garbage\n" * 90, bytes(range(256)) * 9])
def test_garbage_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StructureError, match=name):
        labelled_frames(tmp_path / name)
    assert (tmp_path / name).read_bytes() == content
