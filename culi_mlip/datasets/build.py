"""From a recipe to a dataset on disk: structures, labels, audit, split, export, card."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from culi_mlip.datasets.audit import Audit, audit
from culi_mlip.datasets.executors import LOCAL, Workers, open_executor
from culi_mlip.datasets.labelling import Progress, label_pending, sample_trajectories
from culi_mlip.datasets.recipe import Recipe
from culi_mlip.datasets.references import fit_reference_energies
from culi_mlip.datasets.split import split_by_group
from culi_mlip.datasets.store import Store
from culi_mlip.errors import DatasetError
from culi_mlip.files import write_frames, write_json, write_text
from culi_mlip.reference import Engine, get_engine
from culi_mlip.runs import is_finished, run_folder
from culi_mlip.structures import Entry, campaign

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class BuiltDataset:
    """A dataset on disk.

    Attributes
    ----------
    folder
        Holds ``store.db``, ``train|val|test.extxyz``, ``card.md`` and ``card.json``.
    card
        Content of ``card.json``.
    """

    folder: Path
    card: Mapping[str, Any]


def build_dataset(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    workers: Workers = LOCAL,
    retry_failed: bool = False,
    step: Callable[[str], Progress] | None = None,
) -> BuiltDataset:
    """Build, label, audit, split and export a dataset; continue where a killed run stopped.

    Parameters
    ----------
    recipe
        What to build.
    out
        Folder of the dataset.
    workers
        Who labels.
    retry_failed
        Whether structures that failed are tried once more.
    step
        Called with the name of each long step; returns what to call as it advances.

    Returns
    -------
    BuiltDataset

    Raises
    ------
    CuliError
        If the folder holds another recipe's dataset.
    DatasetError
        If nothing could be labelled, or there are too few frames to split.
    """
    step = step or (lambda name: lambda done, total: None)
    engine = get_engine(recipe.engine.name, recipe.engine.settings)
    inputs = recipe.model_dump(mode="json")
    folder = Path(out)
    is_finished(folder, inputs)  # refuses another recipe's
    entries = list(campaign(recipe))
    with run_folder(folder, "build-dataset", inputs):
        store = Store(folder / "store.db")
        store.add(entries)
        if retry_failed:
            store.retry()
        _label(store, entries, recipe, engine, workers, step)
        return _export(store, recipe, engine, folder)


def _label(
    store: Store,
    entries: Sequence[Entry],
    recipe: Recipe,
    engine: Engine,
    workers: Workers,
    step: Callable[[str], Progress],
) -> None:
    """Label all structures and sample, with new workers where some died."""
    while True:
        with contextlib.suppress(BrokenExecutor), open_executor(workers, store.path.parent) as used:
            label_pending(
                store,
                engine,
                executor=used,
                in_flight=workers.in_flight,
                per_call=workers.per_job,
                progress=step("Labelling structures"),
            )
            if recipe.sampling:
                starts = [
                    e
                    for e in entries
                    if e.kind in recipe.sampling.kinds and "disorder" not in e.how
                ]
                sample_trajectories(
                    store,
                    starts,
                    recipe.sampling,
                    engine,
                    seed=recipe.seed,
                    executor=used,
                    progress=step("Short molecular dynamics"),
                )
            return


def _export(store: Store, recipe: Recipe, engine: Engine, folder: Path) -> BuiltDataset:
    # Frames in the order of their ids: the same files however often the run was interrupted.
    frames = sorted(store.frames(), key=lambda atoms: str(atoms.info["uid"]))
    if not frames:
        reasons = Counter(store.failures().values()).most_common(1)
        raise DatasetError(
            f"{engine.title} labelled none of {len(store)} structures "
            f"({reasons[0][0] if reasons else 'none were made'}): mend the recipe"
        )
    found = audit(frames)
    kept = [frames[i] for i in found.kept]
    assignment = split_by_group(
        [atoms.info.get("trajectory", atoms.info["uid"]) for atoms in kept],
        [atoms.info["kind"] for atoms in kept],
        val=recipe.split.val,
        test=recipe.split.test,
        seed=recipe.seed,
    )
    parts = {
        part: [a for a, where in zip(kept, assignment, strict=True) if where == part]
        for part in PARTS
    }
    if not all(parts.values()):
        empty = next(part for part, members in parts.items() if not members)
        raise DatasetError(
            f"{len(kept)} frames are too few to split: the {empty} part is empty; "
            "ask the recipe for more structures of a kind (at least 3)"
        )
    for part, members in parts.items():
        write_frames(folder / f"{part}.extxyz", members)
    card = _card(parts, found, store, recipe, engine, folder)
    write_json(folder / "card.json", card)
    write_text(folder / "card.md", _card_text(card))
    return BuiltDataset(folder, card)


def _card(
    parts: Mapping[str, list[Atoms]],
    found: Audit,
    store: Store,
    recipe: Recipe,
    engine: Engine,
    folder: Path,
) -> dict[str, Any]:
    everything = [atoms for members in parts.values() for atoms in members]
    forces = np.concatenate([atoms.get_forces().ravel() for atoms in everything])
    digest = hashlib.sha256((folder / "train.extxyz").read_bytes()).hexdigest()
    kinds = sorted({atoms.info["kind"] for atoms in everything})
    return {
        "engine": engine.name,
        "engine_title": engine.title,
        "engine_settings": engine.settings.model_dump(mode="json"),
        "engine_digest": engine.digest,
        "is_dft": engine.is_dft,
        "caution": engine.caution,
        "units": {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³ (ASE sign and order)"},
        "seed": recipe.seed,
        "species": sorted({s for atoms in everything for s in atoms.symbols}),
        "frames": {part: len(members) for part, members in parts.items()},
        "frames_by_kind": {
            kind: {
                part: sum(atoms.info["kind"] == kind for atoms in members)
                for part, members in parts.items()
            }
            for kind in kinds
        },
        "atoms_per_frame": [min(map(len, everything)), max(map(len, everything))],
        "force_rms": float(np.sqrt((forces**2).mean())),
        "reference_energies": fit_reference_energies(parts["train"]),
        "dropped_by_audit": found.reasons,
        "failed_labels": dict(Counter(store.failures().values())),
        "train_sha256": digest,
    }


def _card_text(card: Mapping[str, Any]) -> str:
    lines = [
        "# Dataset card",
        "",
        f"Labels: {card['engine_title']} (settings {card['engine_settings']}, "
        f"digest {card['engine_digest']}).",
    ]
    if card["caution"]:
        lines += ["", f"**Caution: {card['caution']}.** Do not present them as DFT."]
    lines += ["", "| kind | train | val | test |", "| --- | ---: | ---: | ---: |"]
    for kind, counts in card["frames_by_kind"].items():
        lines.append(f"| {kind} | {counts['train']} | {counts['val']} | {counts['test']} |")
    total = card["frames"]
    lines.append(f"| all | {total['train']} | {total['val']} | {total['test']} |")
    low, high = card["atoms_per_frame"]
    energies = ", ".join(f"{s} {e:.4f}" for s, e in card["reference_energies"].items())
    lines += [
        "",
        f"- Species: {', '.join(card['species'])}; {low} to {high} atoms a frame.",
        f"- Root mean square force: {card['force_rms']:.3f} eV/Å.",
        f"- Reference energies fitted to the training frames, eV/atom: {energies}.",
        f"- Frames of one trajectory are all in one part (seed {card['seed']}).",
        f"- Dropped by the audit: {card['dropped_by_audit'] or 'none'}.",
        f"- Structures that the engine failed on: {card['failed_labels'] or 'none'}.",
        f"- SHA-256 of train.extxyz: `{card['train_sha256']}`.",
        "",
    ]
    return "\n".join(lines)
