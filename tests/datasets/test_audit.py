"""The audit drops what should not be trained on and keeps the rest."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.datasets import audit, composition_energies, fit_reference_energies
from culi_mlip.datasets.frames import LabelKeys, labelled_frames
from culi_mlip.datasets.references import composition
from culi_mlip.errors import DatasetError
from culi_mlip.structures import bulk, rattled


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
