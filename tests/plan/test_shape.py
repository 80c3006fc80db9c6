"""The input that a plan proposes, for pictures and objects of known sizes."""

import pytest

from segpipe.plan.shape import LEAST, Input, finer, propose, too_thin

DEFAULT = Input("stretch", (128, 128))


def of(thickness, picture, now=DEFAULT):
    return propose(thickness, picture, now).input


def test_streets_with_poles_of_2_px_are_cut_at_their_own_resolution():
    streets = {"pole": 2.0, "marking": 3.5, "sign": 7.0, "car": 17.0, "road": 90.0, "sky": 180.0}
    assert of(streets, (512, 1024)) == Input("tiles", (128, 128), 1.0)


def test_small_cells_on_large_pictures_are_cut_at_the_scale_that_leaves_them_3_px():
    assert of({"cell": 9.2, "background": 81.0}, (2000, 2000)) == Input("tiles", (128, 128), 0.35)


def test_pets_stay_as_they_are():
    proposal = propose({"border": 12.0, "pet": 130.0, "background": 200.0}, (375, 500), DEFAULT)
    assert proposal.input == DEFAULT
    assert "border is 12 px thick" in proposal.resize and "3.1 px at the network" in proposal.resize


def test_pictures_are_stretched_to_the_smallest_size_that_keeps_the_thinnest_class():
    assert of({"lesion": 8.0}, (600, 600)) == Input("stretch", (256, 256))
    assert of({"lesion": 8.0}, (600, 900)) == Input("stretch", (256, 384)), "nearly their shape"
    assert of({"lesion": 8.0}, (900, 600)) == Input("stretch", (384, 256))


def test_small_pictures_are_stretched_to_about_their_own_resolution_but_to_128_px_at_least():
    small = propose({"wire": 1.0}, (190, 190), DEFAULT)
    assert small.input == Input("stretch", (192, 192))
    assert small.size == "1.01 times the pictures' own resolution"
    smaller = propose({"wire": 1.0}, (64, 80), Input("tiles", (32, 32)))
    assert smaller.input == Input("stretch", (128, 128))
    assert smaller.size == "1.6 times the pictures' own resolution"


def test_only_lines_below_2_px_are_enlarged():
    assert of({"crack": 1.0}, (1500, 1500)).scale == 2.0
    assert of({"crack": 1.6}, (1500, 1500)).scale == 1.25
    assert of({"crack": 2.0}, (1500, 1500)).scale == 1.0


def test_enlarged_lines_have_2_px_at_least():
    """20 steps a unit of scale: 2 / 1.236 is 1.618, which rounded down to 1.6 leaves 1.98 px."""
    assert of({"wire": 1.236, "ground": 400.0}, (1000, 1000)).scale == 1.65
    for hundredths in range(100, 200):
        thin = hundredths / 100
        chosen = of({"wire": thin, "ground": 400.0}, (1000, 1000))
        assert LEAST <= thin * chosen.scale < LEAST + 0.05 * thin + 1e-9, thin


def test_a_tile_is_8_typical_objects_wide_and_large_regions_count_for_none():
    large = {"nucleus": 3.0, "gland": 20.0, "vessel": 24.0, "tissue": 900.0}
    assert of(large, (3000, 3000)) == Input("tiles", (192, 192), 1.0)
    assert of(large | {"gland": 90.0, "vessel": 90.0}, (3000, 3000)).size == (256, 256)


def test_tiles_get_the_scale_of_the_data_even_where_another_is_set():
    now = Input("tiles", (256, 256), 1.0)
    assert of({"cell": 9.2}, (2000, 2000), now).scale == 0.35


def test_a_scale_is_never_below_the_least_that_params_allow():
    assert of({"field": 100.0}, (20000, 20000)).scale == 0.1


def test_too_thin_names_the_class_and_its_pixels_in_the_direction_that_shrinks_more():
    name, here = too_thin({"cell": 9.0, "rest": 80.0}, (2000, 1000), DEFAULT)
    assert (name, here) == ("cell", pytest.approx(9 * 128 / 2000))
    assert too_thin({"pet": LEAST * 4}, (512, 400), DEFAULT) is None
    assert too_thin({}, (512, 400), DEFAULT) is None


def test_a_finer_scale_is_taken_as_far_as_the_time_and_the_tile_allow():
    cells = {"cell": 9.8, "background": 80.0}
    found = propose(cells, (2000, 2000), DEFAULT)
    assert found.input.scale == 0.3
    assert finer(found, cells, (2000, 2000), lambda times: True).input.scale == 1.0
    assert finer(found, cells, (2000, 2000), lambda times: times < 4).input.scale == 0.55
    assert finer(found, cells, (2000, 2000), lambda times: False) == found
    large = {"organ": 40.0, "lesion": 40.0, "ground": 900.0}  # 8 of them fill a tile at 0.4
    found = propose(large, (6000, 6000), DEFAULT)
    assert (found.input.size, found.input.scale) == ((128, 128), 0.1)
    assert finer(found, large, (6000, 6000), lambda times: True).input.scale == 0.4


def test_without_a_measured_class_the_input_stays():
    for now in (DEFAULT, Input("tiles", (128, 128), 0.5)):
        found = propose({}, (600, 600), now)
        assert found.input == now
        assert finer(found, {}, (600, 600), lambda times: True) == found
