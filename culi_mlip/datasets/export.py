"""From a store to files: audited frames in parts, and the dataset card."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from culi_mlip.datasets.audit import Audit, AuditSettings, audit
from culi_mlip.datasets.card import Card, card_text
from culi_mlip.datasets.lattice_constants import kept_lattice_constants
from culi_mlip.datasets.references import composition, fit_energies
from culi_mlip.datasets.sources import LabelSource
from culi_mlip.datasets.split import PARTS, Split, Whole, missed, split_by_group
from culi_mlip.datasets.store import Store
from culi_mlip.errors import DatasetError
from culi_mlip.files import atomic_path, file_digest, write_text
from culi_mlip.records import Record

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
    card: Card


class SplitRecord(Record):
    """How a dataset was split: content of ``split.json``."""

    REMEDY = "make it by dataset split"

    # As in `Split`.
    val: float
    test: float
    by: Whole
    seed: int  # of the split
    # Which labels, as in `label_sources`.
    engine_digest: str | None = None
    mixed: bool = False
    chosen: bool = False  # whether the user chose this split for the dataset, instead of a recipe's
    audit: AuditSettings = AuditSettings()  # thresholds of the audit before it
    parts: dict[str, list[str]]  # content ids of the frames of each part


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


def label_sources(
    store: Store, engine_digest: str | None = None, *, mixed: bool = False
) -> dict[str, LabelSource]:
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
        f"{digest} ({described[digest].name if digest in described else 'unknown'}, {n} labels)"
        for digest, n in known.items()
    )
    if engine_digest is not None and engine_digest not in known:
        raise DatasetError(f"no label is of the engine {engine_digest}: there are {names}")
    if engine_digest is None and len(known) > 1 and not mixed:
        raise DatasetError(
            f"the labels are of {len(known)} engines or settings, {names}: choose one by its "
            "digest, or ask for the mixture"
        )
    return {digest: described[digest] for digest in ([engine_digest] if engine_digest else known)}


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
        As in `label_sources`.

    Returns
    -------
    int
        Number of frames.
    """
    store = open_store(folder)
    label_sources(store, engine_digest, mixed=mixed)
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
    audit_settings: AuditSettings | None = None,
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
        As in `label_sources`.
    audit_settings
        Thresholds of the audit; by default those of the split that the folder has.
    chosen
        Whether the user chose this split for the dataset, instead of a recipe's.
    anew
        Whether an earlier split is forgotten; otherwise its frames stay in their parts as far as
        they belong to groups that were in one part, and only other groups are assigned.

    Raises
    ------
    DatasetError
        If there are too few frames to split, or as `label_sources`.
    """
    folder = Path(folder)
    earlier = {} if anew else parts_of(folder)
    store = open_store(folder)
    sources = label_sources(store, engine_digest, mixed=mixed)
    thresholds = audit_settings or audit_settings_of(folder)
    found = audit(store.frames(engine_digest), thresholds)
    if not found.kept:
        raise DatasetError(f"no frame is fit for training: {found.reasons}")
    parts, sentences = _assigned(store, found, split, seed, engine_digest, earlier)
    written = _write_parts(folder, store.frames(engine_digest), parts)
    split_record = SplitRecord(
        **split.model_dump(),
        seed=seed,
        engine_digest=engine_digest,
        mixed=mixed,
        chosen=chosen,
        audit=thresholds,
        parts={part: [uid for uid, where in parts.items() if where == part] for part in PARTS},
    )
    card = _card(folder, store, sources, found, split_record, written, sentences)
    split_record.write(folder / "split.json")
    card.write(folder / "card.json")
    write_text(folder / "card.md", card_text(card))
    return BuiltDataset(folder, card)


def _assigned(
    store: Store,
    found: Audit,
    split: Split,
    seed: int,
    engine_digest: str | None,
    earlier: Mapping[str, str],
) -> tuple[dict[str, str], list[str]]:
    """The part of each frame that is fit, by content id, and what the split is not."""
    rows = list(zip(*frame_groups(store, split.by, engine_digest), strict=True))
    groups, strata, uids = zip(*(rows[i] for i in found.kept), strict=True)
    shares = {"val": split.val, "test": split.test}
    known = [earlier.get(uid, "") for uid in uids]
    assignment = split_by_group(groups, strata, seed=seed, known=known, **shares)
    for part in PARTS:
        if part not in assignment:
            raise DatasetError(
                f"{len(uids)} frames in {len(set(groups))} groups are too few to split by "
                f"{split.by}: the {part} part is empty; ask for more structures (at least 3)"
                + _FINER[split.by]
            )
    return dict(zip(uids, assignment, strict=True)), missed(groups, strata, assignment, **shares)


@dataclass
class _Written:
    """What was written into the parts' files, summed up frame by frame."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    squares: float = 0.0
    n_stresses: int = 0
    compositions: list[dict[str, int]] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)

    def add(self, atoms: Atoms, part: str) -> None:
        self.counts.setdefault(atoms.info["kind"], dict.fromkeys(PARTS, 0))[part] += 1
        self.sizes.append(len(atoms))
        self.squares += float((atoms.get_forces() ** 2).sum())
        self.n_stresses += "stress" in atoms.calc.results
        if part == "train":
            self.compositions.append(composition(atoms))
            self.energies.append(atoms.get_potential_energy())


def _write_parts(folder: Path, frames: Iterator[Atoms], parts: Mapping[str, str]) -> _Written:
    written = _Written()
    with ExitStack() as stack:
        streams = {}
        for part in PARTS:
            path = stack.enter_context(atomic_path(folder / f"{part}.extxyz"))
            streams[part] = stack.enter_context(path.open("w", encoding="utf-8"))
        for atoms in frames:
            if part := parts.get(atoms.info["uid"], ""):
                ase.io.write(streams[part], atoms, format="extxyz")
                written.add(atoms, part)
    return written


def _card(
    folder: Path,
    store: Store,
    sources: Mapping[str, LabelSource],
    found: Audit,
    split: SplitRecord,
    written: _Written,
    split_missed: Sequence[str],
) -> Card:
    notes = [*found.notes, *(f"{n} labels: {note}" for note, n in store.notes().items())]
    n_frames = len(written.sizes)
    if 0 < written.n_stresses < n_frames:
        notes.append(f"Only {written.n_stresses} of {n_frames} frames have a stress.")
    if split.audit != AuditSettings():
        notes.append(f"Thresholds of the audit: {split.audit}.")
    settings = [source.settings for source in sources.values()]
    return Card(
        engine=" + ".join(sorted({source.name for source in sources.values()})),
        engine_title=" + ".join(sorted({source.title for source in sources.values()})),
        engine_settings=settings if len(settings) > 1 else settings[0],
        engine_digest=" + ".join(sources),
        is_dft=all(source.is_dft for source in sources.values()),
        caution="; ".join(s.caution for s in sources.values() if s.caution) or None,
        notes=notes,
        seed=split.seed,
        split_by=split.by,
        split_chosen=split.chosen,
        split_missed=list(split_missed),
        lattice_constants=kept_lattice_constants(folder),
        species=sorted({s for f in found.findings for s in Atoms(f.formula).symbols}),
        frames={part: len(uids) for part, uids in split.parts.items()},
        frames_by_kind=dict(sorted(written.counts.items())),
        atoms_per_frame=(min(written.sizes), max(written.sizes)),
        force_rms=float(np.sqrt(written.squares / (3 * sum(written.sizes)))),
        reference_energies=fit_energies(written.compositions, written.energies),
        dropped_by_audit=found.reasons,
        failed_labels=dict(Counter(store.failures().values())),
        train_sha256=file_digest(folder / "train.extxyz"),
    )


def chosen_split(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the split of a dataset that its user chose, as arguments of `export_parts`."""
    record = _record(Path(folder))
    if record is None or not record.chosen:
        return None
    split = Split(val=record.val, test=record.test, by=record.by)
    same = {key: record[key] for key in ("seed", "engine_digest", "mixed", "chosen")}
    return {"split": split, **same}


def audit_settings_of(folder: str | os.PathLike[str]) -> AuditSettings:
    """Return the thresholds of the audit before a dataset was split, or the default ones."""
    record = _record(Path(folder))
    return record.audit if record else AuditSettings()


def split_is(folder: str | os.PathLike[str], split: Split, seed: int) -> bool:
    """Whether a dataset has been split in this way already, so that the split can be extended."""
    record = _record(Path(folder))
    kept = record and Split(val=record.val, test=record.test, by=record.by)
    return bool(record and kept == split and record.seed == seed)


def _record(folder: Path) -> SplitRecord | None:
    path = folder / "split.json"
    return SplitRecord.read(path) if path.is_file() else None


def parts_of(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the part of each frame of a dataset's split, by content id."""
    record = _record(Path(folder))
    return {uid: part for part, uids in record.parts.items() for uid in uids} if record else {}


def frame_groups(
    store: Store, by: str, engine_digest: str | None = None
) -> tuple[list[Hashable], list[tuple[str, str]], list[str]]:
    """Return what each labelled frame is kept together with by a split, its stratum and its id.

    Parameters are as in `Split` and `Store.frames`.

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
