"""Pictures cut into pieces and tiles: every pixel is where it was, and counts as often as promised."""

import io
from itertools import pairwise

import numpy as np
import pytest
from helpers import PETS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segpipe.common import records
from segpipe.common.classes import IGNORE
from segpipe.common.codec import encode_png
from segpipe.common.errors import UserError
from segpipe.common.records import Tiles
from segpipe.common.traits import FILE as TRAITS
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Encoded, Sample
from segpipe.preprocess import tiles
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records

EDGES = st.integers(1, 5000)
TILE = st.sampled_from([32, 64, 96, 128])


def picture(number, height, width, split, empty=False):
    """Noise whose mask is the first band by thirds; an empty one is background alone."""
    rng = np.random.default_rng([number, height, width, ord(split[1])])
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    values = np.full((height, width), 2, np.uint8) if empty else 1 + image[..., 0] // 86
    content = Encoded(encode_png(image), encode_png(values))
    return Sample(f"{split}{number}", split, f"{number}.png", f"{number}.png", content)


@pytest.fixture
def cut(tmp_path):
    """Cut pictures of these sizes, as training, validation and test pictures."""

    def make(*sizes, size=(32, 32), threads=2, empty=(), **how):
        found = [
            picture(number, *one, split, number in empty)
            for split in ("test", "val", "train")
            for number, one in enumerate(sizes)
        ]
        raw, folder = tmp_path / "raw", tmp_path / f"records {threads}"
        if not raw.exists():
            write_raw("a test", iter(found), PETS, False, 100, raw, 1)
        given_tiles = Tiles(**({"scale": 1.0, "margin": 0.25, "keep_empty": 1.0} | how))
        format_ = RecordFormat(size, "tiles", tiles=given_tiles)
        write_records(raw, PETS, format_, SplitRule(0.3), 0.05, folder, threads)
        return records.open_records(folder)

    return make


def pixels_of(number, split, *size):
    """The image and the class indices of a picture."""
    one = picture(number, *size, split)
    image, mask = (np.asarray(Image.open(io.BytesIO(data))) for data in one.content.read())
    return image, mask - 1


def test_pictures_at_their_own_size_are_decoded_once_and_have_the_traits_of_others(cut, monkeypatch):
    """At half their size a second decoding is what the traits are measured on."""
    sizes = [(50, 70), (90, 40)]
    twice = cut(*sizes, threads=1, scale=0.5)

    def never(_):
        raise AssertionError("decoded for the traits alone")

    monkeypatch.setattr("segpipe.preprocess.record_maker.decode_image", never)
    once = cut(*sizes, threads=2)
    traits = [(manifest.folder / TRAITS).read_bytes() for manifest in (once, twice)]
    assert traits[0] == traits[1] and traits[0].count(b"\n") == 5


@given(EDGES, TILE, st.sampled_from([0, 0.25, 0.5, 1]))
def test_pieces_cover_an_edge_at_most_a_tile_apart_and_do_not_leave_the_picture(length, tile, margin):
    piece = tile + 2 * round(tile * margin)
    begins = tiles.piece_starts(length, tile, piece)
    if length <= piece:
        assert begins == [-((piece - length) // 2)]
    else:
        assert (begins[0], begins[-1] + piece) == (0, length)
        assert all(0 < after - before <= tile for before, after in pairwise(begins))


@given(EDGES, TILE)
def test_each_pixel_of_an_edge_counts_in_exactly_one_tile_that_holds_it(length, tile):
    begins = tiles.starts(length, tile)
    owned = tiles.own_ranges(begins, tile, length)
    assert [pixel for own in owned for pixel in range(*own)] == list(range(length))
    for begin, (first, end) in zip(begins, owned, strict=True):
        assert begin <= first <= end <= begin + tile


@given(EDGES, TILE, st.floats(0.1, 2))
def test_the_rows_of_the_original_are_parted_where_those_of_the_scaled_picture_are(length, tile, scale):
    scaled = Tiles(scale).scaled((length, length))[0]
    if scaled:
        parts = tiles.original_starts(tiles.starts(scaled, tile), scaled, length)
        assert (parts[0], parts[-1]) == (0, length)
        assert parts == sorted(parts)


def test_training_pieces_hold_the_pixels_of_their_place(cut):
    manifest = cut((100, 150), (20, 40))
    assert manifest.shape("train") == (48, 48, 3)
    found = {one["name"]: one for one in records.read(manifest, "train")}
    image, mask = pixels_of(0, "train", 100, 150)
    # 100 px: pieces of 48 at 0, 26 and 52; 150 px: five, 25.5 px apart.
    places = [(top, left) for top in (0, 26, 52) for left in (0, 25, 51, 76, 102)]
    of_first = [name for name in found if name.startswith("train0")]
    assert of_first == [f"train0@{top},{left}" for top, left in places]
    for top, left in places:
        one = found[f"train0@{top},{left}"]
        assert (one["image"] == image[top : top + 48, left : left + 48]).all()
        assert (one["mask"] == mask[top : top + 48, left : left + 48]).all()


def test_a_picture_smaller_than_a_piece_lies_in_its_middle_and_the_rest_does_not_count(cut):
    one = next(one for one in records.read(cut((20, 40)), "train"))
    image, mask = pixels_of(0, "train", 20, 40)
    assert one["name"] == "train0@0,0"
    assert (one["image"][14:34, 4:44] == image).all()
    assert (one["mask"][14:34, 4:44] == mask).all()
    assert (one["mask"] == IGNORE).sum() == 48 * 48 - 20 * 40
    assert one["image"].astype(int).sum() == image.astype(int).sum(), "black around it"


@pytest.mark.parametrize("size", [(100, 150), (20, 40), (4000, 50), (50, 4000), (33, 32), (1, 1)])
def test_validation_tiles_count_each_pixel_once_and_nothing_else(cut, size):
    image, mask = pixels_of(0, "val", *size)
    seen = np.zeros(size, int)
    manifest = cut(size)
    for one in records.read(manifest, "val"):
        top, left = map(int, one["name"].partition("@")[2].split(","))
        for y, x in np.argwhere(one["mask"] != IGNORE)[:: 1 if np.prod(size) < 10**4 else 97]:
            assert one["mask"][y, x] == mask[top + y, left + x]
            assert (one["image"][y, x] == image[top + y, left + x]).all()
        counted = one["mask"] != IGNORE
        inside = counted[: size[0] - top, : size[1] - left]
        assert counted.sum() == inside.sum()
        seen[top : top + 32, left : left + 32] += inside
    assert (seen == 1).all()
    split = manifest.splits["val"]
    assert sum(split["class_pixels"].values()) == np.prod(size)
    assert split["ignored_share"] == 0, "what is outside of a tile's own part is not ignored data"
    assert (split["pictures"], manifest.pictures("val")) == (1, 1)


@pytest.mark.parametrize("scale", [1.0, 0.5, 1.3])
def test_test_records_are_rows_of_tiles_that_join_to_the_picture(cut, scale):
    manifest = cut((100, 150), scale=scale)
    rows = list(records.read(manifest, "test"))
    assert {row["original"] for row in rows} == {(100, 150)}
    ((height, width),) = {row["scaled"] for row in rows}
    assert (height, width) == Tiles(scale).scaled((100, 150))
    truth = np.concatenate([row["original_mask"] for row in rows])
    assert (truth == pixels_of(0, "test", 100, 150)[1]).all()
    assert np.concatenate([row["mask"] for row in rows]).shape == (height, width)
    assert [row["top"] for row in rows] == tiles.starts(height, 32)
    assert {row["image"].shape for row in rows} == {(32, width, 3)}


def test_scaled_records_are_those_of_stretching_to_that_size(cut):
    manifest = cut((100, 150), scale=0.5)
    image = Image.fromarray(pixels_of(0, "val", 100, 150)[0]).resize((75, 50), Image.Resampling.BILINEAR)
    for one in records.read(manifest, "val"):
        top, left = map(int, one["name"].partition("@")[2].split(","))
        assert (one["image"] == np.asarray(image)[top : top + 32, left : left + 32]).all()


def test_pieces_of_the_commonest_class_alone_are_kept_as_asked_and_the_rest_is_said(cut):
    def names(keep):
        manifest = cut((100, 150), (200, 200), empty=(1,), keep_empty=keep)
        return {one["name"] for one in records.read(manifest, "train")}, manifest.cut

    every, nothing_said = names(1.0)
    half, said = names(0.5)
    none, _ = names(0.0)
    assert nothing_said == []
    assert none < half < every
    assert {name.partition("@")[0] for name in none} == {"train0"}
    pieces = sum(name.startswith("train1") for name in every)
    kept = sum(name.startswith("train1") for name in half)
    assert 0.2 < kept / pieces < 0.8
    assert said == [
        f"{pieces - kept} training pieces hold nothing but background and are left out "
        "(data.tiles.keep_empty = 0.5)"
    ]


def test_where_all_is_empty_there_is_nothing_to_train_on(cut):
    words = "no training piece is left: .* nothing but background .*; raise data.tiles.keep_empty"
    with pytest.raises(UserError, match=words):
        cut((100, 150), empty=(0,), keep_empty=0.0)


def test_a_scale_that_leaves_less_than_a_pixel_names_the_picture(cut):
    words = r"train0: data\.tiles\.scale = 0\.1 makes its 100x4 px less than one pixel; raise it"
    with pytest.raises(UserError, match=words):
        cut((4, 100), scale=0.1)


def test_tiles_larger_than_every_picture_are_said(cut):
    (said,) = cut((30, 30), (20, 40), size=(32, 64)).cut
    assert said == (
        "every picture fits into one tile of 32 x 64 px (height x width), which is black around it; "
        "data.resize: stretch would enlarge it to fill the input"
    )


def test_bytes_do_not_depend_on_the_threads(cut):
    one, three = (cut((100, 150), (20, 40), threads=threads).folder for threads in (1, 3))
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {
        p.name: p.read_bytes() for p in three.iterdir()
    }
