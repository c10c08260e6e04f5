"""The dataset card: what the parts hold, who labelled them, how they were split."""

from __future__ import annotations

from typing import Any

from culi_mlip.datasets.lattice_constants import LatticeConstant, listed
from culi_mlip.datasets.split import MEANING
from culi_mlip.records import Record

UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³ (ASE sign and order)"}


class Card(Record):
    """Content of ``card.json``."""

    # Who labelled: name, title and digest, several joined by " + ".
    engine: str
    engine_title: str
    # Settings of the engine; of several a list.
    engine_settings: dict[str, Any] | list[dict[str, Any]]
    engine_digest: str
    is_dft: bool  # whether all labels may be called DFT
    caution: str | None  # what to say wherever results are shown, or None
    notes: list[str]  # what is to be known of the labels, a sentence each
    units: dict[str, str] = UNITS  # of the labels
    # Of the split, and whether the user chose it instead of a recipe.
    seed: int
    split_by: str
    split_chosen: bool
    split_missed: list[str]  # what the split is not, a sentence each
    lattice_constants: dict[str, LatticeConstant] = {}  # those that the recipe left out, by element
    species: list[str]  # chemical symbols in alphabetical order
    frames: dict[str, int]  # how many each part has
    frames_by_kind: dict[str, dict[str, int]]  # the same by kind of structure
    atoms_per_frame: tuple[int, int]  # fewest and most
    force_rms: float  # root mean square force component in eV/Å
    reference_energies: dict[str, float]  # fitted to the training frames, eV/atom by element
    # How many frames were left out, by reason.
    dropped_by_audit: dict[str, int]
    failed_labels: dict[str, int]
    train_sha256: str  # of ``train.extxyz``

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
