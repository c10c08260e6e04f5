"""Labels that somebody already has, checked before they enter a store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from culi_mlip.datasets.frames import LABELS, LabelKeys, labelled_frames, unread_labels
from culi_mlip.datasets.store import Store
from culi_mlip.errors import CuliError, LabelError
from culi_mlip.labelling.twins import Twins
from culi_mlip.progress import Progress
from culi_mlip.reference import Engine, VaspSettings, get_engine
from culi_mlip.reference.vasp_outputs import VaspRun, accepted_frames, own_frames, read_vasp
from culi_mlip.runs import locked
from culi_mlip.structures import Entry


@dataclass(frozen=True)
class Imported:
    """What became of one file.

    Attributes
    ----------
    path
        The file.
    frames
        How many labelled frames were accepted.
    labelled
        How many of them are labels of structures that waited in the store.
    added
        How many of them are new structures.
    known
        How many of them were left out, as the store has a label of the same structure.
    others
        Digests of the engines of those labels, as far as they are not the frames' own.
    left_out
        How many steps are no labels: their electrons did not converge, or their cell has another
        mesh of k-points by the settings.
    engines
        Digests of the engines that the stored labels are of.
    note
        What is to be said of the labels, or "".
    reason
        Why none was accepted; "" otherwise.
    """

    path: Path
    frames: int = 0
    labelled: int = 0
    added: int = 0
    known: int = 0
    others: tuple[str, ...] = ()
    left_out: int = 0
    engines: tuple[str, ...] = ()
    note: str = ""
    reason: str = ""


def import_vasp(
    folder: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]],
    settings: VaspSettings,
    *,
    as_computed: bool = False,
    kind: str = "imported",
    progress: Progress | None = None,
) -> list[Imported]:
    """Add the labels of VASP's outputs that were computed as the settings ask.

    A frame that is a structure of the store, with the same atoms within 1e-3 Å, becomes its label
    if it waits for one, and is left out if it has one: the same run, read from OUTCAR and
    vasprun.xml, enters once. Others are added, the ionic steps of one run as one trajectory whose
    first step is the parent of all.

    Parameters
    ----------
    folder
        Of the dataset; its store is made when the first label is accepted.
    paths
        vasprun.xml or OUTCAR files, plain or packed.
    settings
        What labels must be of.
    as_computed
        Whether a run of other settings enters with an engine of its own, whose settings are what
        the output says. Labels of two engines are never mixed unless somebody asks for it.
    kind
        Kind of the structures that are added.
    progress
        Called with (files done, all).

    Returns
    -------
    list of Imported
        One for each file.
    """

    def read(path: Path) -> _Labels:
        run = read_vasp(path)
        frames = _vasp_labels(run, settings, as_computed)
        unknown = ", ".join(run.inputs.unknown())
        note = f"does not show {unknown}: taken as asked for" if unknown else ""
        return _Labels(frames, len(run.frames) - len(frames), True, note)

    return _import(folder, paths, read, kind, progress)


def import_frames(
    folder: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]],
    engine: Engine,
    *,
    keys: LabelKeys | None = None,
    is_trajectory: bool = False,
    kind: str = "imported",
    progress: Progress | None = None,
) -> list[Imported]:
    """Add labelled frames of files, all of a file or none.

    They meet the structures of the store as in `import_vasp`. Parent and trajectory that a frame
    has in its info, as in our own exports, are kept.

    Parameters
    ----------
    folder, kind, progress
        As in `import_vasp`.
    paths
        Extended XYZ files, ASE databases, or others that ASE reads; energies in eV, forces in
        eV/Å, stresses in eV/Å³. An energy that ASE calls free_energy stands before its energy.
    engine
        Who labelled them; ``get_engine("imported", ...)`` for a code that is none of ours.
    keys
        Names of the labels in the files.
    is_trajectory
        Whether the frames of each file are steps of one trajectory, which splits keep whole.

    Returns
    -------
    list of Imported
        One for each file.
    """

    def read(path: Path) -> _Labels:
        frames = [(atoms, engine) for atoms in _whole_frames(path, keys or LabelKeys())]
        return _Labels(frames, is_trajectory=is_trajectory)

    return _import(folder, paths, read, kind, progress)


def _whole_frames(path: Path, keys: LabelKeys) -> list[Atoms]:
    """Frames of a file, each with energy and forces, all finite.

    Raises
    ------
    CuliError
        If there is none, or one is not so.
    """
    frames = labelled_frames(path, keys)
    hint = unread_labels(frames, keys)
    for n, atoms in enumerate(frames):
        results = atoms.calc.results
        if keys.energy is None:
            results["energy"] = results.get("free_energy", results.get("energy"))
        missing = [label for label in ("energy", "forces") if results.get(label) is None]
        if missing:
            remedy = hint or "give the name of its values, as by --forces-key"
            raise LabelError(f"{path}, frame {n}: no label for {' and '.join(missing)}; {remedy}")
        for label in LABELS:
            if not np.isfinite(results.get(label, 0.0)).all():
                raise LabelError(f"{path}, frame {n}: the {label} holds NaN or infinity: mend it")
        atoms.info["step"] = n + 1
    if hint:
        raise LabelError(f"{path}: {hint}")
    return frames


@dataclass(frozen=True)
class _Labels:
    """Labelled frames of a file, each with its engine."""

    frames: Sequence[tuple[Atoms, Engine]]
    left_out: int = 0
    is_trajectory: bool = False
    note: str = ""


def _vasp_labels(
    run: VaspRun, settings: VaspSettings, as_computed: bool
) -> list[tuple[Atoms, Engine]]:
    try:
        frames = accepted_frames(run, settings)
    except LabelError:
        if not as_computed:
            raise
        own = own_frames(run, settings)
        distinct = {str(values): values for _, values in own}
        engines = {key: _as_computed(values) for key, values in distinct.items()}
        return [(atoms, engines[str(values)]) for atoms, values in own]
    engine = get_engine("vasp", settings)
    return [(atoms, engine) for atoms in frames]


def _as_computed(values: Mapping[str, Any]) -> Engine:
    return get_engine("imported", {"code": "VASP", "is_dft": True, "settings": values})


def _import(
    folder: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]],
    read: Callable[[Path], _Labels],
    kind: str,
    progress: Progress | None,
) -> list[Imported]:
    if not kind.strip():
        raise LabelError("the kind of the structures is empty: name it")
    files = [Path(path) for path in paths]
    outcomes = []
    with ExitStack() as stack:
        twins: Twins | None = None  # no store is made before there is a label
        for n, path in enumerate(files, 1):
            try:
                labels = read(path)
            except CuliError as error:
                outcomes.append(Imported(path, reason=str(error)))
            else:
                if twins is None:
                    twins = Twins(Store(stack.enter_context(locked(folder)) / "store.db"))
                outcomes.append(_store(twins, path, labels, kind))
            if progress:
                progress(n, len(files))
    return outcomes


def _store(twins: Twins, path: Path, labels: _Labels, kind: str) -> Imported:
    """Store what a file has, all or nothing."""
    store = twins.store
    trajectory, parent = _origin(twins, path, labels)
    labelled = added = known = 0
    engines, others = [], []
    with store.transaction():
        for atoms, engine in labels.frames:
            twin = twins.find(atoms)
            results: dict[str, Any] = dict(atoms.calc.results)
            if twin is None:
                how = {"source": str(path.absolute()), "step": atoms.info["step"]}
                entry = Entry(
                    atoms,
                    kind,
                    parent=str(atoms.info.get("parent") or parent),
                    trajectory=str(atoms.info.get("trajectory") or trajectory),
                    how=how,
                    results=results,
                )
                store.add([entry], engine)
                twins.add(entry, engine.digest)
                added += 1
            elif twin.engine:
                entry = twin.entry
                known += 1
                others += [twin.engine] * (twin.engine != engine.digest)
            else:
                entry = twin.entry
                results["forces"] = results["forces"][twin.order]
                store.label(twin.row_id, results, engine)
                twins.label(twin, engine.digest)
                labelled += 1
            if twin is None or twin.engine in ("", engine.digest):
                engines.append(engine.digest)
            if labels.is_trajectory:
                parent = parent or entry.uid
    return Imported(
        path,
        len(labels.frames),
        labelled,
        added,
        known,
        tuple(dict.fromkeys(others)),
        labels.left_out,
        tuple(dict.fromkeys(engines)),
        labels.note,
    )


def _origin(twins: Twins, path: Path, labels: _Labels) -> tuple[str, str]:
    """Name of the trajectory of a file's frames, and their parent.

    They are those of the frames that are in the store already, as a part of the same run.
    """
    if not labels.is_trajectory or len(labels.frames) < 2:
        return "", ""
    for atoms, _ in labels.frames:
        if twin := twins.find(atoms):
            same = twin.entry
            return same.trajectory or str(path.absolute()), same.parent or same.uid
    return str(path.absolute()), ""
