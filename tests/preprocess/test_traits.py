"""Traits of pictures: each has the value that is worked out by hand, and moves with its cause alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from segpipe.preprocess.traits import CENTRE, traits_of


def grey(luma):
    return np.repeat(np.asarray(luma, np.uint8)[..., None], 3, -1)


def test_size_and_aspect_are_logarithms():
    traits = traits_of(grey(np.zeros((128, 512))))
    assert (traits["size"], traits["aspect"]) == (8, 2)


def test_brightness_and_contrast_are_mean_and_deviation():
    traits = traits_of(grey([[0, 200], [0, 200]]))
    assert traits["brightness"] == pytest.approx(100, abs=1e-4)
    assert traits["contrast"] == pytest.approx(100, abs=1e-4)


def test_luma_is_that_of_jpeg():
    traits = traits_of(np.full((4, 4, 3), [100, 0, 0], np.uint8))
    assert traits["brightness"] == pytest.approx(29.9, abs=1e-4)


def test_colours_are_differences_of_bands():
    traits = traits_of(np.full((4, 4, 3), [200, 120, 100], np.uint8))
    assert (traits["saturation"], traits["warmth"], traits["tint"]) == (100, 100, -30)


@pytest.mark.parametrize("steepness", [1, 4])
def test_sharpness_is_a_fifth_on_an_even_slope_of_any_contrast(steepness):
    slope = np.add.outer(np.arange(20), np.arange(20)) * steepness
    assert traits_of(grey(slope))["sharpness"] == pytest.approx(0.2, abs=1e-6)


def test_sharpness_is_a_half_in_noise_and_nothing_without_change(rng):
    assert traits_of(grey(rng.integers(0, 256, (300, 300))))["sharpness"] == pytest.approx(0.5, abs=0.01)
    assert traits_of(grey(np.full((9, 9), 7)))["sharpness"] == 0


@pytest.mark.parametrize("deviation", [2.0, 10.0])
def test_noise_is_its_deviation_whatever_the_slope_below(rng, deviation):
    slope = np.linspace(60, 180, 400)[None].repeat(400, 0)
    noisy = (slope + rng.normal(0, deviation, slope.shape)).round()
    assert traits_of(grey(noisy))["noise"] == pytest.approx(deviation, abs=0.4), "grey has steps"


def test_one_band_has_no_colour_and_its_own_brightness():
    traits = traits_of(np.full((5, 5, 1), 90, np.uint8))
    assert traits["brightness"] == pytest.approx(90, abs=1e-4)
    assert {"saturation", "warmth", "tint"}.isdisjoint(traits)


def test_of_other_bands_brightness_is_the_mean():
    traits = traits_of(np.full((5, 5, 4), [0, 10, 20, 50], np.uint8))
    assert traits["brightness"] == pytest.approx(20, abs=1e-4)
    assert "saturation" not in traits


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 3, 5]), st.integers(0, 9))
def test_every_picture_has_finite_traits(height, width, bands, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, bands), np.uint8)
    assert np.isfinite([*traits_of(pixels).values()]).all()


def test_of_a_large_picture_sharpness_and_noise_are_those_of_its_centre(rng):
    around = np.zeros((CENTRE + 200, CENTRE + 100))
    inner = rng.integers(0, 256, (CENTRE, CENTRE))
    around[100:-100, 50:-50] = inner
    whole, centre = traits_of(grey(around)), traits_of(grey(inner))
    assert (whole["sharpness"], whole["noise"]) == (centre["sharpness"], centre["noise"])


def test_of_a_large_picture_light_and_colour_are_nearly_those_of_all_pixels(rng):
    small = rng.integers(0, 256, (30, 40, 3), np.uint8)
    large = np.asarray(Image.fromarray(small).resize((2000, 1500), Image.Resampling.BILINEAR))
    found = traits_of(large)
    assert found["brightness"] == pytest.approx((large @ [0.299, 0.587, 0.114]).mean(), abs=0.5)
    assert found["warmth"] == pytest.approx(float((large[..., 0] - 1.0 * large[..., 2]).mean()), abs=0.5)


def test_on_photographs_each_change_moves_its_own_trait(pet_dir):
    path = sorted((pet_dir / "images").glob("*.jpg"))[0]
    photo = Image.open(path).convert("RGB")
    before = traits_of(np.asarray(photo))
    blurred = traits_of(np.asarray(photo.filter(ImageFilter.GaussianBlur(2))))
    assert blurred["sharpness"] < before["sharpness"] - 0.05
    assert blurred["brightness"] == pytest.approx(before["brightness"], abs=1)
    greyed = traits_of(np.asarray(photo.convert("L").convert("RGB")))
    assert (greyed["saturation"], greyed["warmth"], greyed["tint"]) == (0, 0, 0)
    assert greyed["sharpness"] == pytest.approx(before["sharpness"], abs=0.01)
