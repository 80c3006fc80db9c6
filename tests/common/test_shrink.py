"""Small pictures of large ones: means, thin things that stay, rows that come one after another."""

import numpy as np
import pytest

from segpipe.common.classes import IGNORE
from segpipe.common.shrink import Shrinker, factor_for, mean_of, rarest_first, rarest_of, shrunk

GROUND, WIRE = 0, 1
RANKS = rarest_first([1000, 3])


@pytest.mark.parametrize(
    ("size", "factor"), [((512, 300), 1), ((513, 300), 2), ((512, 1024), 2), ((300, 20_000), 40)]
)
def test_the_longer_edge_becomes_at_most_512_pixels(size, factor):
    assert factor_for(size) == factor


def test_a_pixel_is_the_mean_of_its_block_and_at_the_edge_of_fewer():
    picture = np.array([[0, 10, 100], [20, 30, 200], [7, 8, 9]], np.uint8)[..., None].repeat(3, 2)
    small = shrunk(picture, 2, mean_of(2))
    assert small[..., 0].tolist() == [[15, 150], [8, 9]]  # 60 / 4, 300 / 2, 7.5 rounded up, 9
    assert small.dtype == np.uint8


@pytest.mark.parametrize("row", range(4))
def test_a_horizontal_and_a_vertical_line_of_one_pixel_stay_in_every_place(row):
    mask = np.zeros((8, 8), np.uint8)
    mask[row] = WIRE
    expected = [[WIRE, WIRE], [GROUND, GROUND]]
    assert shrunk(mask, 4, rarest_of(4, RANKS)).tolist() == expected
    assert shrunk(mask.T, 4, rarest_of(4, RANKS)).T.tolist() == expected


def test_single_pixels_of_a_rare_class_do_not_grow():
    mask = np.zeros((4, 4), np.uint8)
    mask[0, :3] = WIRE
    assert shrunk(mask, 4, rarest_of(4, RANKS)).tolist() == [[GROUND]]


def test_ignored_pixels_stay_only_where_hardly_any_other_is():
    mask = np.full((2, 4), IGNORE, np.uint8)
    mask[:, 2] = GROUND
    assert shrunk(mask, 2, rarest_of(2, RANKS)).tolist() == [[IGNORE, GROUND]]


def test_where_no_class_runs_through_a_block_the_commonest_is_taken():
    mask = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 7]], np.uint8)
    assert shrunk(mask, 3, rarest_of(3, rarest_first([1] * 8))).tolist() == [[7]]


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 23])
@pytest.mark.parametrize("factor", [1, 3, 4])
def test_it_does_not_matter_in_how_many_rows_a_picture_comes(rng, rows, factor):
    picture = rng.integers(0, 256, (23, 17, 3), np.uint8)
    mask = rng.integers(0, 3, (23, 17), np.uint8)
    ways = [(picture, mean_of(factor)), (mask, rarest_of(factor, rarest_first([5, 9, 2])))]
    for pixels, way in ways:
        shrinker = Shrinker(factor, way)
        for top in range(0, 23, rows):
            shrinker.add(pixels[top : top + rows])
        assert np.array_equal(shrinker.picture(), shrunk(pixels, factor, way))
        assert len(shrinker.picture()) == -(-23 // factor)
