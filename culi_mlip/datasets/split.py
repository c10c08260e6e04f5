"""Splits into training, validation and test frames that keep trajectories whole."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def split_by_group(
    groups: Sequence[Hashable],
    strata: Sequence[Hashable],
    *,
    val: float,
    test: float,
    seed: int,
) -> list[str]:
    """Assign frames to "train", "val" or "test", whole groups at a time.

    In each stratum (kind of structure) the groups are shuffled; then whole groups are given
    to test, and to validation, as long as that brings their share of the stratum's frames
    nearer to what was asked. A stratum of three or more groups gives at least one to each; a
    stratum of one or two stays in training.

    Parameters
    ----------
    groups
        Group of each frame: frames of one trajectory share one.
    strata
        Stratum of each frame; all frames of a group have the same.
    val, test
        Shares of the frames.
    seed
        Seed of the shuffle.

    Returns
    -------
    list of str
        One assignment a frame.
    """
    rng = np.random.default_rng(seed)
    sizes: dict[Hashable, dict[Hashable, int]] = {}
    for group, stratum in zip(groups, strata, strict=True):
        members = sizes.setdefault(stratum, {})
        members[group] = members.get(group, 0) + 1
    assignment: dict[tuple[Hashable, Hashable], str] = {}
    for stratum, members in sizes.items():
        names = list(members)
        order = [names[i] for i in rng.permutation(len(names))]
        total = sum(members.values())
        for part, share in (("test", test), ("val", val)):
            taken, wanted = 0, share * total
            while len(names) >= 3 and len(order) > (2 if part == "test" else 1):
                size = members[order[-1]]
                if taken and abs(taken + size - wanted) >= abs(taken - wanted):
                    break
                assignment[stratum, order.pop()] = part
                taken += size
        assignment |= {(stratum, group): "train" for group in order}
    return [assignment[s, g] for g, s in zip(groups, strata, strict=True)]
