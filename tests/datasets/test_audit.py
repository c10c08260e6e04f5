"""The audit drops what should not be trained on and keeps the rest."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.configuration import parse
from culi_mlip.datasets import AuditSettings, audit, composition_energies, fit_reference_energies
from culi_mlip.datasets.frames import LabelKeys, labelled_frames
from culi_mlip.datasets.references import composition
from culi_mlip.errors import DatasetError, RecipeError
from culi_mlip.structures import Entry, bulk, rattled


def frame(seed, **changes):
    atoms = rattled(bulk("Cu", repeat=(2, 2, 1)), 0.1, seed=seed)
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()} | changes
    atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in results.items() if v is not None})
    atoms.info = {"uid": f"s{seed}", "engine_digest": "e0"}
    return atoms


def test_each_kind_of_bad_frame_is_dropped_for_its_reason():
    frames = [frame(i) for i in range(12)]
    frames.append(frame(20, forces=None))
    frames.append(frame(21, energy=np.nan))
    frames.append(frame(22, forces=np.full((4, 3), 99.0)))
    frames.append(frame(23, energy=frames[0].get_potential_energy() + 40))
    frames.append(frame(3))
    close = frame(24)
    close.positions[1] = close.positions[0] + [0.7, 0, 0]
    close.calc.atoms = close.copy()
    frames.append(close)
    found = audit(frames)
    assert found.kept == list(range(12))
    assert found.reasons == {
        "label missing": 1,
        "label not finite": 1,
        "force too large": 1,
        "energy outlier": 1,
        "duplicate": 1,
        "atoms too close": 1,
    }


def lone(symbols, distance, **changes):
    """Two atoms in the middle of nowhere."""
    atoms = Atoms(symbols, [[0, 0, 0], [0, 0, distance]], cell=[20] * 3, pbc=True)
    results = {"energy": -1.0, "forces": np.zeros((2, 3)), "stress": np.zeros(6)} | changes
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.mark.parametrize(
    ("symbols", "least"),  # 60 % of the sums of covalent radii, Å
    [("Cu2", 0.6 * 2.64), ("LiH", 0.6 * 1.59), ("K2", 0.6 * 4.06)],
)
def test_bonds_are_at_least_so_long(symbols, least):
    found = audit([lone(symbols, 0.99 * least), lone(symbols, 1.01 * least)])
    assert found.dropped == {0: f"atoms too close: {0.99 * least:.2f} Å"}


def test_the_pair_that_is_too_close_is_named():
    """A bond of hydrogen is shorter, and as it should be."""
    atoms = lone("Cu2", 1.5)
    atoms += Atoms("H2", [[9, 9, 9], [9, 9, 9.74]])
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((4, 3)))
    assert audit([atoms]).dropped == {0: "atoms too close: 1.50 Å"}


def test_forces_are_at_most_so_large_and_stresses_finite():
    forces = np.zeros((4, 2, 3))
    forces[:, 1, 2] = -29.9, -30.1, 1.0, 2.0
    stress = [0.0, 0.0, 0.0, np.nan]
    found = audit(
        [
            lone("Cu2", 2.5 + 0.1 * i, forces=forces[i], stress=np.full(6, stress[i]))
            for i in range(4)
        ]
    )
    assert found.dropped == {1: "force too large: 30.1 eV/Å", 3: "label not finite: stress"}
    assert [f.force for f in found.findings] == [29.9, 30.1, 1.0, 2.0]


@pytest.mark.parametrize(("spread", "most"), [(0.4, 8 * 1.4826 * 0.4), (0.01, 1.0)])
def test_energies_are_within_eight_robust_spreads_or_one_electronvolt(spread, most):
    """The median of all is −3 eV/atom, that of the deviations the spread."""
    for factor, dropped in ((0.99, []), (1.01, [11]), (-0.99, []), (-1.01, [11])):
        below, above = (5, 4) if factor > 0 else (4, 5)
        deviations = [-spread] * below + [0.0] * 2 + [spread] * above + [factor * most]
        frames = [sized(2, 2 * (deviation - 3)) for deviation in deviations]
        for i, atoms in enumerate(frames):
            atoms.set_cell(atoms.cell * (1 + i / 100), scale_atoms=True)
            atoms.calc.atoms = atoms.copy()
        found = audit(frames)
        assert list(found.dropped) == dropped
        assert not dropped or found.dropped[11].startswith("energy outlier: ")


def test_each_threshold_is_a_setting():
    """Frames that one threshold drops by default and another one keeps, and the other way round."""
    forces = np.zeros((2, 2, 3))
    forces[:, 0, 1] = 20.0, 40.0
    pulled = [lone("Cu2", 2.5 + 0.1 * i, forces=forces[i]) for i in range(2)]
    assert list(audit(pulled, AuditSettings(max_force=50)).dropped) == []
    assert list(audit(pulled).dropped) == [1]
    assert list(audit(pulled, AuditSettings(max_force=10)).dropped) == [0, 1]
    bonds = [lone("Cu2", share * 2.64) for share in (0.5, 0.7)]
    assert list(audit(bonds, AuditSettings(min_bond=0.4)).dropped) == []
    assert list(audit(bonds).dropped) == [0]
    assert list(audit(bonds, AuditSettings(min_bond=0.8)).dropped) == [0, 1]
    deviations = [-0.4] * 5 + [0.0] * 2 + [0.4] * 4 + [6 * 1.4826 * 0.4]
    spread = [sized(2, 2 * (deviation - 3)) for deviation in deviations]
    for i, atoms in enumerate(spread):
        atoms.set_cell(atoms.cell * (1 + i / 100), scale_atoms=True)
    assert list(audit(spread).dropped) == []
    assert list(audit(spread, AuditSettings(energy_spreads=5)).dropped) == [11]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"max_force": 0}, "max_force: input should be greater than 0"),
        ({"min_bond": -1}, "min_bond: input should be greater than 0"),
        ({"energy_spread": 8}, "the nearest valid key is 'energy_spreads'"),
        ({"max_force": float("inf")}, "max_force: input should be a finite number"),
    ],
)
def test_impossible_thresholds_are_refused(content, words):
    with pytest.raises(RecipeError, match=words):
        parse(AuditSettings, content, "settings")


def test_a_finding_says_what_each_frame_is():
    atoms = frame(1)
    atoms.info["kind"] = "crystal"
    (found,) = audit([atoms]).findings
    largest = max(abs(x) for row in atoms.get_forces() for x in row)
    uid = Entry(atoms, "").uid
    assert found == (uid, "crystal", "Cu4", 4, pytest.approx(0.0), pytest.approx(largest), "")


def test_another_cell_species_or_periodicity_is_no_duplicate():
    atoms = bulk("Cu", repeat=(2, 1, 1))
    wider, silver, open_ = atoms.copy(), atoms.copy(), atoms.copy()
    wider.set_cell(1.01 * atoms.cell, scale_atoms=True)
    silver.symbols[1] = "Ag"
    open_.pbc = [True, True, False]
    frames = [atoms, wider, silver, open_, atoms.copy()]
    for one in frames:
        one.calc = SinglePointCalculator(one, energy=-6.0, forces=np.zeros((2, 3)))
    assert audit(frames).dropped == {4: "duplicate: of frame 0"}


def test_what_is_to_be_known_of_a_set():
    """Isolated atoms that are there are not missed; nor are labels of nobody unsaid."""
    copper, pair = lone("Cu2", 9.0)[[0]], lone("CuLi", 2.6)
    copper.calc = SinglePointCalculator(copper, energy=-1.0, forces=np.zeros((1, 3)))
    nobody, alone = audit([copper, pair]).notes
    assert nobody == "No frame says which engine and settings its labels are from."
    assert alone.startswith("There is no isolated atom of Li: ")


def test_mixed_engines_and_missing_isolated_atoms_are_noted():
    other = frame(1)
    other.info["engine_digest"] = "e1"
    mixed, alone = audit([frame(0), other]).notes
    assert "Labels of 2 engines or settings are mixed: e0 (1), e1 (1)" in mixed
    assert "no isolated atom of Cu" in alone


def test_empty_sets_are_refused():
    with pytest.raises(DatasetError, match="no labelled frame"):
        audit([])


def test_noisy_real_frames_lose_their_worst(real_data):
    path = real_data / "licu" / "iter0_DFT_evaluated_fitting.ALL.xyz"
    frames = labelled_frames(path, LabelKeys("REF_energy", "REF_forces"))
    found = audit(frames)
    assert 0 < len(found.kept) < len(frames)
    kept = [frames[i] for i in found.kept]
    energies = [a.get_potential_energy() / len(a) for a in kept]
    assert min(energies) > -20, "the dimer of −279 eV/atom is gone"


def test_reference_energies_recover_a_known_composition_law():
    rng = np.random.default_rng(0)
    truth = {"Cu": -3.7, "Li": -1.9}
    frames = []
    for n_cu, n_li in [(4, 0), (0, 4), (3, 1), (1, 3), (2, 2)]:
        atoms = bulk("Cu", repeat=(4, 1, 1))
        atoms.symbols = ["Cu"] * n_cu + ["Li"] * n_li
        energy = n_cu * truth["Cu"] + n_li * truth["Li"] + 1e-6 * rng.normal()
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        frames.append(atoms)
    assert fit_reference_energies(frames) == pytest.approx(truth, abs=1e-5)
    np.testing.assert_allclose(
        composition_energies(map(composition, frames), truth),
        [a.get_potential_energy() for a in frames],
        atol=1e-5,
    )


def test_atoms_a_lattice_vector_apart_are_a_duplicate():
    first, second, third = frame(0), frame(0), frame(0)
    second.positions[1] += second.cell[2] - 2 * second.cell[0]
    third.positions[1] += [1e-3, 0, 0]
    for atoms in (second, third):
        atoms.calc.atoms = atoms.copy()
    assert audit([first, second, third]).dropped == {1: "duplicate: of frame 0"}
    for atoms in (first, second):
        atoms.pbc = False
        atoms.calc.atoms = atoms.copy()
    assert not audit([first, second]).dropped, "without periods they are two structures"


def sized(n, energy):
    atoms = bulk("Cu", repeat=(n, 1, 1))
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((n, 3)))
    return atoms


def test_residuals_are_per_atom():
    """−3.0, −3.1 and −3.3 eV/atom in cells of one, two and four atoms; the median is −3.1."""
    found = audit([sized(1, -3.0), sized(2, -6.2), sized(4, -13.2)])
    assert [f.energy for f in found.findings] == pytest.approx([0.1, 0.0, -0.2])


def test_references_weigh_frames_alike_whatever_their_size():
    """−1 eV/atom once and −3 once: −2, not −2.8 as by total energies."""
    assert fit_reference_energies([sized(1, -1.0), sized(3, -9.0)]) == {"Cu": pytest.approx(-2.0)}
