"""The class table."""

import numpy as np
import pytest
from helpers import PETS

from segpipe.classes import ClassTable, SegmentationClass


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
    table = ClassTable(PETS.classes, ignore=(0, 255))
    assert ClassTable.from_json(table.to_json()) == table


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
