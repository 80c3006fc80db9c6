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
    for table in (ClassTable(PETS.classes, ignore=(0, 255)), COLOURED):
        assert ClassTable.from_json(table.to_json()) == table


def test_colours_in_a_mask_become_indices_and_ignored_ones_255():
    mask = np.array([[[0x80, 0x40, 0x80], [0, 0, 0x8E], [0, 0, 0]]], np.uint8)
    assert COLOURED.by_colour
    assert COLOURED.to_indices(mask).tolist() == [[0, 1, 255]]


def test_unknown_colours_are_named_the_most_frequent_first():
    mask = np.array([[[1, 2, 3], [255, 0, 0], [0, 0, 0x8E], [255, 0, 0]]], np.uint8)
    assert COLOURED.unknown_values(mask) == {"#ff0000": 2, "#010203": 1}


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
