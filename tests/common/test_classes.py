"""The class table."""

import numpy as np
import pytest
from helpers import PETS
from hypothesis import given
from hypothesis import strategies as st

from segpipe.common.classes import ClassTable, SegmentationClass

COLOURED = ClassTable(
    (SegmentationClass("road", "#804080", "#0072b2"), SegmentationClass("car", "#00008E", "#e69f00")),
    ignore=("#000000",),
)


def test_file_values_become_indices_in_table_order_and_ignored_ones_255():
    table = ClassTable(PETS.classes[:2], ignore=(3,))
    assert table.to_indices(np.array([[1, 2, 3]], np.uint8)).tolist() == [[0, 1, 255]]


def test_the_tutorials_swap_is_not_ours():
    assert PETS.to_indices(np.array([2], np.uint8)) == PETS.names.index("background")
    assert PETS.to_indices(np.array([3], np.uint8)) == PETS.names.index("border")


def test_unknown_values_are_found_with_their_pixel_counts():
    assert PETS.unknown_values(np.array([[0, 0, 1], [2, 3, 7]])) == {0: 2, 7: 1}


def test_palette_holds_the_colours_and_white_for_ignored_pixels():
    assert PETS.palette[[0, 255]].tolist() == [[0x00, 0x72, 0xB2], [255, 255, 255]]


def test_the_plain_form_gives_the_table_back():
    for table in (ClassTable(PETS.classes, ignore=(0, 255)), COLOURED, MERGED):
        assert ClassTable.from_json(table.to_json()) == table


def test_colours_in_a_mask_become_indices_and_ignored_ones_255():
    mask = np.array([[[0x80, 0x40, 0x80], [0, 0, 0x8E], [0, 0, 0]]], np.uint8)
    assert COLOURED.by_colour
    assert COLOURED.to_indices(mask).tolist() == [[0, 1, 255]]


def test_unknown_colours_are_named_the_most_frequent_first():
    mask = np.array([[[1, 2, 3], [255, 0, 0], [0, 0, 0x8E], [255, 0, 0]]], np.uint8)
    assert COLOURED.unknown_values(mask) == {"#ff0000": 2, "#010203": 1}


MERGED = ClassTable(
    (
        SegmentationClass("road", (7, 8, "#ff0000"), "#0072b2"),
        SegmentationClass("vehicle", ("car", "big truck"), "#e69f00"),
        SegmentationClass("other", "rest", "#999999"),
    ),
    ignore=(255, "static"),
)


def test_several_values_are_one_class_and_the_rest_is_all_that_nothing_names():
    numbers = np.array([[7, 8, 0, 255]], np.uint8)
    assert MERGED.to_indices(numbers).tolist() == [[0, 0, 2, 255]]
    colours = np.array([[[255, 0, 0], [1, 2, 3]]], np.uint8)
    assert MERGED.to_indices(colours).tolist() == [[0, 2]]
    assert MERGED.unknown_values(numbers) == MERGED.unknown_values(colours) == {}


@pytest.mark.parametrize(
    ("label", "index"),
    [("car", 1), ("big_truck", 1), ("road", 0), ("static", 255), ("tree", 2), ("vehicle", 1)],
)
def test_a_label_is_the_class_of_its_name_or_the_one_that_lists_it(label, index):
    assert MERGED.index_of(label) == index


def test_a_label_that_nothing_names_is_unknown_where_there_is_no_rest():
    assert ClassTable(MERGED.classes[:2]).index_of("tree") is None


def test_classes_without_a_number_get_a_free_one_in_masks_that_are_written():
    assert MERGED.file_values == [7, 0, 1]
    coloured = ClassTable((*COLOURED.classes, SegmentationClass("other", "rest", "#010101")))
    assert coloured.file_values == ["#804080", "#00008E", "#010101"]


@pytest.mark.parametrize(
    ("rows", "index"),
    [
        ([("a", 5), ("b", 0)], 1),
        ([("a", 5), ("background", 2)], 1),
        ([("rest", "rest"), ("_background_", 2)], 1),
        ([("a", 5), ("b", "rest")], 1),
        ([("a", 5), ("b", 6)], None),
    ],
)
def test_uncovered_pixels_are_value_0_else_the_background_else_the_rest(rows, index):
    classes = (SegmentationClass(n, v, f"#00000{i}") for i, (n, v) in enumerate(rows))
    assert ClassTable(tuple(classes)).uncovered == index


def test_a_value_in_two_classes_is_refused_inside_lists_too():
    second = SegmentationClass("path", (9, 8), "#00ff00")
    with pytest.raises(ValueError, match="the value 8 stands twice in classes and ignore"):
        ClassTable((MERGED.classes[0], second))


@given(st.permutations(range(256)), st.integers(2, 150), st.integers(0, 50))
def test_numbers_and_colours_are_looked_up_alike(values, classes, ignored):
    """Each value of a mask is found where it stands in the table; the table's order is free."""

    def table(of):
        rows = tuple(
            SegmentationClass(f"c{i}", of(v), f"#0000{i:02x}") for i, v in enumerate(values[:classes])
        )
        return ClassTable(rows, tuple(of(v) for v in values[classes : classes + ignored]))

    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    coloured = np.stack([mask, 255 - mask, mask // 3], -1)
    numbers, colours = table(int), table(lambda v: f"#{v:02X}{255 - v:02X}{v // 3:02X}")
    expected = {value: index for index, value in enumerate(values[:classes])}
    assert numbers.to_indices(mask).ravel().tolist() == [expected.get(v, 255) for v in range(256)]
    assert (colours.to_indices(coloured) == numbers.to_indices(mask)).all()
    unknown = sorted(values[classes + ignored :])
    assert numbers.unknown_values(mask) == dict.fromkeys(unknown, 1)
    assert len(colours.unknown_values(coloured)) == len(unknown)


@pytest.mark.parametrize(
    ("second", "ignore", "words"),
    [
        (("pet", 2, "#000000"), (), "name 'pet' stands twice"),
        (("cat", 1, "#000000"), (), "value 1 stands twice"),
        (("cat", 2, "#0072B2"), (), "colour '#0072b2' stands twice"),
        (("cat", 2, "#000000"), (2,), "value 2 stands twice"),
        (("cat", 2, "black"), (), "'black' of 'cat' is not of the form"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(second, ignore, words):
    with pytest.raises(ValueError, match=words):
        ClassTable((PETS.classes[0], SegmentationClass(*second)), ignore)
