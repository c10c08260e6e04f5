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
from culi_mlip.datasets.lattice_constants import kept_lattice_constants, listed
from culi_mlip.datasets.recipe import Split
from culi_mlip.datasets.references import composition, fit_energies
from culi_mlip.datasets.split import MEANING, PARTS, missed, split_by_group
from culi_mlip.datasets.store import Store
from culi_mlip.errors import DatasetError
from culi_mlip.files import atomic_path, read_record, write_json, write_text
from culi_mlip.reference import Engine, get_engine

_FINER = {"parent": ", or split by trajectory", "trajectory": ", or split by frame", "frame": ""}
"""What to try where groups are too few."""


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
            f"({reasons[0][0] if reasons else 'none failed'}): mend the reason, then label them "
            "again with --retry-failed, or change the recipe"
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
    chosen: bool = False,
    anew: bool = True,
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
    chosen
        Whether the user chose this split for the dataset, instead of a recipe's.
    anew
        Whether an earlier split is forgotten; otherwise its frames stay in their parts as far as
        they belong to groups that were in one part, and only other groups are assigned.

    Raises
    ------
    DatasetError
        If there are too few frames to split, or as `label_engines`.
    """
    folder = Path(folder)
    earlier = {} if anew else parts_of(folder)
    store = open_store(folder)
    engines = label_engines(store, engine_digest, mixed=mixed)
    found = audit(store.frames(engine_digest))
    if not found.kept:
        raise DatasetError(f"no frame is fit for training: {found.reasons}")
    kept = set(found.kept)
    rows = list(zip(*frame_groups(store, split.by, engine_digest), strict=True))
    groups, strata, uids = zip(*(rows[i] for i in found.kept), strict=True)
    shares = {"val": split.val, "test": split.test}
    known = [earlier.get(uid, "") for uid in uids]
    assignment = split_by_group(groups, strata, seed=seed, known=known, **shares)
    for part in PARTS:
        if part not in assignment:
            raise DatasetError(
                f"{len(kept)} frames in {len(set(groups))} groups are too few to split by "
                f"{split.by}: the {part} part is empty; ask for more structures (at least 3)"
                + _FINER[split.by]
            )
    part_of = iter(assignment)
    counts: dict[str, dict[str, int]] = {}
    sizes, compositions, energies = [], [], []
    squares, n_components, n_stresses = 0.0, 0, 0
    with ExitStack() as stack:
        streams = {}
        for part in PARTS:
            path = stack.enter_context(atomic_path(folder / f"{part}.extxyz"))
            streams[part] = stack.enter_context(path.open("w", encoding="utf-8"))
        for i, atoms in enumerate(store.frames(engine_digest)):
            if i not in kept:
                continue
            part = next(part_of)
            ase.io.write(streams[part], atoms, format="extxyz")
            counts.setdefault(atoms.info["kind"], dict.fromkeys(PARTS, 0))[part] += 1
            sizes.append(len(atoms))
            squares += float((atoms.get_forces() ** 2).sum())
            n_components += 3 * len(atoms)
            n_stresses += "stress" in atoms.calc.results
            if part == "train":
                compositions.append(composition(atoms))
                energies.append(atoms.get_potential_energy())
    references = fit_energies(compositions, energies)
    notes = [*found.notes, *(f"{n} labels: {note}" for note, n in store.notes().items())]
    if 0 < n_stresses < len(sizes):
        notes.append(f"Only {n_stresses} of {len(sizes)} frames have a stress.")
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
        "notes": notes,
        "units": {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³ (ASE sign and order)"},
        "seed": seed,
        "split_by": split.by,
        "split_chosen": chosen,
        "split_missed": missed(groups, strata, assignment, **shares),
        "lattice_constants": kept_lattice_constants(folder),
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
    record = {
        **split.model_dump(mode="json"),
        "seed": seed,
        "engine_digest": engine_digest,
        "mixed": mixed,
        "chosen": chosen,
        "parts": {
            part: [uid for uid, where in zip(uids, assignment, strict=True) if where == part]
            for part in PARTS
        },
    }
    write_json(folder / "split.json", record)
    write_json(folder / "card.json", card)
    write_text(folder / "card.md", card_text(card))
    return BuiltDataset(folder, card)


def chosen_split(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the split of a dataset that its user chose, as arguments of `export_parts`, or None.

    Parameters
    ----------
    folder
        Of the dataset.
    """
    record = _record(Path(folder))
    if not record.get("chosen"):
        return None
    split = Split(val=record["val"], test=record["test"], by=record["by"])
    same = {key: record[key] for key in ("seed", "engine_digest", "mixed", "chosen")}
    return {"split": split, **same}


def split_is(folder: str | os.PathLike[str], split: Split, seed: int) -> bool:
    """Whether a dataset has been split in this way already, so that the split can be extended."""
    record = _record(Path(folder))
    return {**split.model_dump(mode="json"), "seed": seed}.items() <= record.items()


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "split.json"
    record = read_record(path) if path.is_file() else {}
    if record.get("chosen"):
        record = read_record(path, "val", "test", "by", "seed", "engine_digest", "mixed")
    if not isinstance(record.get("parts", {}), dict):
        raise DatasetError(f"{path} is damaged (it has no parts): make it by dataset split")
    return record


def parts_of(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the part of each frame of a dataset's split, by content id."""
    parts = _record(Path(folder)).get("parts", {})
    return {uid: part for part, uids in parts.items() for uid in uids}


def frame_groups(
    store: Store, by: str, engine_digest: str | None = None
) -> tuple[list[Hashable], list[tuple[str, str]], list[str]]:
    """Return what each labelled frame is kept together with by a split, its stratum and its id.

    Parameters
    ----------
    store
        The store.
    by
        As in `Split`.
    engine_digest
        As in `Store.frames`.

    Returns
    -------
    groups
        By parent, the structure at the root of all that was made from it; frames of one
        trajectory are together in any case.
    strata
        Kind and elements, such as ("adlayer", "Cu-Li").
    uids
        Content ids.
    """
    uids, strata, trajectories = [], [], []
    for atoms in store.frames(engine_digest):
        uids.append(atoms.info["uid"])
        trajectories.append(str(atoms.info.get("trajectory", "")))
        strata.append((str(atoms.info["kind"]), "-".join(sorted({*atoms.symbols}))))
    if by == "frame":
        return list(uids), strata, uids
    own = [name or uid for name, uid in zip(trajectories, uids, strict=True)]
    if by == "trajectory":
        return list(own), strata, uids
    above: dict[str, str] = {}

    def root(name: str) -> str:
        while name in above:
            name = above[name]
        return name

    for uid, parent in [*store.parents().items(), *zip(uids, own, strict=True)]:
        if root(uid) != root(parent):
            above[root(uid)] = root(parent)
    return [root(uid) for uid in uids], strata, uids


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
    built_with = card.get("lattice_constants")
    energies = ", ".join(f"{s} {e:.4f}" for s, e in card["reference_energies"].items())
    lines += [
        "",
        f"- Species: {', '.join(card['species'])}; {low} to {high} atoms a frame.",
        *([f"- Lattice constants: {listed(built_with)}."] if built_with else []),
        f"- Root mean square force: {card['force_rms']:.3f} eV/Å.",
        f"- Reference energies fitted to the training frames, eV/atom: {energies}.",
        f"- Split by {card['split_by']} (seed {card['seed']}): {MEANING[card['split_by']]}.",
        *(f"- {sentence}" for sentence in card["split_missed"]),
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
