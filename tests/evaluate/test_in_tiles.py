"""Scoring pictures of tiles row by row gives what whole arrays give."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from helpers import PETS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segpipe.common import records
from segpipe.common.codec import encode_png
from segpipe.common.records import Tiles
from segpipe.evaluate import metrics, tiles
from segpipe.evaluate.evaluation import Evaluation
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Encoded, Sample
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.tiles import original_starts, starts
from segpipe.preprocess.write import write_records

SIZES = [(100, 150), (33, 200), (20, 40), (300, 50), (1, 64)]


def logits(images):
    """A network that knows no neighbours: a band says how likely its class is."""
    return images.astype(np.float32) / 64


def drawing(number, height, width):
    """Blocks of classes with ignored pixels, and a noisy picture of them."""
    rng = np.random.default_rng([number, height])
    small = rng.integers(1, 4, (height // 7 + 1, width // 7 + 1), np.uint8)
    mask = small.repeat(7, 0).repeat(7, 1)[:height, :width]
    noise = rng.integers(0, 130, (*mask.shape, 3), np.uint8)
    return np.eye(4, dtype=np.uint8)[mask][..., 1:] * 120 + noise, mask


@pytest.fixture(scope="module")
def make_manifest(tmp_path_factory):
    def make(scale):
        folder = tmp_path_factory.mktemp("data")

        def found():
            for split in ("test", "val", "train"):
                for number, size in enumerate(SIZES):
                    image, mask = drawing(10 * ("test", "val", "train").index(split) + number, *size)
                    content = Encoded(encode_png(image), encode_png(mask))
                    yield Sample(f"{split}{number}", split, "i", "m", content)

        write_raw("a test", found(), PETS, False, 100, folder / "raw", 1)
        format_ = RecordFormat((32, 32), "tiles", tiles=Tiles(scale, 0.25, 1.0))
        write_records(folder / "raw", PETS, format_, SplitRule(0.3), 100, folder / "records", 1)
        return records.open_records(folder / "records")

    return make


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_rows_of_tiles_score_what_whole_pictures_score(make_manifest, batch):
    """At scale 1 the blended probabilities of such a network are those of each pixel alone."""
    manifest = make_manifest(1.0)
    evaluation = Evaluation(logits, manifest, batch)
    rows = list(evaluation.predictions())
    confusion, boundaries = np.zeros((3, 3), int), np.zeros((2, 4, 3), int)
    by_distance = np.zeros((2, len(metrics.BANDS)), int)
    for number, size in enumerate(SIZES):
        image, mask = drawing(number, *size)
        truth, prediction = mask - 1, image.argmax(-1).astype(np.uint8)
        joined = np.concatenate([part for name, part in rows if name == f"test{number}"])
        assert (joined == prediction).mean() > 0.999, "but for ties"
        confusion += metrics.confusion_matrix(truth, joined, 3)
        boundaries += metrics.boundary_counts(truth, joined, 3)
        band, right = metrics.boundary_bands(truth), truth == joined
        by_distance += [np.bincount(b.ravel(), minlength=6) for b in (band, band[right])]
    assert (evaluation.network_confusion == confusion).all()
    assert (evaluation.original_confusion == confusion).all()
    assert (evaluation.boundaries == boundaries).all()
    assert (evaluation._by_distance == by_distance).all()
    found = evaluation.metrics()
    assert found["images"] == len(SIZES)
    assert found["network"]["mean_iou"] == found["original"]["mean_iou"] > 0.5
    per_image = evaluation.per_image()
    assert per_image[["height", "width"]].to_numpy().tolist() == [list(size) for size in SIZES]


@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_every_pixel_is_scored_once_at_either_size(make_manifest, scale):
    manifest = make_manifest(scale)
    evaluation = Evaluation(logits, manifest, 7)
    rows = list(evaluation.predictions())
    assert evaluation.original_confusion.sum() == sum(height * width for height, width in SIZES)
    scaled = [Tiles(scale).scaled(size) for size in SIZES]
    assert evaluation.network_confusion.sum() == sum(height * width for height, width in scaled)
    for number, size in enumerate(scaled):
        assert sum(len(part) for name, part in rows if name == f"test{number}") == size[0]
    if scale > 1:
        assert evaluation.metrics()["original"]["mean_iou"] > 0.8, "shrinking averages the noise"


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 200), st.integers(1, 60), st.floats(0.1, 2), st.sampled_from([32, 64]))
def test_rows_are_brought_to_the_original_size_as_the_whole_would_be(height, width, scale, tile):
    size = Tiles(scale).scaled((height, width))
    if min(size) < 1:
        return
    whole = np.random.default_rng(height).random((*size, 2), np.float32)
    cuts = [*starts(size[0], tile), size[0]]
    rows = (whole[a:b] for a, b in pairwise(cuts))
    parts = list(tiles.at_original(rows, size, (height, width), tile))
    channels = (Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(whole, -1, 0))
    resized = [channel.resize((width, height), Image.Resampling.BILINEAR) for channel in channels]
    expected = np.stack(resized, -1)
    assert np.diff(original_starts(cuts[:-1], size[0], height)).tolist() == [len(part) for part in parts]
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 20))
def test_each_row_comes_once_with_the_rows_around_it(heights, reach):
    total, position = sum(heights), 0
    of_picture = tiles.Neighbourhood(reach)
    given_rows, own = np.arange(total), []
    for number, height in enumerate(heights):
        part = given_rows[position : position + height]
        position += height
        (rows,), mine = of_picture.add([part], number == len(heights) - 1)
        own += rows[mine].tolist()
        for row in rows[mine]:
            around = range(max(row - reach, 0), min(row + reach + 1, total))
            assert {*around} <= {*rows.tolist()}
    assert own == given_rows.tolist()


def test_memory_does_not_grow_with_the_height_of_a_picture():
    def peak(height):
        def rows():
            for top, end in pairwise(cuts):
                yield np.zeros((end - top, 64, 3), np.float32)

        cuts = [*starts(height, 32), height]
        tracemalloc.start()
        for _ in tiles.at_original(rows(), (height, 64), (2 * height, 128), 32):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(20_000) < 1.5 * peak(200) + 20_000 * 16
