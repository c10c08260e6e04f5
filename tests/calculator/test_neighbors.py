"""The neighbour list: complete for every cell, whatever moved since it was built."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import primitive_neighbor_list

from culi_mlip.calculator.neighbors import NeighborList
from culi_mlip.structures import rattled, strained

CUTOFF = 4.0


def skewed():
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    return Atoms(
        "Cu32", atoms.positions, cell=[[7.2, 0, 0], [6.9, 7.2, 0], [-5.1, 8.3, 7.2]], pbc=True
    )


def left_handed():
    atoms = fcc111("Cu", (2, 2, 3), vacuum=5)
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    return atoms


def far_outside():
    atoms = bulk("Cu", cubic=True)
    atoms.positions += np.array([[0, 0, 0], [900, 0, 0], [0, -777, 0], [12, 34, 56]])
    return atoms


def open_along_a_short_vector():
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.pbc = (True, False, True)
    return atoms


STRUCTURES = {
    "crystal": lambda: bulk("Cu", cubic=True) * (2, 2, 2),
    "smaller than the cutoff": lambda: bulk("Li", a=3.0),
    "two atoms": lambda: bulk("Cu", "hcp", a=2.5, c=4.1),
    "slab TTF": lambda: fcc111("Cu", (2, 2, 3), vacuum=5),
    "slab without a third vector": lambda: fcc111("Cu", (2, 2, 3)),
    "open along a short vector": open_along_a_short_vector,
    "molecule": lambda: molecule("CH3CH2OH"),
    "one atom": lambda: Atoms("Cu"),
    "isolated atoms": lambda: Atoms(
        "Cu3", [[0, 0, 0], [9, 0, 0], [0, 2.5, 0]], cell=[30] * 3, pbc=True
    ),
    "skewed": skewed,
    "left-handed": left_handed,
    "far outside the cell": far_outside,
}


def vectors(pairs, atoms):
    """Every pair by its atoms and its vector, in an order that does not depend on who found it."""
    index, shifts = pairs
    between = atoms.positions[index[1]] - atoms.positions[index[0]] + shifts @ atoms.cell.array
    rows = np.column_stack([index[0], index[1], between.round(8) + 0.0])
    return rows[np.lexsort(rows.T[::-1])]


def expected(atoms, cutoff=CUTOFF):
    """The pairs by ASE's own search, which knows no skin."""
    cell = atoms.cell.complete()
    i, j, shifts = primitive_neighbor_list("ijS", atoms.pbc, cell, atoms.positions, cutoff)
    copy = atoms.copy()
    copy.cell = cell
    return vectors((np.stack([i, j]), shifts), copy)


def found(neighbors, atoms, types=None):
    types = torch.zeros(len(atoms), dtype=torch.int64) if types is None else types
    pairs = neighbors.pairs(atoms.positions, atoms.cell.array, atoms.pbc, types)
    index = pairs.edge_index.numpy()
    assert (np.diff(index[0]) >= 0).all()
    return vectors((index, pairs.shifts.numpy()), atoms)


@pytest.mark.parametrize("skin", [0.0, 1.0])
@pytest.mark.parametrize("name", STRUCTURES)
def test_pairs_are_those_of_ase_while_atoms_and_cell_move(name, skin):
    atoms = STRUCTURES[name]()
    neighbors = NeighborList(np.array([[CUTOFF]]), skin)
    rng = np.random.default_rng(0)
    for step in range(30):
        np.testing.assert_array_equal(found(neighbors, atoms), expected(atoms))
        atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
        if step % 3 == 0 and atoms.pbc.any():
            strain = np.eye(3) + 0.01 * rng.normal(size=(3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=step % 2 == 0)
    assert neighbors.builds == 30 if skin == 0 else neighbors.builds < 30


def test_list_is_built_when_an_atom_moved_by_half_of_the_skin_and_not_before():
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    neighbors = NeighborList(np.array([[CUTOFF]]), skin=1.0)
    found(neighbors, atoms)
    atoms.positions[5, 0] += 0.49
    found(neighbors, atoms)
    assert neighbors.builds == 1
    atoms.positions[5, 0] += 0.03
    found(neighbors, atoms)
    assert neighbors.builds == 2


def test_translation_of_all_atoms_builds_no_list():
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    neighbors = NeighborList(np.array([[CUTOFF]]), skin=1.0)
    found(neighbors, atoms)
    atoms.positions += [17.0, -4.0, 0.3]
    np.testing.assert_array_equal(found(neighbors, atoms), expected(atoms))
    assert neighbors.builds == 1


def test_compressed_cell_builds_the_list_before_a_pair_is_missed():
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    neighbors = NeighborList(np.array([[CUTOFF]]), skin=0.5)
    found(neighbors, atoms)
    for builds, scale in [(1, 0.95), (1, 0.89), (2, 0.888)]:  # 4.0 / 4.5 = 0.8889
        squeezed = atoms.copy()
        squeezed.set_cell(atoms.cell.array * scale, scale_atoms=True)
        np.testing.assert_array_equal(found(neighbors, squeezed), expected(squeezed))
        assert neighbors.builds == builds


def test_other_atoms_types_or_periods_build_a_new_list():
    neighbors = NeighborList(np.full((2, 2), CUTOFF), skin=1.0)
    crystal, types = bulk("Cu", cubic=True) * (2, 2, 2), torch.zeros(32, dtype=torch.int64)
    slab = crystal.copy()
    slab.pbc = (True, True, False)
    for atoms, of_type in [(crystal, 0), (slab, 0), (crystal[:7], 0), (crystal[:7], 1)]:
        np.testing.assert_array_equal(
            found(neighbors, atoms, types[: len(atoms)] + of_type), expected(atoms)
        )
    assert neighbors.builds == 4


@pytest.mark.parametrize("skin", [0.0, 1.0])
def test_each_pair_of_types_has_its_own_cutoff(skin):
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    types = torch.arange(len(atoms)) % 2
    cutoffs = np.array([[2.6, 3.0], [3.7, 4.0]])
    rows = found(NeighborList(cutoffs, skin), atoms, types)
    lengths = np.linalg.norm(rows[:, 2:], axis=1)
    of_types = cutoffs[types[rows[:, 0].astype(int)], types[rows[:, 1].astype(int)]]
    assert (lengths <= of_types).all()
    every = expected(atoms)
    lengths = np.linalg.norm(every[:, 2:], axis=1)
    of_types = cutoffs[types[every[:, 0].astype(int)], types[every[:, 1].astype(int)]]
    np.testing.assert_array_equal(rows, every[lengths <= of_types])


def test_pairs_and_their_order_do_not_depend_on_when_the_list_was_built():
    """So a run that was interrupted sums as the unbroken one does."""
    atoms = rattled(bulk("Cu", cubic=True) * (3, 3, 3), 0.05, seed=1)
    types = torch.zeros(len(atoms), dtype=torch.int64)
    old = NeighborList(np.array([[CUTOFF]]), skin=1.0)
    for step in range(20):
        atoms = rattled(atoms, 0.01, seed=step)
        atoms.positions[3] += atoms.cell[0] * (step == 7)
        given = atoms.positions, atoms.cell.array, atoms.pbc, types
        for ours, new in zip(
            old.pairs(*given), NeighborList(np.array([[CUTOFF]]), 0.0).pairs(*given), strict=True
        ):
            assert torch.equal(ours, new)
    assert old.builds < 5


def test_tensors_as_on_a_gpu_give_the_same_pairs():
    atoms = rattled(bulk("Cu", cubic=True) * (2, 2, 2), 0.05, seed=1)
    types = torch.arange(len(atoms)) % 2
    cutoffs = np.array([[CUTOFF, CUTOFF - 1], [CUTOFF - 1, CUTOFF - 0.5]])
    arrays, tensors = NeighborList(cutoffs), NeighborList(cutoffs, device="cpu:0")
    for step in range(12):
        atoms = rattled(atoms, 0.1, seed=step)
        if step == 6:
            atoms = strained(atoms, 0.01)
        given = atoms.positions, atoms.cell.array, atoms.pbc, types
        for ours, other in zip(arrays.pairs(*given), tensors.pairs(*given), strict=True):
            assert torch.equal(ours, other)
        assert arrays.closest == pytest.approx(tensors.closest)
    assert arrays.builds == tensors.builds > 1


def test_pairs_at_the_very_cutoff_are_told_in_double_precision():
    for distance, n_pairs in [(CUTOFF - 1e-12, 2), (CUTOFF, 2), (CUTOFF + 1e-12, 0)]:
        atoms = Atoms("Cu2", [[0, 0, 0], [0, 0, distance]])
        assert len(found(NeighborList(np.array([[CUTOFF]])), atoms)) == n_pairs
