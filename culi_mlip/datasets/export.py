"""From a store to files: audited frames in parts, and the dataset card."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from culi_mlip.datasets.audit import audit
from culi_mlip.datasets.recipe import Split
from culi_mlip.datasets.references import composition, fit_energies
from culi_mlip.datasets.split import split_by_group
from culi_mlip.datasets.store import Store
from culi_mlip.errors import DatasetError
from culi_mlip.files import atomic_path, write_json, write_text
from culi_mlip.reference import Engine, get_engine

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


def open_store(folder: str | os.PathLike[str]) -> Store:
    """Open the store of a dataset.

    Raises
    ------
    DatasetError
        If the folder has none.
    """
    path = Path(folder) / "store.db"
    if not path.is_file():
        raise DatasetError(
            f"{folder} holds no store.db: give the folder of culi-mlip build-dataset or label add"
        )
    return Store(path)


def label_engines(
    store: Store, engine_digest: str | None = None, *, mixed: bool = False
) -> dict[str, Engine]:
    """Return the engines of the labels to export, by digest.

    Parameters
    ----------
    store
        The store.
    engine_digest
        The only one that is wanted, or None.
    mixed
        Whether several may be mixed.

    Raises
    ------
    DatasetError
        If there are no labels, or labels of several engines or settings are not to be mixed.
    """
    known = store.digests()
    if not known:
        reasons = Counter(store.failures().values()).most_common(1)
        raise DatasetError(
            f"none of the {len(store)} structures is labelled "
            f"({reasons[0][0] if reasons else 'none failed'}): mend the recipe"
        )
    described = store.engines
    names = ", ".join(
        f"{digest} ({described.get(digest, {}).get('name', 'unknown')}, {n} labels)"
        for digest, n in known.items()
    )
    if engine_digest is not None and engine_digest not in known:
        raise DatasetError(f"no label is of the engine {engine_digest}: there are {names}")
    if engine_digest is None and len(known) > 1 and not mixed:
        raise DatasetError(
            f"the labels are of {len(known)} engines or settings, {names}: choose one by its "
            "digest, or ask for the mixture"
        )
    return {
        digest: get_engine(described[digest]["name"], described[digest]["settings"])
        for digest in ([engine_digest] if engine_digest else known)
    }


def export_frames(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    engine_digest: str | None = None,
    mixed: bool = False,
) -> int:
    """Write all labelled frames of a store, as they are, to one extended XYZ file.

    Parameters
    ----------
    folder
        Of the dataset.
    out
        The file.
    engine_digest, mixed
        As in `label_engines`.

    Returns
    -------
    int
        Number of frames.
    """
    store = open_store(folder)
    label_engines(store, engine_digest, mixed=mixed)
    n = 0
    with atomic_path(out) as path, path.open("w", encoding="utf-8") as stream:
        for n, atoms in enumerate(store.frames(engine_digest), 1):  # noqa: B007
            ase.io.write(stream, atoms, format="extxyz")
    return n


def export_parts(
    folder: str | os.PathLike[str],
    *,
    split: Split,
    seed: int,
    engine_digest: str | None = None,
    mixed: bool = False,
) -> BuiltDataset:
    """Audit the labelled frames of a store, split them and write the parts and the card.

    Frames are read one at a time and written in the order of their ids: the same files however
    often the labelling was interrupted.

    Parameters
    ----------
    folder
        Of the dataset.
    split
        Shares, and what stays whole.
    seed
        Of the split.
    engine_digest, mixed
        As in `label_engines`.

    Raises
    ------
    DatasetError
        If there are too few frames to split, or as `label_engines`.
    """
    folder = Path(folder)
    store = open_store(folder)
    engines = label_engines(store, engine_digest, mixed=mixed)
    found = audit(store.frames(engine_digest))
    if not found.kept:
        raise DatasetError(f"no frame is fit for training: {found.reasons}")
    kept = set(found.kept)
    groups, kinds = frame_groups(store, split.by, engine_digest)
    assignment = split_by_group(
        [groups[i] for i in found.kept],
        [kinds[i] for i in found.kept],
        val=split.val,
        test=split.test,
        seed=seed,
    )
    for part in PARTS:
        if part not in assignment:
            raise DatasetError(
                f"{len(kept)} frames are too few to split: the {part} part is empty; "
                "ask the recipe for more structures of a kind (at least 3)"
            )
    chosen = iter(assignment)
    counts: dict[str, dict[str, int]] = {}
    sizes, compositions, energies = [], [], []
    squares, n_components = 0.0, 0
    with ExitStack() as stack:
        streams = {}
        for part in PARTS:
            path = stack.enter_context(atomic_path(folder / f"{part}.extxyz"))
            streams[part] = stack.enter_context(path.open("w", encoding="utf-8"))
        for i, atoms in enumerate(store.frames(engine_digest)):
            if i not in kept:
                continue
            part = next(chosen)
            ase.io.write(streams[part], atoms, format="extxyz")
            counts.setdefault(atoms.info["kind"], dict.fromkeys(PARTS, 0))[part] += 1
            sizes.append(len(atoms))
            squares += float((atoms.get_forces() ** 2).sum())
            n_components += 3 * len(atoms)
            if part == "train":
                compositions.append(composition(atoms))
                energies.append(atoms.get_potential_energy())
    references = fit_energies(compositions, energies)
    cautions = [e.caution for e in engines.values() if e.caution]
    card = {
        "engine": " + ".join(sorted({e.name for e in engines.values()})),
        "engine_title": " + ".join(sorted({e.title for e in engines.values()})),
        "engine_settings": [e.settings.model_dump(mode="json") for e in engines.values()]
        if len(engines) > 1
        else next(iter(engines.values())).settings.model_dump(mode="json"),
        "engine_digest": " + ".join(engines),
        "is_dft": all(e.is_dft for e in engines.values()),
        "caution": "; ".join(cautions) or None,
        "notes": [*found.notes, *(f"{n} labels: {note}" for note, n in store.notes().items())],
        "units": {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³ (ASE sign and order)"},
        "seed": seed,
        "split_by": split.by,
        "species": sorted({s for f in found.findings for s in Atoms(f.formula).symbols}),
        "frames": {part: assignment.count(part) for part in PARTS},
        "frames_by_kind": dict(sorted(counts.items())),
        "atoms_per_frame": [min(sizes), max(sizes)],
        "force_rms": float(np.sqrt(squares / n_components)),
        "reference_energies": references,
        "dropped_by_audit": found.reasons,
        "failed_labels": dict(Counter(store.failures().values())),
        "train_sha256": _sha256(folder / "train.extxyz"),
    }
    write_json(folder / "card.json", card)
    write_text(folder / "card.md", card_text(card))
    return BuiltDataset(folder, card)


def frame_groups(
    store: Store, by: str, engine_digest: str | None = None
) -> tuple[list[Hashable], list[str]]:
    """Return what each labelled frame is kept together with by a split, and its kind.

    Parameters
    ----------
    store
        The store.
    by
        As in `Split`.
    engine_digest
        As in `Store.frames`.
    """
    parents = store.parents()

    def root(uid: str) -> str:
        seen = set()
        while uid in parents and uid not in seen:
            seen.add(uid)
            uid = parents[uid]
        return uid

    groups: list[Hashable] = []
    kinds = []
    for atoms in store.frames(engine_digest):
        uid = atoms.info["uid"]
        kinds.append(atoms.info["kind"])
        if by == "parent":
            groups.append(root(uid))
        elif by == "trajectory":
            groups.append(atoms.info.get("trajectory", uid))
        else:
            groups.append(uid)
    return groups, kinds


def card_text(card: Mapping[str, Any]) -> str:
    """Return the dataset card in Markdown."""
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
    whole = {
        "trajectory": "Frames of one trajectory are all in one part",
        "parent": "A structure and all that was made from it are in one part",
        "frame": "The split is random",
    }[card["split_by"]]
    lines += [
        "",
        f"- Species: {', '.join(card['species'])}; {low} to {high} atoms a frame.",
        f"- Root mean square force: {card['force_rms']:.3f} eV/Å.",
        f"- Reference energies fitted to the training frames, eV/atom: {energies}.",
        f"- {whole} (seed {card['seed']}).",
        *(f"- {note}" for note in card["notes"]),
        f"- Dropped by the audit: {card['dropped_by_audit'] or 'none'}.",
        f"- Structures that the engine failed on: {card['failed_labels'] or 'none'}.",
        f"- SHA-256 of train.extxyz: `{card['train_sha256']}`.",
        "",
    ]
    return "\n".join(lines)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
