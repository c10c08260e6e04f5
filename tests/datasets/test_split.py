"""Splits keep groups whole, meet their shares and repeat."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culi_mlip.datasets import split_by_group


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
    for stratum in set(strata):
        members = {g for g, s in zip(groups, strata, strict=True) if s == stratum}
        assert any(where[g] == "train" for g in members)
        if len(members) >= 3:
            assert {where[g] for g in members} == {"train", "val", "test"}
    assert parts == split_by_group(groups, strata, val=0.2, test=0.2, seed=seed)


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.1), (0.2, 0.3)])
def test_shares_are_met_where_groups_are_small(val, test):
    n = 200
    parts = Counter(split_by_group(range(n), ["bulk"] * n, val=val, test=test, seed=0))
    assert parts["val"] == pytest.approx(val * n, abs=1)
    assert parts["test"] == pytest.approx(test * n, abs=1)
