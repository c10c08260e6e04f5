"""Splits into training, validation and test frames that keep groups whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from culi_mlip.configuration import Configuration

PARTS = ("train", "val", "test")

Whole = Literal["trajectory", "parent", "frame"]
"""What a split keeps whole."""

MEANING = {
    "parent": "an ideal structure and all that was made from it are in one part, so that errors "
    "on test frames are those on structures of parents that training did not have",
    "trajectory": "frames of one trajectory are in one part, but test frames have their parents or "
    "siblings in training: errors on structures of other parents are larger",
    "frame": "at random, so that test frames have their parents or siblings in training: errors "
    "on structures of other parents are larger",
}
"""What the errors on test frames are, by what a split keeps whole."""

ENOUGH = 3
"""Groups of a stratum from which each part gets one."""

TOLERANCE = 0.25
"""Deviation of a share, relative to what was asked for, that is worth a word."""


class Split(Configuration):
    """Validation and test frames; the rest is the training set.

    Attributes
    ----------
    val, test
        Shares of the frames.
    by
        What stays whole: "parent" is an ideal structure with all that was made from it, through
        all generations (adsorbates on a slab, disordered copies, trajectories); "trajectory" lets
        test frames have siblings in training; "frame" is a random split.
    """

    val: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.1, gt=0, lt=1)
    by: Whole = "parent"

    @model_validator(mode="after")
    def _leaves_frames_for_training(self) -> Split:
        if self.val + self.test >= 1:
            raise ValueError(f"val and test are {self.val + self.test:g} in all: leave some frames")
        return self


def split_by_group(
    groups: Sequence[Hashable],
    strata: Sequence[Hashable],
    *,
    val: float,
    test: float,
    seed: int,
    known: Sequence[str] | None = None,
) -> list[str]:
    """Assign frames to "train", "val" or "test", whole groups at a time.

    All groups begin in training. First, test and validation get a group of each stratum that has
    `ENOUGH` of them, the rarest stratum first. Then the groups are gone through in random order,
    and one moves where that brings the shares of its strata, and of all frames, nearer to what
    was asked, by the sum of squared deviations, each divided by the frames of its stratum. The
    last group of a stratum does not leave training, unless a part would be empty.

    Parameters
    ----------
    groups
        Group of each frame.
    strata
        Stratum of each frame. A tuple is a stratum within that of its first items, so that
        ``("bulk", "Cu")`` counts for ``("bulk",)`` too.
    val, test
        Shares of the frames.
    seed
        Seed of the order.
    known
        Part of each frame in an earlier split, or "". A group with such a frame stays where it
        was; one whose frames were in several parts goes to training.

    Returns
    -------
    list of str
        One assignment a frame.
    """
    sizes: dict[Hashable, Counter[Hashable]] = {}
    placed: dict[Hashable, str] = {}
    for i, (group, stratum) in enumerate(zip(groups, strata, strict=True)):
        sizes.setdefault(group, Counter()).update([None, *_levels(stratum)])
        if known and known[i]:
            placed[group] = known[i] if placed.get(group, known[i]) == known[i] else "train"
    parts = _Parts(sizes, {"test": test, "val": val}, placed)
    names = [group for group in sizes if group not in placed]
    rng = np.random.default_rng(seed)
    order = [names[i] for i in rng.permutation(len(names))]
    parts.cover(order)
    parts.fill(order)
    return [parts.of[group] for group in groups]


def missed(
    groups: Sequence[Hashable],
    strata: Sequence[tuple[str, ...]],
    assignment: Sequence[str],
    *,
    val: float,
    test: float,
) -> list[str]:
    """Say what a split is not: shares that are far from those asked for, strata that a part lacks.

    Each is a sentence. The parameters are those of `split_by_group`, and the part of each frame.
    """
    sentences = []
    for part, wanted in (("val", val), ("test", test)):
        share = Counter(assignment)[part] / len(assignment)
        if abs(share - wanted) > max(TOLERANCE * wanted, 1 / len(assignment)):
            sentences.append(
                f"The {part} part has {share:.1%} of the frames, {wanted:.1%} were asked for."
            )
    members: dict[tuple[str, ...], set[Hashable]] = {}
    present: dict[tuple[str, ...], set[str]] = {}
    for group, stratum, part in zip(groups, strata, assignment, strict=True):
        members.setdefault(stratum, set()).add(group)
        present.setdefault(stratum, set()).add(part)
    for stratum in sorted(members):
        lacking = [part for part in PARTS if part not in present[stratum]]
        if lacking:
            n = len(members[stratum])
            sentences.append(
                f"No {' of '.join(stratum)} in {' and '.join(lacking)}: there "
                f"{'is' if n == 1 else 'are'} {n} group{'s' * (n > 1)} of it, and each part needs "
                "its own."
            )
    return sentences


def _levels(stratum: Hashable) -> Iterable[Hashable]:
    if not isinstance(stratum, tuple):
        return (stratum,)
    return tuple(stratum[: n + 1] for n in range(len(stratum)))


class _Parts:
    """Which group is where, and how many frames of each stratum that makes.

    The stratum None is all frames.
    """

    def __init__(
        self,
        sizes: dict[Hashable, Counter[Hashable]],
        shares: dict[str, float],
        placed: dict[Hashable, str],
    ) -> None:
        self.sizes = sizes
        self.shares = shares
        self.of = {group: placed.get(group, "train") for group in sizes}
        self.totals: Counter[Hashable] = Counter()
        self.n_groups: Counter[Hashable] = Counter()
        self.filled: dict[str, Counter[Hashable]] = {part: Counter() for part in PARTS}
        self.groups_in: dict[str, Counter[Hashable]] = {part: Counter() for part in PARTS}
        for group, counts in sizes.items():
            self.totals += counts
            self.n_groups.update(list(counts))
            self.filled[self.of[group]] += counts
            self.groups_in[self.of[group]].update(list(counts))

    def cover(self, order: Sequence[Hashable]) -> None:
        """Give each part a group of every stratum that has enough of them."""
        members: dict[Hashable, list[Hashable]] = {}
        for group in order:
            for stratum in self.sizes[group]:
                members.setdefault(stratum, []).append(group)
        for stratum in sorted(members, key=lambda s: self.n_groups[s]):
            for part in self.shares:
                if self._lacks(part, stratum):
                    free = [g for g in members[stratum] if self._may_leave(g, part)]
                    if free:
                        self._move(min(free, key=lambda g: self._gain(g, part)), part)
        for part in self.shares:  # of few groups, rather one kind too few in training than none
            free = [g for g in order if self.of[g] == "train"]
            if self._lacks(part, None) and free:
                self._move(min(free, key=lambda g: (self._last(g), self._gain(g, part))), part)

    def fill(self, order: Sequence[Hashable]) -> None:
        """Bring the shares nearer to what was asked for."""
        for part in self.shares:
            for group in order:
                if self._may_leave(group, part) and self._gain(group, part) < 0:
                    self._move(group, part)

    def _lacks(self, part: str, stratum: Hashable) -> bool:
        return self.n_groups[stratum] >= ENOUGH and not self.groups_in[part][stratum]

    def _may_leave(self, group: Hashable, part: str) -> bool:
        """Whether training keeps a group of each stratum, and one for the part that has none."""
        return self.of[group] == "train" and all(
            self.groups_in["train"][stratum]
            > 1 + sum(self._lacks(other, stratum) for other in self.shares if other != part)
            for stratum in self.sizes[group]
        )

    def _last(self, group: Hashable) -> int:
        """Of how many strata a group is the last in training."""
        return sum(self.groups_in["train"][stratum] == 1 for stratum in self.sizes[group])

    def _gain(self, group: Hashable, part: str) -> float:
        """Change of the squared deviations of a part's shares, if it gets a group."""
        change = 0.0
        for stratum, size in self.sizes[group].items():
            total = self.totals[stratum]
            excess = self.filled[part][stratum] - self.shares[part] * total
            change += (2 * excess * size + size**2) / total
        return change

    def _move(self, group: Hashable, part: str) -> None:
        counts = self.sizes[group]
        for place, sign in ((self.of[group], -1), (part, 1)):
            for stratum, size in counts.items():
                self.filled[place][stratum] += sign * size
                self.groups_in[place][stratum] += sign
        self.of[group] = part
