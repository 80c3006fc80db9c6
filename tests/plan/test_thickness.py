"""How thick drawn objects are: worked out by hand."""

import tracemalloc

import numpy as np
import pytest

from segpipe.common.classes import IGNORE
from segpipe.plan.objects import Thickness, around, typical, widths


def bar(width, along=100):
    inside = np.zeros((60, 120), bool)
    inside[20 : 20 + width, 10 : 10 + along] = True
    return inside


def disc(diameter, size=60):
    y, x = np.mgrid[:size, :size] + 0.5
    return np.hypot(y - size / 2, x - size / 2) < diameter / 2


@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 12])
def test_a_bar_is_as_thick_as_it_is_wide(width):
    assert typical(widths(bar(width))) == width
    assert typical(widths(bar(width).T)) == width


def test_a_slanted_line_of_1_px_has_thickness_1():
    assert typical(widths(np.eye(80, dtype=bool))) == 1


@pytest.mark.parametrize("diameter", [12, 20, 40])
def test_a_disc_is_about_as_thick_as_its_diameter(diameter):
    assert typical(widths(disc(diameter))) == pytest.approx(diameter, rel=0.2)


def test_half_a_picture_is_as_thick_as_it_reaches_and_the_window_ends_what_is_larger():
    half = np.zeros((100, 200), bool)
    half[50:] = True
    assert typical(widths(half)) == 50
    assert typical(widths(around(np.ones((900, 2000), bool)))) == 512


def test_the_window_holds_the_class_wherever_it_is():
    for corner in ((0, 0), (899, 1999), (0, 1999), (450, 3)):
        inside = np.zeros((900, 2000), bool)
        inside[corner] = True
        assert around(inside).sum() == 1 and around(inside).shape == (512, 512)


def test_the_window_lies_round_the_middle_one_of_all_pixels():
    """The fifth of 3 + 5 + 1 pixels is the second of the second row, at x = 1200."""
    inside = np.zeros((2000, 2000), bool)
    inside[100, :3] = inside[1000, 1199:1204] = inside[1900, 5] = True
    assert around(inside).sum() == 5 and np.argwhere(around(inside))[0].tolist() == [256, 255]


def test_measuring_a_mask_takes_less_than_4_bytes_a_pixel(rng):
    """One is the comparison with a class; an index of each pixel would be 8."""
    mask = rng.integers(0, 2, (4096, 4096), np.uint8)
    collected = Thickness()
    collected.add(mask[:600])  # loads SciPy
    tracemalloc.start()
    collected.add(mask)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * mask.size
    assert collected.pixels.total() == (600 + 4096) * 4096


def test_a_large_part_of_a_class_outweighs_its_thin_ones():
    mixed = bar(20)
    mixed[5, 10:110] = True  # as many places in the middle, of 1 px
    assert typical(widths(mixed)) == 20


def test_classes_are_told_apart_thinnest_first_and_neither_rare_nor_ignored_pixels_count():
    mask = np.zeros((400, 400), np.uint8)
    mask[100:400, 50:53] = 2
    mask[:60] = IGNORE
    mask[200:230, 200:230] = 1
    collected = Thickness()
    for _ in range(3):
        collected.add(mask)
    mask[399, 399] = 4  # 1 of 600,000 pixels
    collected.add(mask)
    found = collected.by_class()
    assert [*found][:2] == [2, 1] and found[2] == 3 and found[1] == 30
    assert 4 not in found and IGNORE not in found


def test_nothing_seen_gives_no_thickness():
    assert Thickness().by_class() == {}


def test_a_class_without_a_width_is_left_out():
    """A plus of 3 x 3 px has no place midway between two edges."""
    mask = np.zeros((30, 30), np.uint8)
    mask[10, 9:12] = mask[9:12, 10] = 1
    collected = Thickness()
    collected.add(mask)
    assert [*collected.by_class()] == [0]
