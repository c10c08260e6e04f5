"""The neighbour list of a calculator: built with a skin, filtered to the cutoff at each step."""

from __future__ import annotations

import importlib.util
from typing import Any, NamedTuple

import numpy as np
import torch
from ase.geometry import complete_cell
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray
from torch import Tensor

MARGIN = 2e-5
"""In Å: single precision tells what is within the cutoff, but for pairs as close to it as this."""


class Pairs(NamedTuple):
    """Pairs of atoms within the cutoff, each in both directions, ordered by atoms and images.

    They depend on positions and cell alone, not on when the list was built.

    Attributes
    ----------
    edge_index
        Centre and neighbour of each pair, shape (2, pairs).
    shifts
        How many cells the neighbour's image is away, shape (pairs, 3).
    """

    edge_index: Tensor
    shifts: Tensor


class NeighborList:
    """Pairs within a cutoff, from a list with a skin that is built anew only when it must be.

    The list holds all pairs up to the cutoff and the skin. When the cell goes from h₀ to h (rows
    are its vectors), F = h₀⁻¹h, and atom i from x₀ to x₀F + uᵢ, a pair that was farther apart than
    cutoff + skin is still outside the cutoff if

        σ(F) · (cutoff + skin) - 2 max|uᵢ| ≥ cutoff

    with σ the smallest singular value of F, at most 1. While that holds, the list is complete. In
    an unchanged cell this is the rule that no atom has moved by more than half of the skin; a
    translation of all atoms does not count.

    Parameters
    ----------
    cutoffs
        Largest distance in Å of a pair by the types of centre and neighbour, shape (types, types).
    skin
        In Å; 0 builds the list at each call.
    device
        Where the pairs are wanted. On a GPU the list stays there between calls, and is built there
        if nvalchemi-toolkit-ops is installed. On the CPU its arrays are NumPy's, whose operations
        start in half of the time of PyTorch's.

    Attributes
    ----------
    builds
        How many times the list was built.
    n_pairs
        Pairs of the last call.
    closest
        Smallest distance of a pair in the last call in Å, infinite without pairs.
    """

    def __init__(
        self, cutoffs: NDArray[np.float64], skin: float = 1.0, device: str = "cpu"
    ) -> None:
        self.cutoff, self.skin, self.device = float(cutoffs.max()), skin, device
        self._cutoffs = self._array(cutoffs)
        self._pbc: NDArray[np.bool_] | None = None
        self.builds, self.n_pairs, self.closest = 0, 0, np.inf

    def pairs(
        self,
        at: NDArray[np.float64],
        cell: NDArray[np.float64],
        pbc: NDArray[np.bool_],
        types: Tensor,
    ) -> Pairs:
        """Return the pairs within the cutoff.

        Parameters
        ----------
        at
            Positions in Å, shape (atoms, 3).
        cell
            Its vectors in Å as rows; a vector along which there is no period may be zero.
        pbc
            Whether each cell vector is a period.
        types
            Type of each atom, on the list's device.
        """
        positions = self._array(at)
        if not self._is_of(pbc, types):
            self._build(positions, cell, pbc, types)
        elif not np.array_equal(cell, self._cell):
            self._place(positions, cell)
        moved = _without_drift(positions - self._placed_at)
        if not self._is_complete(moved):
            self._build(positions, cell, pbc, types)
            moved = positions - positions
        along = _single(moved.T)
        centers, neighbors = self._edge_index
        vectors = _taken(along, neighbors, 1)
        vectors -= _taken(along, centers, 1)
        vectors += self._vectors
        vectors *= vectors
        distances2 = vectors[0] + vectors[1] + vectors[2]
        self.closest = float(distances2.min()) ** 0.5 if len(distances2) else np.inf
        inside = distances2 <= self._most2
        close = _where(inside & (distances2 > self._least2))
        if len(close):
            inside[close] = self._are_within_cutoff(close, positions)
        inside = _where(inside)
        self.n_pairs = len(inside)
        return Pairs(
            torch.as_tensor(_taken(self._edge_index, inside, 1)),
            torch.as_tensor(_taken(self._shifts, inside, 0)),
        )

    def _array(self, values: Any) -> Any:
        """Numbers as an array of NumPy's, on a GPU as a tensor."""
        if self.device == "cpu":
            return np.asarray(values, dtype=np.float64)
        return torch.as_tensor(values, dtype=torch.float64, device=self.device)

    def _is_of(self, pbc: NDArray[np.bool_], types: Tensor) -> bool:
        """Whether there is a list, of the same atoms and periods."""
        return (
            self._pbc is not None
            and self.skin > 0
            and np.array_equal(pbc, self._pbc)
            and (types is self._types or torch.equal(types, self._types))
        )

    def _is_complete(self, moved: Any) -> bool:
        """Whether the list holds all pairs within the cutoff, for atoms that moved since `_place`.

        The deformation and displacements up to then are known from then.
        """
        stretch, moved_before = self._since_built
        if moved_before is not None:
            moved = _without_drift(moved + moved_before)
        farthest = float((moved * moved).sum(1).max()) ** 0.5
        return stretch * (self.cutoff + self.skin) - 2 * farthest >= self.cutoff

    def _are_within_cutoff(self, of_list: Any, positions: Any) -> Any:
        """Whether some pairs of the list are within the cutoff, in double precision."""
        centers, neighbors = self._edge_index[:, of_list]
        vectors = positions[neighbors] - positions[centers]
        vectors += self._shifts[of_list] @ self._array(self._cell)
        return (vectors * vectors).sum(1) <= self._cutoff_of[of_list] ** 2

    def _build(
        self, positions: Any, cell: NDArray[np.float64], pbc: NDArray[np.bool_], types: Tensor
    ) -> None:
        if self.device != "cpu" and importlib.util.find_spec("nvalchemiops"):
            edge_index, shifts = self._built_on_gpu(positions, cell, pbc)
        else:
            centers, neighbors, images = neighbour_list(
                "ijS",
                positions=np.asarray(positions if self.device == "cpu" else positions.cpu()),
                cell=complete_cell(cell),
                pbc=pbc,
                cutoff=self.cutoff + self.skin,
            )
            edge_index, shifts = np.stack([centers, neighbors]).astype(np.int64), images
        shifts = self._array(shifts)
        if self.device != "cpu":
            edge_index = torch.as_tensor(edge_index, device=self.device)
        order = _order(edge_index, shifts, len(positions))
        self._edge_index, self._shifts = edge_index[:, order], shifts[order]
        of_pairs = types.to(self.device) if self.device != "cpu" else types.numpy()
        self._cutoff_of = self._cutoffs[tuple(of_pairs[self._edge_index])]
        self._least2 = _single((self._cutoff_of - MARGIN) ** 2)
        self._most2 = _single((self._cutoff_of + MARGIN) ** 2)
        self._built_at, self._built_cell = positions + 0.0, cell.copy()
        self._types, self._pbc = types, pbc.copy()
        self._place(positions, cell)
        self.builds += 1

    def _built_on_gpu(
        self, positions: Any, cell: NDArray[np.float64], pbc: NDArray[np.bool_]
    ) -> tuple[Any, Any]:
        from nequip.data import AtomicDataDict
        from nequip.data._nl import alchemiops_batch_cell_list

        data = {
            AtomicDataDict.POSITIONS_KEY: positions,
            AtomicDataDict.CELL_KEY: torch.as_tensor(
                complete_cell(cell), dtype=torch.float64, device=self.device
            ).unsqueeze(0),
            AtomicDataDict.PBC_KEY: torch.as_tensor(pbc, device=self.device).unsqueeze(0),
        }
        data = alchemiops_batch_cell_list(data, self.cutoff + self.skin)
        return data[AtomicDataDict.EDGE_INDEX_KEY], data[AtomicDataDict.EDGE_CELL_SHIFT_KEY]

    def _place(self, positions: Any, cell: NDArray[np.float64]) -> None:
        """Compute the vectors of the pairs; until the cell changes, displacements are added."""
        self._cell, self._placed_at = cell.copy(), positions + 0.0
        self._since_built: tuple[float, Any] = 1.0, None
        if not np.array_equal(cell, self._built_cell):
            deformation = np.linalg.solve(complete_cell(self._built_cell), complete_cell(cell))
            stretch = min(1.0, float(np.linalg.svd(deformation, compute_uv=False)[-1]))
            deformed = self._built_at @ self._array(deformation)
            self._since_built = stretch, positions - deformed
        centers, neighbors = positions[self._edge_index]
        vectors = neighbors - centers
        vectors += self._shifts @ self._array(cell)
        self._vectors = _single(vectors.T)


def _order(edge_index: Any, shifts: Any, n_atoms: int) -> Any:
    """The order of pairs by centre, neighbour and image."""
    width = 2 * int(abs(shifts).max()) + 1 if len(shifts) else 1
    key = edge_index[0] * n_atoms + edge_index[1]
    for column in shifts.T:
        key = key * width + column
    return key.argsort()


def _without_drift(displacements: Any) -> Any:
    return displacements - displacements.mean(0)


# The same of arrays and of tensors, which have other names for it.


def _taken(values: Any, index: Any, axis: int) -> Any:
    if isinstance(values, Tensor):
        return values.index_select(axis, index)
    return values.take(index, axis)


def _where(mask: Any) -> Any:
    return mask.nonzero()[0] if isinstance(mask, np.ndarray) else mask.nonzero().squeeze(1)


def _single(values: Any) -> Any:
    """In single precision, in one piece."""
    if isinstance(values, Tensor):
        return values.float().contiguous()
    return np.ascontiguousarray(values, dtype=np.float32)
