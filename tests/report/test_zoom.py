"""The report of pictures in tiles: whole and window are the right pixels, the memory stays small."""

import tracemalloc

import numpy as np
import pytest
from helpers import PETS
from PIL import Image

from segpipe.common.codec import encode_png
from segpipe.common.records import Manifest, Tiles
from segpipe.common.tfrecord import write_shards
from segpipe.preprocess.intensity import RGB_OF_8_BITS
from segpipe.preprocess.tiles import Cutter
from segpipe.report import grids, zoom
from segpipe.report.build import write_samples
from segpipe.report.zoom import read_wholes, read_zoomed

TILE, RGB = (32, 32), (0, 1, 2)
PET, GROUND = 0, 1


def picture(rng, height, width):
    """Noise, and a mask of ground with a pet in its upper half."""
    truth = np.full((height, width), GROUND, np.uint8)
    truth[: height // 2, width // 4 : width // 2] = PET
    return rng.integers(0, 256, (height, width, 3), np.uint8), truth


def records_of(folder, pictures, predictions, scale=1.0):
    """Records and predictions of test pictures by name, as preprocess and evaluate write them."""
    cutter = Cutter(TILE, Tiles(scale), RGB_OF_8_BITS, None)

    def rows():
        for name, (image, truth) in pictures.items():
            raw = {"name": name.encode(), "image": encode_png(image), "mask": encode_png(truth)}
            yield from ((name, record) for record, _ in cutter.cut(cutter.decoded(raw, "test")))

    def predicted():
        for name, record in rows():
            top = record["top"]
            held = len(record["mask"]) // record["scaled_width"]
            part = predictions[name][top : top + held]
            yield {"name": name.encode(), "mask": encode_png(part)}

    shards = write_shards(folder, "test", (record for _, record in rows()), 0.05)
    (folder / "predictions").mkdir()
    write_shards(folder / "predictions", "test", predicted(), 0.05)
    pixels = {"pet": 1, "background": 2, "border": 3}
    test = {"samples": sum(s["samples"] for s in shards), "class_pixels": pixels, "shards": shards}
    manifest = Manifest(
        folder, "a test", TILE, "tiles", PETS, {"test": test}, [], tiles=Tiles(scale)
    )  # fmt: skip
    return manifest, folder / "predictions"


def test_a_small_picture_is_shown_as_it_is_and_the_window_lies_on_the_planted_error(tmp_path, rng):
    """A box of 16 x 16 from row 40, column 56: the first window of 32 with all of it is 16 before."""
    image, truth = picture(rng, 100, 90)
    wrong = truth.copy()
    wrong[40:56, 56:72] = PET
    wrong[90, :20] = PET
    manifest, predictions = records_of(tmp_path, {"a": (image, truth)}, {"a": wrong})
    shown = read_zoomed(manifest, predictions, {"a"}, RGB)["a"]
    assert (shown.top, shown.left, shown.right, shown.is_whole) == (24, 40, False, False)
    expected = {
        "image": image, "truth": truth, "prediction": wrong, "errors": grids.errors(truth, wrong),
    }  # fmt: skip
    for name, pixels in expected.items():
        assert np.array_equal(shown.whole[name], pixels)
        assert np.array_equal(shown.window[name], pixels[24:56, 40:72])


def test_a_large_picture_is_shrunk_and_its_window_is_not(tmp_path, rng):
    image, truth = picture(rng, 600, 1030)  # by 3
    wrong = truth.copy()
    wrong[500:520, 1000:1020] = PET
    manifest, predictions = records_of(tmp_path, {"a": (image, truth)}, {"a": wrong})
    shown = read_zoomed(manifest, predictions, {"a"}, RGB)["a"]
    assert {view.shape[:2] for view in shown.whole.values()} == {(200, 344)}
    means = image[:, :1029].reshape(200, 3, 343, 3, 3).mean((1, 3))
    assert np.abs(shown.whole["image"][:, :343] - means).max() <= 0.5
    assert (shown.whole["prediction"][167:173, 334:340] == PET).all()
    assert (shown.top, shown.left) == (488, 992), "the first multiples of 8 whose window has the box"
    assert np.array_equal(shown.window["prediction"], wrong[488:520, 992:1024])


def test_only_the_pictures_asked_for_are_read_and_each_from_its_own_rows(tmp_path, rng):
    pictures = {name: picture(rng, 70 + 20 * n, 50) for n, name in enumerate("abc")}
    masks = {name: np.roll(truth, 9, 0) for name, (_, truth) in pictures.items()}
    manifest, predictions = records_of(tmp_path, pictures, masks)
    shown = read_zoomed(manifest, predictions, {"a", "c"}, RGB)
    assert [*shown] == ["a", "c"]
    for name, one in shown.items():
        assert np.array_equal(one.whole["image"], pictures[name][0])
        assert np.array_equal(one.whole["prediction"], masks[name])
    wholes = read_wholes(manifest, predictions, {"b"}, RGB)
    assert np.array_equal(wholes["b"]["truth"], pictures["b"][1])


def test_a_picture_that_fits_into_a_tile_has_no_window_of_its_own(tmp_path, rng):
    image, truth = picture(rng, 20, 32)
    manifest, predictions = records_of(tmp_path, {"a": (image, truth)}, {"a": truth})
    shown = read_zoomed(manifest, predictions, {"a"}, RGB)["a"]
    assert shown.is_whole
    assert shown.right
    assert np.array_equal(shown.whole["image"], image), "without the black around it"


def test_ignored_pixels_are_no_mistakes(tmp_path, rng):
    image, truth = picture(rng, 100, 90)
    truth[:60] = 255
    wrong = np.full_like(truth, GROUND)
    wrong[80:82, 80:82] = PET
    manifest, predictions = records_of(tmp_path, {"a": (image, truth)}, {"a": wrong})
    shown = read_zoomed(manifest, predictions, {"a"}, RGB)["a"]
    assert (shown.top, shown.left) == (56, 56)


def test_a_tall_picture_takes_little_memory(tmp_path, rng):
    """Of 8 million pixels, whose images and masks are 40 MB."""
    tall = np.zeros((20_000, 400), np.uint8)
    image = np.broadcast_to(rng.integers(0, 256, (1, 400, 3), np.uint8), (20_000, 400, 3))
    wrong = tall.copy()
    wrong[19_000:19_010] = 1
    manifest, predictions = records_of(tmp_path, {"tall": (image, tall)}, {"tall": wrong})
    del image, tall, wrong
    tracemalloc.start()
    shown = read_zoomed(manifest, predictions, {"tall"}, RGB)["tall"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6
    assert shown.whole["truth"].shape == (500, 10)  # by 40
    assert shown.top == 18_984, "the first multiple of 8 with the ten rows of the stripe in its 32"


@pytest.fixture
def shown(tmp_path, rng):
    """Two pictures by label, one of which is shrunk by 2 and has a mistake from row 64, column 128."""
    pictures = {"large": picture(rng, 300, 600), "small": picture(rng, 32, 24)}
    masks = {name: truth.copy() for name, (_, truth) in pictures.items()}
    masks["large"][64:96, 128:160] = 2
    manifest, predictions = records_of(tmp_path, pictures, masks)
    return read_zoomed(manifest, predictions, {*pictures}, RGB)


def rendered(figure, path):
    """The pixels of a figure."""
    figure.savefig(path)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_figure_shows_whole_numbers_of_pixels_and_frames_the_window(shown, tmp_path):
    headings = ["image", "truth", "prediction", "errors"]
    figure = zoom.drawn([("one", shown["large"]), ("two", shown["small"])], headings, PETS)
    drawn = rendered(figure, tmp_path / "figure.png")
    top, column = 2 * zoom._LINE, 512 + zoom._GAP
    below = top + 150 + zoom._LINE  # the large one has 150 x 300 px
    window = drawn[below : below + 512, :512]
    assert np.array_equal(window, shown["large"].window["image"].repeat(16, 0).repeat(16, 1))
    whole = drawn[top : top + 150, column : column + 300]
    expected = PETS.palette[shown["large"].whole["truth"]]
    differs = np.argwhere((whole != expected).any(-1))
    assert (differs.min(0) >= (28, 60)).all(), "the frame, of 16 x 16 from row 32, column 64"
    assert (differs.max(0) <= (51, 83)).all()
    assert not (whole != expected).any(-1)[37:43, 69:75].any(), "only its outline"
    third = below + 512 + zoom._PART + zoom._LINE
    small = drawn[third : third + 512, column : column + 384]
    assert np.array_equal(small, PETS.palette[shown["small"].whole["truth"]].repeat(16, 0).repeat(16, 1))


def test_the_picture_for_git_is_small_and_the_same_every_time(shown, tmp_path):
    for file in ("one.jpg", "two.jpg"):
        write_samples(shown, ["large", "small"], PETS, tmp_path / file)
    with Image.open(tmp_path / "one.jpg") as drawn:
        assert drawn.format == "JPEG"
        assert max(drawn.size) < 800
    assert (tmp_path / "one.jpg").read_bytes() == (tmp_path / "two.jpg").read_bytes()


def test_a_hundred_pictures_make_a_figure_that_can_be_drawn(shown):
    figure = zoom.drawn([("one", shown["large"])] * 100, ["truth"], PETS)
    assert figure.get_figheight() * figure.dpi <= zoom._TALLEST
