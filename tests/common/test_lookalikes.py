"""Near duplicates across splits, and the index that carries the hashes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.common.duplicates import NEAR, Lookalikes, report
from segpipe.common.errors import UserError
from segpipe.common.index import INDEX, Entry, read_index, write_index


def twins(pictures):
    """What is found for each of (name, split, hash)."""
    lookalikes = Lookalikes()
    return [lookalikes.twin(*picture) for picture in pictures]


def bits(*places):
    return f"{sum(1 << place for place in places):016x}"


def test_the_nearest_picture_of_an_earlier_split_is_named_with_the_distance():
    found = twins(
        [("far", "test", bits(*range(20))), ("one", "test", bits(0)), ("two", "val", bits(0, 1, 2)),
         ("three", "train", bits(0, 1, 2, 63))]
    )  # fmt: skip
    assert list(map(str, found)) == [
        "None", "None", "two (val) looks like one (test), 2 of 64 bits differ",
        "three (train) looks like two (val), 1 of 64 bits differ",
    ]  # fmt: skip


def test_pictures_of_one_split_may_be_alike_and_a_picture_without_a_hash_is_like_no_other():
    assert twins([("a", "test", bits()), ("b", "test", bits()), ("c", "test", "")]) == [None] * 3
    assert twins([("a", "test", ""), ("b", "train", bits()), ("c", "train", "")]) == [None] * 3


def test_the_threshold_is_a_number_of_bits():
    for distance in (NEAR, NEAR + 1):
        _, found = twins([("a", "test", bits()), ("b", "train", bits(*range(distance)))])
        assert (found is not None) == (distance == NEAR)


hashes = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")


@given(st.lists(st.tuples(st.sampled_from(["test", "val", "train"]), hashes), max_size=20))
def test_distances_are_those_of_counting_bits(drawn):
    order = ["test", "val", "train"]
    pictures = [(str(n), *one) for n, one in enumerate(sorted(drawn, key=lambda d: order.index(d[0])))]
    for (name, split, found_hash), near in zip(pictures, twins(pictures), strict=True):
        earlier = [h for _, s, h in pictures if order.index(s) < order.index(split)]
        distances = [(int(h, 16) ^ int(found_hash, 16)).bit_count() for h in earlier]
        least = min(distances, default=64)
        assert (near.distance if near else None) == (least if least <= NEAR else None), name


def test_a_report_shows_twenty_and_counts_the_others():
    lines = report(list(range(25))).splitlines()
    assert lines[0] == "25 near duplicates in different splits (data.on_near_duplicate):"
    assert (len(lines), lines[-1]) == (22, "  ... and 5 more")


@given(st.lists(st.builds(Entry, *4 * [st.text(st.characters(exclude_categories=["C"]))])))
def test_an_index_reads_back_as_it_was_written(tmp_path_factory, entries):
    folder = tmp_path_factory.getbasetemp()
    write_index(folder, entries)
    assert read_index(folder) == entries


@pytest.mark.parametrize("content", [b"", b"name,split\n", b"name,split,group,hash\na\n", b"\xff"])
def test_a_damaged_index_is_named_with_the_mend(tmp_path, content):
    (tmp_path / INDEX).write_bytes(content)
    with pytest.raises(UserError, match=r"index\.csv: not as fetch wrote it; `dvc repro --force fetch`"):
        read_index(tmp_path)
