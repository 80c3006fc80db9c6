"""Predicting from Python: images of any kind and size, tiles, averages of views."""

import sys
import tracemalloc

import keras
import numpy as np
import pytest
from helpers import PETS, ROOT, run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from segpipe import load_model
from segpipe.common.codec import encode_png
from segpipe.common.errors import UserError
from segpipe.common.modelfile import CARD_FORMAT
from segpipe.evaluate import tiles
from segpipe.evaluate.masks import mask_at_size
from segpipe.fetch.integrity import decode_pair
from segpipe.predict.images import Input
from segpipe.predict.predictor import Predictor
from segpipe.preprocess.record_maker import resize_sample
from segpipe.preprocess.resize import content_box, resize_image
from segpipe.train.saving import save_model


def card(size, resize="stretch", **changes):
    libraries = {"keras": "3.0.0"}
    made = {"format": CARD_FORMAT, "segpipe": "0.0.9", "libraries": libraries}
    return {**made, "image_size": size, "resize": resize, **PETS.to_json(), **changes}


def network(size, kernel=1, seed=0):
    """A network whose logits at a pixel depend on `kernel` pixels around it."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((*size, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    normal = keras.initializers.RandomNormal(stddev=2)
    logits = keras.layers.Conv2D(3, kernel, padding="same", kernel_initializer=normal)(scaled)
    return keras.Model(image, logits, name="unet")


@pytest.fixture(scope="module")
def by_pixel():
    """Sees one pixel at a time."""
    return Predictor(network((32, 64)), card((32, 64)))


@pytest.fixture(scope="module")
def predictor():
    """Sees a neighbourhood, and left is not right."""
    return Predictor(network((32, 64), 5), card((32, 64)))


def photo(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def test_an_image_of_any_size_gets_a_mask_of_its_size(predictor, rng):
    for size in ((1, 1), (7, 300), (32, 64), (90, 41)):
        mask = predictor.predict(photo(rng, *size))
        assert (mask.shape, mask.dtype) == (size, np.uint8)
        assert mask.max() < 3


def test_the_mask_is_the_scaled_softmax_of_the_resized_image(predictor, rng):
    image = photo(rng, 50, 70)
    seen = np.asarray(resize_image(Image.fromarray(image), (32, 64), "stretch"))
    logits = network((32, 64), 5)(seen[None])[0]
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
    assert (predictor.predict(image) == mask_at_size(probabilities, (50, 70), "stretch")).all()


def test_padding_is_undone(rng):
    padded = Predictor(network((32, 64)), card((32, 64), "pad"))
    image = np.zeros((64, 64, 3), np.uint8)  # becomes 32 x 32 with 16 columns of padding on each side
    image[:, 32:] = 255
    assert content_box((64, 64), (32, 64), "pad") == (0, 16, 32, 32)
    left, right = padded.predict(np.stack([image[:1, :1], image[:1, -1:]]))
    assert left[0, 0] != right[0, 0], "the network can tell black from white"
    mask = padded.predict(image)
    assert (mask[:, :30] == left[0, 0]).all()
    assert (mask[:, 34:] == right[0, 0]).all()


def test_one_image_or_many_of_every_kind(predictor, rng, tmp_path):
    image = photo(rng, 40, 50)
    grey = image[..., 0]
    Image.fromarray(image).save(tmp_path / "image.png")
    expected = predictor.predict(image)
    alpha = np.dstack([image, grey])
    as_pillow, path = Image.fromarray(image), tmp_path / "image.png"
    for same in (alpha, as_pillow, path, str(path), image[::-1][::-1]):
        assert (predictor.predict(same) == expected).all()
    of_grey = predictor.predict(np.dstack([grey] * 3))
    for same in (grey, grey[..., None], Image.fromarray(grey)):
        assert (predictor.predict(same) == of_grey).all()
    small = photo(rng, 9, 12)
    many = predictor.predict([image, small, path])
    assert [mask.shape for mask in many] == [(40, 50), (9, 12), (40, 50)]
    assert (many[2] == expected).all()
    stacked = predictor.predict(np.stack([image, image[::-1]]))
    assert len(stacked) == 2
    assert (stacked[0] == expected).all()
    assert predictor.predict([]) == []


@pytest.mark.parametrize("how", ["stretch", "pad"])
@pytest.mark.parametrize(
    ("mode", "orientation", "suffix"),
    [("RGB", 1, "jpg"), ("RGB", 6, "jpg"), ("L", 1, "jpg"), ("RGBA", 1, "png"), ("RGB", 1, "png")],
)
def test_a_file_is_seen_to_the_very_pixels_of_its_record(mode, orientation, suffix, how, rng, tmp_path):
    """Of the first one, a large JPEG that fetch keeps as it is, preprocess decodes a quarter."""
    path, exif = tmp_path / f"image.{suffix}", Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    noise = Image.fromarray(photo(rng, 40, 60)).resize((601, 397), Image.Resampling.BICUBIC)
    noise.convert(mode).save(path, exif=exif)
    mask = encode_png(np.zeros((601, 397) if orientation == 6 else (397, 601), np.uint8))
    picture, values = decode_pair(path.read_bytes(), mask, "image", "mask")
    kept = picture.encoded()
    sample = {"name": b"image", "image": kept, "mask": encode_png(values)}
    record = resize_sample(sample, (32, 64), how, with_original=False)
    seen, original, *_ = Input.of_card(card((32, 64), how)).fitted(path)
    assert original == (picture.height, picture.width)
    assert seen.tobytes() == record["image"]
    whole = resize_image(Image.fromarray(picture.pixels), (32, 64), how)
    assert (seen != np.asarray(whole)).any() == (kept == path.read_bytes() and suffix == "jpg")


def test_a_mask_does_not_depend_on_what_else_is_predicted(predictor, rng):
    images = [photo(rng, 20 + n, 30) for n in range(2 * predictor.batch_size + 3)]
    together = predictor.predict(images)
    assert all((predictor.predict(i) == m).all() for i, m in zip(images, together, strict=True))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32; expected uint8, 0..255; where its values are 0..1"),
        (np.zeros((4, 4), np.uint16), r"uint16; .* of 16 bits, take the upper 8"),
        (np.zeros((4, 4, 3), np.int64), "int64; .*astype"),
        (np.zeros((3, 40, 50), np.uint8), r"shape \[3, 40, 50\]; expected \[height, width\]"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \[0, 4, 3\]"),
        (np.zeros((2, 2, 2, 2, 3), np.uint8), r"shape \[2, 2, 2, 2, 3\]"),
        ([[1, 2], [3, 4]], "int64"),
        ("no/such.png", r"no/such.png: unreadable \(No such file"),
    ],
)
def test_what_is_no_image_is_an_error_that_teaches(predictor, image, words):
    with pytest.raises(UserError, match=words):
        predictor.predict(image)


def test_probabilities_add_up_to_one_and_the_mask_is_their_argmax(predictor, rng):
    images = [photo(rng, 45, 33), photo(rng, 100, 150)]
    views = {"tta": True, "scales": (1.0, 2.0)}
    for options in ({}, {"tta": True}, {"tile": True}, views, {**views, "tile": True}):
        masks = predictor.predict(images, **options)
        scores = predictor.predict_probabilities(images, **options)
        for mask, score in zip(masks, scores, strict=True):
            assert (score.shape, score.dtype) == ((*mask.shape, 3), np.float32)
            np.testing.assert_allclose(score.sum(-1), 1, atol=1e-5)
            assert (mask == score.argmax(-1)).all()


def test_tta_is_the_mean_over_the_image_and_its_mirror_image(predictor, rng):
    image = photo(rng, 32, 64)
    one, other = predictor.predict_probabilities([image, image[:, ::-1]])
    assert abs(one - other[:, ::-1]).max() > 0.1, "the network is not symmetric"
    averaged = predictor.predict_probabilities(image, tta=True)
    np.testing.assert_allclose(averaged, (one + other[:, ::-1]) / 2, atol=1e-6)


@pytest.mark.parametrize("tile", [False, True])
def test_scales_are_the_mean_over_what_each_gives(predictor, rng, tile):
    """In tiles too: those are blended linearly."""
    image = photo(rng, 70, 100)
    one, two = (predictor.predict_probabilities(image, scales=[s], tile=tile) for s in (1.0, 2.0))
    assert abs(one - two).max() > 0.1, "the network sees other neighbours"
    averaged = predictor.predict_probabilities(image, scales=[1.0, 2.0], tile=tile)
    np.testing.assert_allclose(averaged, (one + two) / 2, atol=1e-5)
    mask = predictor.predict(image, scales=[1.0, 2.0], tile=tile)
    assert (mask == averaged.argmax(-1)).all()


def test_a_scale_that_cannot_be_meant_is_refused(predictor, rng):
    for scales, words in (([0], "a scale of 0; expected 0.25 to 4"), ([1, 1.1], "both come to 32 x 64")):
        with pytest.raises(UserError, match=words):
            predictor.predict(photo(rng, 5, 5), scales=scales)


EDGES = st.integers(1, 3000)
TILES = st.sampled_from([32, 64, 96, 128, 224])


@given(EDGES, TILES)
def test_tiles_cover_an_edge_and_overlap_by_a_quarter(length, tile):
    begins = tiles.starts(length, tile)
    assert begins[0] == 0
    assert begins[-1] + tile == max(length, tile)
    gaps = np.diff(begins)
    assert ((gaps > 0) & (gaps <= 0.75 * tile)).all()


@given(EDGES, TILES)
def test_the_weights_of_tiles_add_up_to_one_at_every_pixel(length, tile):
    begins = tiles.starts(length, tile)
    weights = tiles.weights(begins, tile)
    total, alone = np.zeros(begins[-1] + tile), np.zeros(begins[-1] + tile)
    for begin, weight in zip(begins, weights, strict=True):
        total[begin : begin + tile] += weight
        alone[begin : begin + tile] += 1
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    for begin, weight in zip(begins, weights, strict=True):
        assert (weight[alone[begin : begin + tile] == 1] == 1).all()
    assert (weights[1:, 0] < 0.11).all(), "a tile fades in, at the worst from a pixel beside another's"


@pytest.mark.parametrize("size", [(32, 64), (20, 64), (32, 10), (1, 1)])
def test_a_picture_that_one_tile_covers_is_predicted_as_a_whole(predictor, rng, size):
    image = photo(rng, *size)
    whole, tiled = (predictor.predict_probabilities(image, tile=t) for t in (False, True))
    assert (whole == tiled).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 150), st.integers(1, 300), st.booleans())
def test_tiles_give_what_the_whole_gives_where_a_pixel_speaks_for_itself(by_pixel, height, width, tta):
    """A network that knows no neighbours, run on all of a picture at once, is the truth."""
    image = photo(np.random.default_rng(height * 1000 + width), max(height, 33), width)
    at_once = network((None, None))
    expected = keras.ops.convert_to_numpy(keras.ops.softmax(at_once(image[None])))[0]
    found = by_pixel.predict_probabilities(image, tile=True, tta=tta)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    first, second = np.sort(expected, -1)[..., -1], np.sort(expected, -1)[..., -2]
    clear = first - second > 1e-6
    assert clear.mean() > 0.99
    mask = by_pixel.predict(image, tile=True, tta=tta)
    assert (mask == expected.argmax(-1))[clear].all()


def test_tiles_need_no_more_memory_for_a_taller_picture(predictor):
    def peak(height):
        read = tiles.tiles_of(np.zeros((height, 200, 3), np.uint8), (32, 64))
        tracemalloc.start()
        shown = tiles.tiled(read, (height, 200), (32, 64))
        parts = tiles.predicted(lambda x: np.zeros((*x.shape[:3], 3), np.float32), shown, 4)
        for _ in tiles.blended(parts, (height, 200), (32, 64), 3):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak(100)
    assert peak(20_000) < 1.1 * peak(200) + 20_000 / 24 * 8 * 32 * 3, "but for the weights of its rows"


@settings(deadline=None, max_examples=50)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(2, 7)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from(["stretch", "pad"]),
)
def test_a_mask_holds_the_class_whose_scaled_probability_is_the_largest(shape, original, how):
    probabilities = np.random.default_rng(sum(shape)).random(shape, np.float32)
    box = content_box(original, shape[:2], how)
    scaled = [
        np.asarray(
            Image.fromarray(channel[box.within]).resize(original[::-1], Image.Resampling.BILINEAR)
        )
        for channel in np.moveaxis(probabilities, -1, 0)
    ]
    mask = mask_at_size(probabilities, original, how)
    chosen = np.take_along_axis(np.stack(scaled), mask[None], 0)[0]
    assert (np.max(scaled, 0) - chosen).max() < 1e-6, "but for what rounding makes equal"


@pytest.fixture
def saved(tmp_path):
    def save(**changes):
        path = tmp_path / "model.keras"
        save_model(network((32, 64)), path, card((32, 64), **changes))
        return path

    return save


def test_load_model_gives_classes_size_and_how_pictures_are_resized(saved, by_pixel, rng):
    path = saved(resize="pad")
    model = load_model(path)
    assert (model.classes, model.size, model.resize) == (PETS, (32, 64), "pad")
    image = photo(rng, 16, 32)
    assert (load_model(str(path)).predict(image) == by_pixel.predict(image)).all()


def test_importing_segpipe_imports_nothing_heavy():
    code = "import sys, segpipe; print(sorted({'numpy', 'keras', 'tensorflow'} & {*sys.modules}))"
    assert run(sys.executable, "-c", code, cwd=ROOT).stdout == "[]\n"


def test_a_model_of_another_card_format_is_refused_in_words(saved):
    with pytest.raises(
        UserError, match=r"saved by segpipe 0\.0\.9 with a card of format 1, and this is"
    ):
        load_model(saved(format=1))


def test_a_model_that_this_keras_cannot_read_is_refused_with_the_versions(saved):
    path = saved()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"Rescaling", b"Upscaling"))
    with pytest.raises(UserError) as caught:
        load_model(path)
    message = str(caught.value)
    assert f"cannot be read by Keras {keras.__version__} and segpipe " in message
    assert "it was saved by Keras 3.0.0 and segpipe 0.0.9: install those, or train it again" in message


def test_a_network_that_gives_no_numbers_is_an_error(rng):
    broken = network((32, 64))
    broken.set_weights([np.full_like(weight, np.nan) for weight in broken.get_weights()])
    for scales in ([1.0], [1.0, 2.0]):
        with pytest.raises(UserError, match="the model predicts NaN or infinity"):
            Predictor(broken, card((32, 64))).predict(photo(rng, 5, 5), scales=scales)
