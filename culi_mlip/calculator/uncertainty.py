"""How far a model may be wrong, from the features of its last layer.

The energy of an atom is a linear function of the features f in front of the last layer. Let C be
the sum of F Fᵀ over the training frames, F being a frame's features by atom (of few frames, the
sum of f fᵀ over their atoms). The training holds a prediction with features f by its rigidity
1 / R, with R = fᵀ (C + ς²)⁻¹ f (Bigi, Chong, Ceriotti and Grasselli, Mach. Learn.: Sci. Technol. 5,
045018, 2024). Its standard deviation is α √R, with the α and ς under which the errors on
validation frames are likeliest.

That is the uncertainty of energies. The force on an atom is the slope of its own and of its
neighbours' energies: of forces it is α' times the root of the mean R of these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from nequip.data import AtomicDataDict
from numpy.typing import NDArray

from culi_mlip.calculator.graphs import graph_of, joined
from culi_mlip.calculator.members import Members, OfFeatures
from culi_mlip.calculator.neighbors import NeighborList
from culi_mlip.calculator.results import Found, split
from culi_mlip.devices import check_device
from culi_mlip.errors import DatasetError, ModelError
from culi_mlip.models.files import BEST, checkpoint_digest, model_file
from culi_mlip.models.last_layer import FEATURES_KEY
from culi_mlip.progress import Progress, no_progress
from culi_mlip.records import Record

UNCERTAINTY_FILE = "uncertainty.json"
"""In a run folder."""

REGULARISATIONS = 10.0 ** np.arange(-4, -15, -1)
"""ς² in units of the largest eigenvalue of C, of which the likeliest is chosen."""

FALSE_ALARMS = 0.05
"""Share of the validation frames with an atom outside the domain."""

FRAMES_PER_FEATURE = 2
"""With fewer training frames C is that of their atoms, as that of the frames is singular."""

FRAMES_PER_CALL = 8


class UncertaintyRecord(Record):
    """Content of a run folder's ``uncertainty.json``."""

    checkpoint_sha256: str  # of the best checkpoint, which it is of
    metric: list[list[float]]  # M with M Mᵀ = (C + ς²)⁻¹, so that R = |Mᵀ f|²
    energy_scale: float  # α in eV
    force_scale: float | None  # α' in eV/Å; None where the validation frames have no forces
    domain_limit: float  # √R above which an atom is outside the domain
    train_frames: int
    val_frames: int


class Rigidity:
    """Uncertainties by a model's features.

    Parameters
    ----------
    record
        From `calibrate`.
    """

    def __init__(self, record: UncertaintyRecord) -> None:
        self.record = record
        self._metric = np.array(record.metric)

    def __call__(self, features: NDArray[np.float64], graph: dict[str, Any]) -> Found:
        """Return the uncertainties of a graph, which may be that of a batch.

        Returns
        -------
        dict
            ``uncertainty`` and ``domain_distance`` of atoms, ``energy_uncertainty`` of structures;
            see `culi_mlip.calculator.HybridAllegro`.
        """
        record = self.record
        roots = np.sqrt(_with_neighbors(features @ self._metric, graph))
        of_structures = np.add.reduceat(features, _firsts(graph)) @ self._metric
        found = {
            "energy_uncertainty": record.energy_scale * np.linalg.norm(of_structures, axis=1),
            "domain_distance": roots / record.domain_limit,
        }
        if record.force_scale is not None:
            found["uncertainty"] = record.force_scale * roots
        return found


def recorded_uncertainty(path: str | os.PathLike[str]) -> UncertaintyRecord | None:
    """Return what a run folder records of its best model's uncertainties, if anything."""
    folder = Path(path)
    if not (folder / UNCERTAINTY_FILE).exists():
        return None
    record = UncertaintyRecord.read(folder / UNCERTAINTY_FILE)
    return record if record.checkpoint_sha256 == checkpoint_digest(folder) else None


def calibrate(
    run: str | os.PathLike[str],
    train: Sequence[Atoms],
    val: Sequence[Atoms],
    *,
    device: str | None = None,
    progress: Progress = no_progress,
) -> UncertaintyRecord:
    """Gather a model's features on its training frames, and fit the scales on validation frames.

    Parameters
    ----------
    run
        The run folder, which gets ``uncertainty.json``; `HybridAllegro` takes it from there.
    train, val
        Frames with energies, and forces or not.
    device
        "cpu", "cuda" or "cuda:N"; by default the GPU if there is one.
    progress
        Called with (frames done, frames in all).

    Raises
    ------
    DatasetError
        If there are no frames.
    ModelError
        If `run` is no run folder, or its model has no last layer as Allegro's.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise ModelError(f"{run} is no run folder: give one with {BEST}")
    if not train or not val:
        raise DatasetError("no frames to calibrate on: give training and validation frames")
    options: dict[str, Any] = {"compile": False, "target": "batch"}
    raw: OfFeatures = lambda features, graph: {FEATURES_KEY: features}  # noqa: E731
    members = Members([model_file(folder)], check_device(device), of_features=raw, **options)

    def seen(frames: Sequence[Atoms], done: int) -> Iterator[_Seen]:
        for i in range(0, len(frames), FRAMES_PER_CALL):
            yield from _seen(members, frames[i : i + FRAMES_PER_CALL])
            progress(min(done + i + FRAMES_PER_CALL, done + len(frames)), len(train) + len(val))

    of_atoms = [frame.features for frame in seen(train, 0)]
    is_enough = len(of_atoms) >= FRAMES_PER_FEATURE * of_atoms[0].shape[1]
    of_train = np.array([f.mean(0) for f in of_atoms]) if is_enough else np.vstack(of_atoms)
    of_val = list(seen(val, len(train)))
    eigenvalues, vectors = np.linalg.eigh(of_train.T @ of_train)
    largest = eigenvalues.max()
    metrics = [
        vectors / np.sqrt(np.clip(eigenvalues, 0, None) + ridge * largest)
        for ridge in REGULARISATIONS
    ]
    fits = [_fit(metric, of_val) for metric in metrics]
    best = int(np.argmin([fit.surprise for fit in fits]))
    record = UncertaintyRecord(
        checkpoint_sha256=checkpoint_digest(folder),
        metric=metrics[best].tolist(),
        energy_scale=fits[best].energy_scale,
        force_scale=fits[best].force_scale,
        domain_limit=fits[best].domain_limit,
        train_frames=len(train),
        val_frames=len(val),
    )
    record.write(folder / UNCERTAINTY_FILE)
    return record


class _Seen(NamedTuple):
    """A frame's features and errors, and its graph."""

    features: NDArray[np.float64]
    graph: dict[str, Any]
    energy_error: float
    force_errors: NDArray[np.float64] | None  # lengths, of atoms


def _seen(members: Members, frames: Sequence[Atoms]) -> Iterator[_Seen]:
    first = members.first
    graphs = [
        graph_of(frame, first, NeighborList(first.cutoffs, 0.0, members.device)) for frame in frames
    ]
    (found,) = members(joined(graphs))
    for frame, graph, of_frame in zip(
        frames, graphs, split(found, [len(frame) for frame in frames]), strict=True
    ):
        labels = frame.calc.results
        energy = of_frame[AtomicDataDict.TOTAL_ENERGY_KEY].item()
        errors = None
        if "forces" in labels:
            errors = np.linalg.norm(of_frame[AtomicDataDict.FORCE_KEY] - labels["forces"], axis=1)
        yield _Seen(of_frame[FEATURES_KEY], graph, energy - labels["energy"], errors)


class _Fit(NamedTuple):
    """Scales for a metric, and the errors' negative log likelihood but for a constant."""

    energy_scale: float
    force_scale: float | None
    domain_limit: float
    surprise: float


def _fit(metric: NDArray[np.float64], frames: Sequence[_Seen]) -> _Fit:
    roots = [np.sqrt(_with_neighbors(frame.features @ metric, frame.graph)) for frame in frames]
    of_energies = np.array([np.linalg.norm(frame.features.sum(0) @ metric) for frame in frames])
    energy_errors = np.array([frame.energy_error for frame in frames])
    energy_scale, surprise = _scale(energy_errors, of_energies)
    force_scale = None
    labelled = [(f.force_errors, r) for f, r in zip(frames, roots, strict=True)]
    labelled = [(errors, r) for errors, r in labelled if errors is not None]
    if labelled:
        errors, of_forces = (np.concatenate(parts) for parts in zip(*labelled, strict=True))
        force_scale, surprise = _scale(errors, of_forces)
    most = [r.max() for r in roots]
    return _Fit(
        energy_scale,
        force_scale,
        float(np.quantile(most, 1 - FALSE_ALARMS, method="higher")),
        surprise,
    )


def _scale(errors: NDArray[np.float64], roots: NDArray[np.float64]) -> tuple[float, float]:
    """The likeliest scale α of normal errors with deviations α √R, and their surprise."""
    roots = np.maximum(roots, np.finfo(float).tiny)
    scale = float(np.sqrt(np.mean((errors / roots) ** 2)))
    return scale, float(np.log(max(scale, np.finfo(float).tiny)) + np.log(roots).mean())


def _with_neighbors(whitened: NDArray[np.float64], graph: dict[str, Any]) -> NDArray[np.float64]:
    """Mean R of each atom and its neighbours."""
    rigidities = np.square(whitened).sum(1)
    centers, neighbors = graph[AtomicDataDict.EDGE_INDEX_KEY].cpu().numpy()
    n = len(rigidities)
    sums = rigidities + np.bincount(centers, rigidities[neighbors], n)
    means: NDArray[np.float64] = sums / (1 + np.bincount(centers, minlength=n))
    return means


def _firsts(graph: dict[str, Any]) -> NDArray[np.int64]:
    """The first atom of each structure."""
    if AtomicDataDict.NUM_NODES_KEY not in graph:
        return np.zeros(1, dtype=np.int64)
    sizes = graph[AtomicDataDict.NUM_NODES_KEY].cpu().numpy()
    firsts: NDArray[np.int64] = np.cumsum(sizes) - sizes
    return firsts
