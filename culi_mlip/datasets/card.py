"""The dataset card: what the parts hold, who labelled them, how they were split."""

from __future__ import annotations

from typing import Any

from culi_mlip.datasets.lattice_constants import LatticeConstant, listed
from culi_mlip.datasets.split import MEANING
from culi_mlip.records import Record

UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³ (ASE sign and order)"}


class Card(Record):
    """Content of ``card.json``.

    Attributes
    ----------
    engine, engine_title, engine_digest
        Who labelled: name, title and digest, several joined by " + ".
    engine_settings
        Settings of the engine; of several a list.
    is_dft
        Whether all labels may be called DFT.
    caution
        What to say wherever results are shown, or None.
    notes
        What is to be known of the labels, a sentence each.
    units
        Of the labels.
    seed, split_by, split_chosen
        Of the split, and whether the user chose it instead of a recipe.
    split_missed
        What the split is not, a sentence each.
    lattice_constants
        Those that the recipe left out, by element.
    species
        Chemical symbols in alphabetical order.
    frames
        How many each part has.
    frames_by_kind
        The same by kind of structure.
    atoms_per_frame
        Fewest and most.
    force_rms
        Root mean square force component in eV/Å.
    reference_energies
        Fitted to the training frames, eV/atom by element.
    dropped_by_audit, failed_labels
        How many frames were left out, by reason.
    train_sha256
        Of ``train.extxyz``.
    """

    engine: str
    engine_title: str
    engine_settings: dict[str, Any] | list[dict[str, Any]]
    engine_digest: str
    is_dft: bool
    caution: str | None
    notes: list[str]
    units: dict[str, str] = UNITS
    seed: int
    split_by: str
    split_chosen: bool
    split_missed: list[str]
    lattice_constants: dict[str, LatticeConstant] = {}
    species: list[str]
    frames: dict[str, int]
    frames_by_kind: dict[str, dict[str, int]]
    atoms_per_frame: tuple[int, int]
    force_rms: float
    reference_energies: dict[str, float]
    dropped_by_audit: dict[str, int]
    failed_labels: dict[str, int]
    train_sha256: str

    def labels(self) -> dict[str, Any]:
        """Return what a potential's record takes over: who made the labels."""
        names = ("engine", "engine_title", "engine_settings", "is_dft", "caution")
        return {name: self[name] for name in names}


def card_text(card: Card) -> str:
    """Return the dataset card in Markdown."""
    lines = [
        "# Dataset card",
        "",
        f"Labels: {card.engine_title} (settings {card.engine_settings}, "
        f"digest {card.engine_digest}).",
    ]
    if card.caution:
        lines += ["", f"**Caution: {card.caution}.** Do not present them as DFT."]
    lines += ["", "| kind | train | val | test |", "| --- | ---: | ---: | ---: |"]
    for kind, counts in [*card.frames_by_kind.items(), ("all", card.frames)]:
        lines.append(f"| {kind} | {counts['train']} | {counts['val']} | {counts['test']} |")
    low, high = card.atoms_per_frame
    energies = ", ".join(f"{s} {e:.4f}" for s, e in card.reference_energies.items())
    built_with = listed(card.lattice_constants)
    lines += [
        "",
        f"- Species: {', '.join(card.species)}; {low} to {high} atoms a frame.",
        *([f"- Lattice constants: {built_with}."] if built_with else []),
        f"- Root mean square force: {card.force_rms:.3f} eV/Å.",
        f"- Reference energies fitted to the training frames, eV/atom: {energies}.",
        f"- Split by {card.split_by} (seed {card.seed}): {MEANING[card.split_by]}.",
        *(f"- {sentence}" for sentence in [*card.split_missed, *card.notes]),
        f"- Dropped by the audit: {card.dropped_by_audit or 'none'}.",
        f"- Structures that the engine failed on: {card.failed_labels or 'none'}.",
        f"- SHA-256 of train.extxyz: `{card.train_sha256}`.",
        "",
    ]
    return "\n".join(lines)
