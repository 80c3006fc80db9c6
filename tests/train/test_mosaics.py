"""The previews of pictures in tiles: put together as they were, and the window on the worst place."""

import numpy as np
import pytest
from helpers import PETS

from segpipe.common.codec import encode_png
from segpipe.common.files import first_by_hash
from segpipe.common.records import Tiles
from segpipe.preprocess.intensity import RGB_OF_8_BITS
from segpipe.preprocess.tiles import Cutter
from segpipe.train.mosaics import sheet, tile_samples
from segpipe.train.samples import Arrays

TILE = (32, 32)
PET, GROUND, BORDER = range(3)
TOP, COLUMN, LINE = 36, 516, 22
"""Pixels of a sheet: the headings, a column of 512 with its gap, a line of text with its gap."""


def cut(pictures, size=TILE):
    """The validation tiles of pictures (image and mask by name), as preprocess cuts them."""
    cutter = Cutter(size, Tiles(1.0), RGB_OF_8_BITS, None)
    images, masks, names = [], [], []
    for name, (image, truth) in pictures.items():
        raw = {"name": name.encode(), "image": encode_png(image), "mask": encode_png(truth)}
        for record, _ in cutter.cut(cutter.decoded(raw, "val")):
            images.append(np.frombuffer(record["image"], np.uint8).reshape(*size, 3))
            masks.append(np.frombuffer(record["mask"], np.uint8).reshape(size))
            names.append(record["name"].decode())
    return Arrays(np.stack(images), np.stack(masks), names)


def picture(rng, height, width):
    """Noise, and a mask of ground with a pet in its left half."""
    truth = np.full((height, width), GROUND, np.uint8)
    truth[height // 4 : height // 2, : width // 2] = PET
    return rng.integers(0, 256, (height, width, 3), np.uint8), truth


def perfect(shown, elsewhere=BORDER):
    """The true masks as predictions, and `elsewhere` where a tile does not count."""
    return np.where(shown.masks == 255, np.uint8(elsewhere), shown.masks)


def drawn(shown, predictions):
    return np.asarray(sheet(shown, predictions, PETS, "after epoch 1")).astype(int)


def outside(frame, difference):
    """Whether what differs is the frame alone: within two pixels of the outline of a box."""
    top, bottom, left, right = frame
    inner = difference[top + 2 : bottom - 2, left + 2 : right - 2].any()
    around = difference.copy()
    around[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = False
    return inner or around.any()


def test_a_picture_is_put_together_of_what_each_tile_has_of_its_own(rng):
    """100 x 75 px are drawn five times as large; what a tile predicts beyond its own part is unseen."""
    image, truth = picture(rng, 100, 75)
    shown = tile_samples(cut({"one": (image, truth)}), 1)
    pixels = drawn(shown, perfect(shown))
    middle = (34 * 5, 66 * 5, 21 * 5, 53 * 5)
    for number, expected in enumerate((image, PETS.palette[truth], PETS.palette[truth])):
        whole = pixels[TOP : TOP + 500, number * COLUMN : number * COLUMN + 375]
        differs = (whole != expected.repeat(5, 0).repeat(5, 1)).any(-1)
        assert differs.any(), "the frame"
        assert not outside(middle, differs)


def test_below_it_is_the_window_with_the_most_mistakes(rng):
    """A box of 8 x 8 from row 72, column 40: the first window of 32 with all of it is 24 before."""
    image, truth = picture(rng, 100, 75)
    shown = tile_samples(cut({"one": (image, truth)}), 1)
    wrong = truth.copy()
    wrong[72:80, 40:48] = BORDER
    predictions = cut({"one": (image, wrong)}).masks
    pixels = drawn(shown, np.where(predictions == 255, 0, predictions))
    window, below = (slice(48, 80), slice(16, 48)), TOP + 500 + LINE
    for number, expected in enumerate((image, PETS.palette[truth], PETS.palette[wrong])):
        close = pixels[below : below + 512, number * COLUMN : number * COLUMN + 512]
        assert np.array_equal(close, expected[window].repeat(16, 0).repeat(16, 1))


def test_a_large_picture_is_shrunk(rng):
    """513 x 100 px become 257 x 50 px."""
    image, truth = picture(rng, 513, 100)
    shown = tile_samples(cut({"one": (image, truth)}, (64, 64)), 1)
    pixels = drawn(shown, perfect(shown))
    truth_at = pixels[TOP : TOP + 257, COLUMN : COLUMN + 50]
    assert (truth_at[66:110, 1:24] == PETS.palette[PET]).all()
    assert (truth_at[180:250] == PETS.palette[GROUND]).all()
    assert len(pixels) == TOP + 257 + LINE + 512 + LINE + 18


def test_a_picture_within_a_tile_is_drawn_once_without_the_black_around_it(rng):
    image, truth = picture(rng, 20, 16)
    shown = tile_samples(cut({"one": (image, truth)}), 1)
    pixels = drawn(shown, perfect(shown))
    assert np.array_equal(pixels[TOP : TOP + 500, :400], image.repeat(25, 0).repeat(25, 1))
    assert len(pixels) == TOP + 500 + LINE + 18


def test_a_picture_without_a_counted_pixel_is_drawn(rng):
    image = rng.integers(0, 256, (50, 40, 3), np.uint8)
    shown = tile_samples(cut({"one": (image, np.full((50, 40), 255, np.uint8))}), 1)
    pixels = drawn(shown, perfect(shown))
    assert (pixels[TOP : TOP + 400, COLUMN : COLUMN + 100] == PETS.palette[255]).any()


def test_pictures_are_chosen_by_their_own_names_whatever_their_tiles_are_called(rng):
    pictures = {f"a@b {n}": picture(rng, 40 + n, 40) for n in range(6)}
    shown = tile_samples(cut(pictures), 2)
    of_tiles = dict.fromkeys(name.rpartition("@")[0] for name in shown.names)
    assert [*of_tiles] == first_by_hash(pictures, 2)
    backwards = tile_samples(cut(dict(reversed(pictures.items()))), 2)
    assert (shown.names, shown.images.tobytes()) == (backwards.names, backwards.images.tobytes())


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(224, 224, 8, 8), (32, 3000, 1, 64), (80, 3000, 3, 21), (3000, 80, 21, 3), (170, 300, 7, 9)],
)
def test_of_more_than_64_tiles_those_around_the_middle_are_predicted(rng, height, width, rows, columns):
    everything = cut({"one": picture(rng, height, width)})
    shown = tile_samples(everything, 1)
    assert len(shown.names) == rows * columns
    places = np.array([[int(n) for n in name.split("@")[1].split(",")] for name in shown.names])
    for axis, edge in enumerate((height, width)):
        middle = (places[:, axis].min() + places[:, axis].max() + 32) / 2
        assert abs(middle - edge / 2) <= 16


def test_the_middle_alone_is_drawn_without_the_margins_of_its_outer_tiles(rng):
    """Of 9 x 9 tiles at every 24 px, the 8 from the second on count from row 28 of 224 on."""
    image, truth = picture(rng, 224, 224)
    shown = tile_samples(cut({"one": (image, truth)}), 1)
    pixels = drawn(shown, perfect(shown))
    expected = image[28:, 28:].repeat(2, 0).repeat(2, 1)
    assert np.array_equal(pixels[TOP : TOP + 100, :392], expected[:100])
    assert len(pixels) == TOP + 392 + LINE + 512 + LINE + 18


def test_large_tiles_are_few(rng):
    """Of 2048 px, 4 million pixels each: no more than 8 million are held for a picture."""
    count = 9
    shown = Arrays(
        np.zeros((count, 2048, 2048, 1), np.uint8),
        np.zeros((count, 2048, 2048), np.uint8),
        [f"one@{1536 * (n // 3)},{1536 * (n % 3)}" for n in range(count)],
        (1,),
    )
    assert len(tile_samples(shown, 1).names) == 2


@pytest.mark.parametrize("size", [(4000, 20), (20, 4000), (4000, 1), (1, 4000)])
def test_a_picture_that_shrinks_to_a_thread_is_drawn_with_its_frame(rng, size):
    shown = cut({"thin": picture(rng, *size)})
    made = drawn(shown, np.full_like(shown.masks, BORDER))
    assert made.shape[0] > TOP + 2 * LINE, "the whole and its window, each with a line of text"
