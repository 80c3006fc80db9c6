"""The validation split: given, a share, or a fold; groups are never parted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.common.errors import UserError
from segpipe.common.files import name_hash
from segpipe.common.index import Entry
from segpipe.preprocess.splitting import SplitRule

FAR = ["0" * 16, "f" * 16, "00ff" * 4, "ff00" * 4]
"""Hashes that differ in 32 bits at least."""


def training(*names, group="", hashes=("",)):
    return [Entry(name, "train", group, hashes[n % len(hashes)]) for n, name in enumerate(names)]


def held_out(index, **folds):
    splits = SplitRule(0.5, **folds).assign(index).splits
    return {name for name, split in splits.items() if split == "val"}


indices = st.dictionaries(st.text(max_size=4), st.sampled_from(["", "a", "b", "c", "d"])).map(
    lambda drawn: [Entry(name, "train", group, "") for name, group in drawn.items()]
)


@given(indices, st.integers(2, 5))
def test_every_sample_is_validated_in_one_fold_and_no_group_is_parted(index, folds):
    keys = {entry.key for entry in index}
    if len(keys) < folds:
        with pytest.raises(UserError, match=f"data.folds = {folds}: .* training split has {len(keys)};"):
            held_out(index, folds=folds)
        return
    parts = [held_out(index, folds=folds, fold=fold) for fold in range(folds)]
    assert all(parts), "none is empty"
    assert sorted(name for part in parts for name in part) == sorted(entry.name for entry in index)
    keys_of = [{entry.key for entry in index if entry.name in part} for part in parts]
    assert sum(map(len, keys_of)) == len(keys), "each group in one fold"


@given(indices, st.floats(0.01, 0.99))
def test_a_share_parts_no_group(index, share):
    splits = SplitRule(share).assign(index).splits
    for key in {entry.key for entry in index}:
        assert len({splits[entry.name] for entry in index if entry.key == key}) == 1


def test_folds_of_single_samples_have_equal_sizes_and_do_not_depend_on_the_order():
    index = training(*(f"photo {n}" for n in range(23)))
    parts = [held_out(index, folds=5, fold=fold) for fold in range(5)]
    assert sorted(map(len, parts)) == [4, 4, 5, 5, 5]
    assert [held_out(index[::-1], folds=5, fold=fold) for fold in range(5)] == parts


def test_a_large_group_has_a_fold_almost_for_itself():
    index = [*training(*(f"big {n}" for n in range(50)), group="big"), *training(*"abcdefgh")]
    parts = [held_out(index, folds=3, fold=fold) for fold in range(3)]
    (with_big,) = (part for part in parts if "big 0" in part)
    assert len(with_big) <= 53
    assert sum(map(len, parts)) == 58


def test_the_test_split_is_in_no_fold():
    index = [Entry("t", "test", "", ""), *training("a", "b")]
    for fold in range(2):
        assert SplitRule(0.5, 2, fold).assign(index).splits["t"] == "test"


def test_a_share_is_cut_by_the_hash_of_the_name_as_ever():
    index = training(*"abcdefghij")
    expected = {name for name in "abcdefghij" if name_hash(name, "val") < 0.5}
    assert held_out(index) == expected != set()


def test_a_validation_split_that_the_data_name_is_used_and_nothing_is_cut():
    index = [Entry("t", "test", "", ""), Entry("v", "val", "", ""), *training(*"abcdefghij")]
    found = SplitRule(0.5).assign(index)
    assert found.splits == {"t": "test", "v": "val", **dict.fromkeys("abcdefghij", "train")}
    assert (found.given, found.validation) == (
        True,
        "the split that the data name; data.validation_share is not used",
    )
    with pytest.raises(
        UserError, match=r"^data\.folds = 2: the data name a validation split of their own"
    ):
        SplitRule(0.5, folds=2).assign(index)


def test_near_duplicates_of_validation_are_listed_left_out_or_an_error():
    near = f"{3:016x}"  # two bits from the first
    index = training("a", "b", "c", hashes=["0" * 16, near, FAR[1]])
    (fold,) = (n for n in range(3) if held_out(index, folds=3, fold=n) == {"a"})
    found = SplitRule(0.5, 3, fold).assign(index)
    assert [str(one) for one in found.near] == ["b (train) looks like a (val), 2 of 64 bits differ"]
    assert found.splits == {"a": "val", "b": "train", "c": "train"}
    skipped = SplitRule(0.5, 3, fold, "skip").assign(index)
    assert skipped.splits == {"a": "val", "c": "train"}
    assert [one.left_out()["file"] for one in skipped.left_out] == ["b"]
    with pytest.raises(
        UserError, match=r"^1 near duplicates in different splits .*\n  b \(train\) looks"
    ):
        SplitRule(0.5, 3, fold, "error").assign(index)
