"""The window of a picture with the most mistakes."""

import numpy as np
import pytest

from segpipe.common.windows import Mistakes


def found(size, tile, *boxes):
    """Where the window lies, and its size, for wrong pixels in boxes (top, bottom, left, right)."""
    wrong = np.zeros(size, bool)
    for top, bottom, left, right in boxes:
        wrong[top:bottom, left:right] = True
    mistakes = Mistakes(size, tile)
    mistakes.add(0, wrong)
    return mistakes.worst(), mistakes.window


def test_it_covers_a_box_of_wrong_pixels_and_begins_with_a_cell_of_a_quarter():
    """The first window with the whole box: 3 cells above and left of its own."""
    assert found((320, 640), (32, 64), (200, 208, 400, 416)) == ((176, 352), (32, 64))


def test_the_larger_of_two_boxes_wins():
    boxes = (10, 20, 10, 20), (200, 211, 400, 410)
    assert found((320, 640), (32, 32), *boxes)[0] == (184, 384)


def test_many_pixels_close_together_beat_more_that_are_far_apart():
    """Lines of 40 px all over hold 400; a box of 12 x 12 is in one window."""
    lines = [(y, y + 1, 0, 40) for y in range(0, 300, 30)]
    top, left = found((320, 640), (32, 32), *lines, (230, 242, 500, 512))[0]
    assert top <= 230 <= 242 <= top + 32
    assert left <= 500 <= 512 <= left + 32


@pytest.mark.parametrize(("y", "x"), [(0, 0), (99, 0), (0, 76), (99, 76)])
def test_a_mistake_in_a_corner_is_seen_and_the_window_stays_inside(y, x):
    (top, left), (height, width) = found((100, 77), (32, 32), (y, y + 1, x, x + 1))
    assert 0 <= top <= y < top + height <= 100
    assert 0 <= left <= x < left + width <= 77


def test_where_all_is_right_it_is_in_the_middle():
    assert found((100, 60), (32, 32)) == ((34, 14), (32, 32))


@pytest.mark.parametrize(
    ("size", "tile", "window"),
    [
        ((20, 100), (32, 32), (20, 32)),
        ((5, 3), (32, 32), (5, 3)),
        ((2000, 2000), (1024, 768), (512, 512)),
    ],
)
def test_it_is_as_large_as_a_tile_but_within_the_picture_and_shown_unshrunk(size, tile, window):
    assert found(size, tile, (0, 1, 0, 1)) == ((0, 0), window)


def test_rows_are_counted_where_they_lie(rng):
    wrong = rng.random((90, 70)) < 0.1
    whole, rows = Mistakes((90, 70), (32, 32)), Mistakes((90, 70), (32, 32))
    whole.add(0, wrong)
    for top in range(0, 90, 7):
        rows.add(top, wrong[top : top + 7])
    assert (whole.worst(), whole.total) == (rows.worst(), rows.total)
    assert whole.total == wrong.sum()


def test_no_other_window_that_begins_with_a_cell_has_more(rng):
    wrong = rng.random((150, 130)) < rng.random((150, 130)) ** 2
    mistakes = Mistakes((150, 130), (32, 64))
    mistakes.add(0, wrong)
    top, left = mistakes.worst()
    counts = [wrong[y : y + 32, x : x + 64].sum() for y in range(0, 119, 8) for x in range(0, 67, 16)]
    assert wrong[top : top + 32, left : left + 64].sum() == max(counts)
