"""Splits keep groups whole, meet their shares and repeat."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culi_mlip.datasets import split_by_group
from culi_mlip.datasets.split import PARTS, missed


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6)), min_size=1, max_size=40),
    st.integers(0, 5),
)
def test_groups_stay_whole_and_training_is_never_empty(blocks, seed):
    groups = [g for g, n in blocks for _ in range(n)]
    strata = [g % 3 for g in groups]
    parts = split_by_group(groups, strata, val=0.2, test=0.2, seed=seed)
    where = {}
    for group, part in zip(groups, parts, strict=True):
        assert where.setdefault(group, part) == part
    spare = len(set(groups)) - len(set(strata))
    for stratum in set(strata):
        members = {g for g, s in zip(groups, strata, strict=True) if s == stratum}
        assert any(where[g] == "train" for g in members) or spare < 2
        if len(members) >= 3:
            assert {where[g] for g in members} == {"train", "val", "test"}
    assert parts == split_by_group(groups, strata, val=0.2, test=0.2, seed=seed)


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.1), (0.2, 0.3)])
def test_shares_are_met_where_groups_are_small(val, test):
    n = 200
    parts = Counter(split_by_group(range(n), ["bulk"] * n, val=val, test=test, seed=0))
    assert parts["val"] == pytest.approx(val * n, abs=1)
    assert parts["test"] == pytest.approx(test * n, abs=1)


def test_every_kind_and_composition_is_everywhere():
    """51 frames of copper, and three groups each of two rarer kinds, of unequal sizes."""
    groups, strata = [], []
    for n in range(51):
        groups, strata = [*groups, n], [*strata, ("bulk", "Cu")]
    for name, kind, elements, size in (
        ("a", "bulk", "Li", 2),
        ("b", "bulk", "Li", 3),
        ("c", "bulk", "Li", 2),
        ("d", "adlayer", "Cu-Li", 4),
        ("e", "adlayer", "Cu-Li", 1),
        ("f", "adlayer", "Cu-Li", 2),
    ):
        groups, strata = groups + [name] * size, strata + [(kind, elements)] * size
    for seed in range(5):
        parts = split_by_group(groups, strata, val=0.1, test=0.1, seed=seed)
        found = {
            part: {s for s, p in zip(strata, parts, strict=True) if p == part} for part in PARTS
        }
        assert all(found[part] == set(strata) for part in PARTS)
        assert 5 <= parts.count("test") <= 9
        assert not missed(groups, strata, parts, val=0.1, test=0.12)


def test_a_group_of_several_kinds_stays_whole():
    """Adlayers and their MD share parents: neither goes where the other does not."""
    groups = [g for g in range(9) for _ in range(5)]
    strata = [("adlayer", "Cu-Li"), ("adlayer", "Cu-Li"), *[("adlayer-md", "Cu-Li")] * 3] * 9
    parts = split_by_group(groups, strata, val=0.12, test=0.23, seed=3)
    where = {}
    for group, part in zip(groups, parts, strict=True):
        assert where.setdefault(group, part) == part
    assert Counter(where.values()) == {"train": 6, "val": 1, "test": 2}


def test_kinds_with_two_compositions_are_not_left_to_training():
    groups = [0, 1, 2, 3]
    strata = [("bulk", "Cu"), ("bulk", "Cu"), ("bulk", "Li"), ("bulk", "Li")]
    for seed in range(4):
        parts = split_by_group(groups, strata, val=0.1, test=0.1, seed=seed)
        assert sorted(parts) == ["test", "train", "train", "val"]
        assert "train" in parts[:2]
        assert "train" in parts[2:]
        assert "No bulk of" in " ".join(missed(groups, strata, parts, val=0.1, test=0.1))


def test_three_groups_are_enough_whatever_their_kinds():
    strata = [("slab", "Cu"), ("slab", "Cu"), ("bulk", "Cu"), ("bulk", "Cu")]
    parts = split_by_group([0, 1, 2, 2], strata, val=0.2, test=0.2, seed=0)
    assert set(parts) == set(PARTS)
    assert "in train" in " ".join(missed([0, 1, 2, 2], strata, parts, val=0.2, test=0.2))


def test_shares_that_are_missed_are_said():
    parts = ["train"] * 80 + ["val"] * 3 + ["test"] * 17
    strata = [("bulk", "Cu")] * 100
    (said,) = missed(range(100), strata, parts, val=0.1, test=0.15)
    assert said == "The val part has 3.0% of the frames, 10.0% were asked for."


@pytest.mark.parametrize(
    ("n", "of", "said"),
    [(12, 100, False), (13, 100, True), (8, 100, False), (7, 100, True), (2, 10, False)],
)
def test_a_share_may_be_off_by_a_quarter_or_one_frame(n, of, said):
    parts = ["val"] * n + ["test"] * (of // 5) + ["train"] * (of - of // 5 - n)
    sentences = missed(range(of), [("bulk",)] * of, parts, val=0.1, test=0.2)
    expected = [f"The val part has {n}.0% of the frames, 10.0% were asked for."]
    assert sentences == (expected if said else [])


def test_known_frames_keep_their_part_and_new_groups_fill_the_shares():
    n = 100
    first = split_by_group(range(n), ["bulk"] * n, val=0.1, test=0.1, seed=0)
    known = first + [""] * n
    parts = split_by_group(range(2 * n), ["bulk"] * 2 * n, val=0.1, test=0.1, seed=0, known=known)
    assert parts[:n] == first
    assert Counter(parts) == {"train": 160, "val": 20, "test": 20}
    merged = split_by_group([0, 0, 1, 2], ["bulk"] * 4, val=0.1, test=0.1, seed=0,
                            known=["val", "test", "", ""])  # fmt: skip
    assert merged[:2] == ["train", "train"], "a group of two parts is no longer unseen"
