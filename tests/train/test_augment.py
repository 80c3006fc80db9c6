"""Augmentation: image and mask move together, each change is what it is named after, chance is drawn."""

import colorsys
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from segpipe.train.augment import DRAWS, augment
from segpipe.train.params import AugmentParams

OFF = {
    "flip": False, "scale": [1.0, 1.0], "aspect": 1.0, "rotation": 0.0, "brightness": 0.0,
    "contrast": 0.0, "saturation": 0.0, "hue": 0.0,
}  # fmt: skip
FULL = AugmentParams(
    flip=True, scale=[0.5, 2.0], aspect=1.3, rotation=30.0, brightness=0.3, contrast=0.3,
    saturation=0.5, hue=0.1,
)  # fmt: skip
PLACES = ("mirror", "zoom", "stretch", "turn", "right", "down",
          "brightness", "contrast", "saturation", "hue")  # fmt: skip
"""The draws by what they decide."""
LUMA = np.array([0.299, 0.587, 0.114])


def only(**params):
    """These changes and no others."""
    return AugmentParams(**{**OFF, **params})


def drawn(count=1, **draws):
    """The middle of every range, but where a draw is given: one value, or one a sample."""
    columns = np.full((count, DRAWS), 0.5, np.float32)
    for name, values in draws.items():
        columns[:, PLACES.index(name)] = values
    return columns


def changed(images, masks, draws, params):
    return tuple(np.asarray(part) for part in augment(images, masks, draws, params))


def recoloured(image, params, **draws):
    """One image without a mask."""
    return changed(image[None], np.zeros((1, *image.shape[:2]), np.uint8), drawn(**draws), params)[0][0]


@pytest.fixture
def batch(rng):
    """Seven samples that are not square, each pixel of its own."""
    return rng.integers(0, 256, (7, 24, 40, 3), np.uint8), rng.integers(0, 5, (7, 24, 40), np.uint8)


@pytest.fixture
def photo(rng):
    """Smooth colours in the middle of their range, where nothing is clipped."""
    small = Image.fromarray(rng.integers(90, 160, (4, 6, 3), np.uint8))
    return np.asarray(small.resize((48, 32), Image.Resampling.BICUBIC))


# --- where pixels go ----------------------------------------------------------------------------


def test_with_everything_off_the_batch_comes_back_to_the_bit(batch, rng):
    for before, after in zip(batch, changed(*batch, rng.random((7, DRAWS)), only()), strict=True):
        assert after.dtype == np.uint8
        assert (after == before).all()


@pytest.mark.parametrize("more", [{}, {"scale": [0.9, 1 / 0.9]}], ids=["alone", "of a transform"])
def test_flip_mirrors_image_and_mask_exactly(batch, more):
    mirrored = np.array([1, 0, 0, 1, 1, 0, 1], bool)
    draws = drawn(7, mirror=np.where(mirrored, 0.49, 0.5))
    for before, after in zip(batch, changed(*batch, draws, only(flip=True, **more)), strict=True):
        assert (after[mirrored] == before[mirrored, :, ::-1]).all()
        assert (after[~mirrored] == before[~mirrored]).all()


@pytest.mark.parametrize(("turn", "quarters"), [(0.0, 2), (0.25, 1), (0.5, 0), (0.75, -1), (1.0, 2)])
def test_a_turn_by_quarters_is_numpys_of_image_and_mask(turn, quarters, rng):
    images, masks = (
        rng.integers(0, 256, (2, 32, 32, 3), np.uint8),
        rng.integers(0, 9, (2, 32, 32), np.uint8),
    )
    turned = changed(images, masks, drawn(2, turn=turn), only(rotation=180.0))
    for before, after in zip((images, masks), turned, strict=True):
        assert (after == np.rot90(before, quarters, (1, 2))).all()


def test_a_quarter_turn_to_the_right_takes_the_top_left_pixel_to_the_top_right():
    images, masks = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8)
    images[0, 0, 1], masks[0, 0, 1] = 200, 3
    images, masks = changed(images, masks, drawn(turn=1), only(rotation=90.0))
    assert np.argwhere(images[0, ..., 0] == 200).tolist() == [[1, 7]]
    assert np.argwhere(masks[0] == 3).tolist() == [[1, 7]]


def test_a_picture_that_is_not_square_turns_about_its_middle(batch):
    images, masks = changed(*batch, drawn(7, turn=1), only(rotation=90.0))
    for before, after, outside in ((batch[0], images, 0), (batch[1], masks, 255)):
        assert (after[:, :, 8:-8] == np.rot90(before[:, :, 8:-8], -1, (1, 2))).all()
        assert (after[:, :, :8] == outside).all()
        assert (after[:, :, -8:] == outside).all()


@pytest.mark.parametrize(("right", "down"), [(0, 0), (0.5, 0.5), (1, 0), (0.25, 1)])
def test_zoom_2_shows_half_of_each_edge_at_twice_its_size(right, down, batch):
    images, masks = changed(*batch, drawn(7, right=right, down=down), only(scale=[2.0, 2.0]))
    rows, columns = (slice(int(2 * edge * at), int(2 * edge * at) + 2 * edge)
                     for edge, at in ((12, down), (20, right)))  # fmt: skip
    for image, mask, before, values in zip(images, masks, *batch, strict=True):
        assert (mask == values.repeat(2, 0).repeat(2, 1)[rows, columns]).all()
        pillows = np.asarray(Image.fromarray(before).resize((80, 48), Image.Resampling.BILINEAR))
        assert np.abs(image - pillows[rows, columns].astype(int)).max() <= 1


@pytest.mark.parametrize(("right", "down"), [(0, 0), (0.5, 0.5), (1, 0), (0.25, 1)])
def test_zoom_one_half_leaves_three_quarters_black_and_ignored(right, down, batch):
    images, masks = changed(*batch, drawn(7, right=right, down=down), only(scale=[0.5, 0.5]))
    top, left = int(12 * (1 - down)), int(20 * (1 - right))
    inside = np.zeros((24, 40), bool)
    inside[top : top + 12, left : left + 20] = True
    assert (masks[:, ~inside] == 255).all()
    assert (images[:, ~inside] == 0).all()
    means = batch[0].reshape(7, 12, 2, 20, 2, 3).mean((2, 4))
    assert np.abs(images[:, inside].reshape(means.shape) - means).max() <= 0.5
    assert (masks[:, inside].reshape(7, 12, 20) == batch[1][:, 1::2, 1::2]).all()


@pytest.mark.parametrize(("stretch", "wide"), [(0, False), (1, True)])
def test_aspect_4_makes_the_picture_twice_as_wide_and_half_as_high_or_the_reverse(stretch, wide, batch):
    _, masks = changed(*batch, drawn(7, stretch=stretch), only(aspect=4.0))
    if wide:
        assert (masks[:, 6:18] == batch[1][:, 1::2, 10:30].repeat(2, 2)).all()
        assert (masks[:, :6] == 255).all()
    else:
        assert (masks[:, :, 10:30] == batch[1][:, 6:18, 1::2].repeat(2, 1)).all()
        assert (masks[:, :, :10] == 255).all()


def test_a_zoom_of_one_colour_keeps_it_up_to_the_pictures_edge(rng):
    images, masks = np.full((50, 32, 48, 3), 100, np.uint8), np.ones((50, 32, 48), np.uint8)
    images, masks = changed(
        images, masks, rng.random((50, DRAWS)), only(scale=[0.5, 2.0], rotation=45.0)
    )
    assert 0.2 < (masks == 255).mean() < 0.8
    assert (images[masks == 1] == 100).all()
    assert (images[masks == 255] == 0).all()


CORNERS = np.array([[n >> 2 & 1, n >> 1 & 1, n & 1] for n in range(1, 8)], np.uint8) * 255
VALUES = np.array([0, 1, 2, 3, 4, 5, 255], np.uint8)
"""Classes, one of them ignored, in colours of which none is a blend of others, and none is black."""


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.floats(0.25, 1),
    st.floats(1, 4),
    st.floats(1, 3),
    st.floats(0, 180),
)
@settings(deadline=None, max_examples=100)
def test_image_and_mask_move_together(blocks, seed, flip, low, high, aspect, rotation):
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 7, (3, *blocks)).repeat(16, 1).repeat(16, 2)
    params = only(flip=flip, scale=[low, high], aspect=aspect, rotation=rotation)
    images, masks = changed(CORNERS[classes], VALUES[classes], rng.random((3, DRAWS)), params)
    assert set(np.unique(masks)) <= set(VALUES)
    for colour, value in (*zip(CORNERS, VALUES, strict=True), (0, 255)):
        assert (masks[(images == colour).all(-1)] == value).all()
    blended = ((images > 0) & (images < 255)).any(-1)
    assert blended.mean() < 0.5


# --- colours ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("draw", "factor"), [(0.0, 0.6), (0.25, 0.8), (1.0, 1.4)])
@pytest.mark.parametrize(
    ("name", "pillows"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_brightness_contrast_and_saturation_are_pillows(name, pillows, draw, factor, rng):
    image = rng.integers(0, 256, (32, 48, 3), np.uint8)
    expected = np.asarray(pillows(Image.fromarray(image)).enhance(factor))
    got = recoloured(image, only(**{name: 0.4}), **{name: draw})
    assert np.abs(got - expected.astype(int)).max() <= 1, "Pillow rounds grey and mean"


def test_brightness_and_contrast_combine(photo):
    contrasted = ImageEnhance.Contrast(Image.fromarray(photo)).enhance(1.4)
    expected = np.asarray(ImageEnhance.Brightness(contrasted).enhance(0.6))
    got = recoloured(photo, only(brightness=0.4, contrast=0.4), brightness=0, contrast=1)
    assert np.abs(got - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("thirds", [-1, 1])
def test_a_third_of_the_colour_circle_is_colorsys(thirds, rng):
    image = rng.integers(0, 256, (8, 8, 3), np.uint8)
    got = recoloured(image, only(hue=0.5), hue=0.5 + thirds / 3)
    for before, after in zip(image.reshape(-1, 3), got.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before / 255)
        expected = colorsys.hsv_to_rgb((hue + thirds / 3) % 1, saturation, value)
        assert np.abs(after - np.multiply(expected, 255)).max() < 0.51


def test_hue_turns_a_colour_about_its_grey():
    image = np.full((4, 4, 3), (180, 90, 90), np.uint8)  # 120, and 60 towards red
    got = recoloured(image, only(hue=1 / 12), hue=1)
    turned = [120 + 60 * math.cos(math.radians(30 - at)) for at in (0, 120, 240)]
    assert np.abs(got - turned).max() < 0.51


def test_a_grey_picture_has_no_colours_to_change(rng):
    image = np.tile(rng.integers(0, 256, (32, 48, 1), np.uint8), 3)
    for draw in (0, 0.3, 1):
        params = only(saturation=1.0, hue=0.5)
        assert (recoloured(image, params, saturation=draw, hue=draw) == image).all()


def test_contrast_keeps_the_mean_luma(photo):
    changed_photo = recoloured(photo, only(contrast=0.4), contrast=1)
    assert changed_photo.std() > 1.3 * photo.std()
    assert abs((changed_photo @ LUMA).mean() - (photo @ LUMA).mean()) < 0.1, "but for rounding"


def test_recolouring_leaves_the_mask_and_what_is_outside_alone(batch, rng):
    colours = only(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5)
    draws = rng.random((7, DRAWS))
    assert (changed(*batch, draws, colours)[1] == batch[1]).all()
    images, masks = changed(*batch, draws, colours.model_copy(update={"scale": (0.5, 0.5)}))
    assert (images[masks == 255] == 0).all()


# --- chance -------------------------------------------------------------------------------------


def test_the_same_draws_give_the_same_eagerly_inside_map_and_in_any_batch(rng):
    images, masks = (
        rng.integers(0, 256, (37, 64, 96, 3), np.uint8),
        rng.integers(0, 5, (37, 64, 96), np.uint8),
    )
    draws = rng.random((37, DRAWS), np.float32)
    expected = changed(images, masks, draws, FULL)
    samples = tf.data.Dataset.from_tensor_slices((images, masks, draws))
    for size in (37, 8, 1):
        batches = samples.batch(size).map(lambda *batch: augment(*batch, FULL), tf.data.AUTOTUNE)
        parts = zip(*batches.as_numpy_iterator(), strict=True)
        for part, want in zip(parts, expected, strict=True):
            assert (np.concatenate(part) == want).all()
    backwards = changed(images[::-1], masks[::-1], draws[::-1], FULL)
    for got, want in zip(backwards, expected, strict=True):
        assert (got[::-1] == want).all()


@pytest.mark.parametrize(
    ("params", "deciding"),
    [
        ({"flip": True}, ["mirror"]),
        ({"scale": [0.5, 2.0]}, ["zoom", "right", "down"]),
        ({"aspect": 1.5}, ["stretch", "right", "down"]),
        ({"rotation": 90.0}, ["turn"]),
        *(({name: 0.5}, [name]) for name in PLACES[6:]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_change_depends_on_its_own_draws(params, deciding, batch, rng):
    draws, others = rng.random((2, 7, DRAWS))
    for name in deciding:
        others[:, PLACES.index(name)] = draws[:, PLACES.index(name)]
    expected = changed(*batch, draws, only(**params))
    for got, want in zip(changed(*batch, others, only(**params)), expected, strict=True):
        assert (got == want).all()
    for name in deciding:
        others = draws.copy()
        others[:, PLACES.index(name)] = (draws[:, PLACES.index(name)] + 0.5) % 1
        assert (changed(*batch, others, only(**params))[0] != expected[0]).any(), name


def measured(measure, image, params, name):
    """What 20,000 evenly spread draws of one kind make of an image, measured in each."""
    rng, values = np.random.default_rng(0), []
    for _ in range(20):
        images = np.broadcast_to(image, (1000, *image.shape))
        masks = np.zeros(images.shape[:3], np.uint8)
        images, _ = changed(images, masks, drawn(1000, **{name: rng.random(1000)}), only(**params))
        values.append(measure(images.astype(float)))
    return np.concatenate(values)


def steps(images):
    """How the place in the source changes from pixel to pixel: x and y to the right, x and y down."""
    right = images[:, 16, 22, :2] - images[:, 16, 10, :2]
    down = images[:, 22, 16, :2] - images[:, 10, 16, :2]
    return *(right.T / 96), *(down.T / 96)


ROWS, COLUMNS = np.mgrid[:32, :32]
RAMP = np.stack([8 * COLUMNS, 8 * ROWS, 0 * ROWS], -1).astype(np.uint8)
"""Red says the column, green the row."""
REDS = np.random.default_rng(0).integers((150, 70, 70), (190, 90, 90), (8, 8, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "params", "image", "measure", "low", "high"),
    [
        ("zoom", {"scale": [0.5, 2.0]}, RAMP, lambda i: -np.log2(steps(i)[0]), -1, 1),
        ("stretch", {"aspect": 2.0}, RAMP, lambda i: np.log2(steps(i)[3] / steps(i)[0]), -1, 1),
        ("turn", {"rotation": 45.0}, RAMP, lambda i: degrees(steps(i)[2], steps(i)[0]), -45, 45),
        ("right", {"scale": [2.0, 2.0]}, RAMP, lambda i: i[:, :, 15:17, 0].mean((1, 2)) / 8, 7.5, 23.5),
        ("down", {"scale": [2.0, 2.0]}, RAMP, lambda i: i[:, 15:17, :, 1].mean((1, 2)) / 8, 7.5, 23.5),
        ("brightness", {"brightness": 0.3}, REDS, lambda i: i.mean((1, 2, 3)) / REDS.mean(), 0.7, 1.3),
        ("contrast", {"contrast": 0.3}, REDS, lambda i: i.std((1, 2, 3)) / REDS.std(), 0.7, 1.3),
        ("saturation", {"saturation": 0.3}, REDS, lambda i: chroma(i) / chroma(REDS), 0.7, 1.3),
        ("hue", {"hue": 0.1}, REDS, lambda i: hue(i) - hue(REDS), -36, 36),
    ],
)  # fmt: skip
def test_draws_cover_a_range_evenly(name, params, image, measure, low, high):
    values = np.sort(measured(measure, image, params, name))
    even = low + (high - low) * (np.arange(len(values)) + 0.5) / len(values)
    assert np.abs(values - even).max() < 0.025 * (high - low), "which 8 bits blur a little"


def degrees(y, x):
    return np.degrees(np.arctan2(y, x))


def chroma(images):
    return images[..., 0].mean((-2, -1)) - images[..., 1:].mean((-3, -2, -1))


def hue(images):
    """Degrees on the colour circle, 0 for red."""
    red, green, blue = np.moveaxis(images.mean((-3, -2)), -1, 0)
    return degrees(math.sqrt(3) * (green - blue), 2 * red - green - blue)


def test_half_is_mirrored(rng):
    draws = rng.random((20_000, DRAWS))
    images = np.broadcast_to(np.array([[[0, 90, 0], [90, 0, 0]]], np.uint8), (20_000, 1, 2, 3))
    images, _ = changed(images, np.zeros((20_000, 1, 2), np.uint8), draws, only(flip=True))
    assert (images[:, 0, 0, 0] == 90).mean() == pytest.approx(0.5, abs=0.015)
