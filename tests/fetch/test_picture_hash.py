"""The perceptual hash: close for copies of a picture, far for other pictures, none for a flat one."""

import io
import itertools

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from segpipe.common.duplicates import NEAR
from segpipe.fetch.duplicates import phash, picture_hash
from segpipe.fetch.pictures import Decoded


def hashed(pixels, invalid=None):
    pixels = np.asarray(pixels)
    return picture_hash(Decoded(pixels.reshape(*pixels.shape[:2], -1), 3, 1, invalid))


def distance(one, other):
    return (int(one, 16) ^ int(other, 16)).bit_count()


def saved_again(picture):
    """Quality 50, half the size, 10 % brighter, 2 % of each edge cut off."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=50)
    width, height = picture.size
    half = Image.open(buffer).resize((width // 2, height // 2))
    brighter = ImageEnhance.Brightness(half).enhance(1.1)
    width, height = brighter.size
    return brighter.crop((width // 100, height // 100, width - width // 100, height - height // 100))


@pytest.fixture(scope="module")
def photographs(pet_dir):
    return {path.stem: Image.open(path).convert("RGB") for path in sorted(pet_dir.glob("images/*.jpg"))}


def test_of_600_photographs_only_copies_are_found(photographs):
    """Looked at by eye: these are pairs of one photograph, in other crops and sizes."""
    hashes = {name: hashed(picture) for name, picture in photographs.items()}
    pairs = itertools.combinations(hashes, 2)
    found = {(a, b) for a, b in pairs if distance(hashes[a], hashes[b]) <= NEAR}
    true = {
        (f"Abyssinian_{a}", f"Abyssinian_{b}")
        for a, b in ((5, 87), (11, 177), (40, 63), (24, 56), (122, 172), (151, 99), (66, 82), (24, 80))
    }
    assert found <= true
    assert len(found) == 7


def test_a_photograph_that_was_saved_again_is_found(photographs):
    some = list(photographs.values())[::20]
    assert [p for p in some if distance(hashed(p), hashed(saved_again(p))) > NEAR] == []


def test_bits_are_those_of_imagehash(photographs, rng):
    noise = [Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)) for _ in range(50)]
    for picture in [*list(photographs.values())[::10], *noise]:
        small = picture.convert("L").resize((32, 32))
        assert phash(np.asarray(small)) == str(imagehash.phash(small))


@pytest.fixture
def scene(rng):
    """A smooth picture, uint8 [96, 128, 3]."""
    blobs = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    return np.asarray(blobs.resize((128, 96), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    "deep",
    [
        lambda grey: grey.astype(np.uint16) * 16 + 300,
        lambda grey: (grey / 1e6).astype(np.float32),
        lambda grey: np.stack([grey, grey, grey, grey], 2),  # four bands
    ],
)
def test_a_picture_of_any_depth_and_bands_has_the_hash_of_its_grey(scene, deep):
    grey = scene.mean(2).astype(np.uint8)
    assert distance(hashed(deep(grey)), hashed(np.stack([grey] * 3, 2))) <= 4


def test_pixels_without_data_do_not_count(scene):
    grey = scene.mean(2).astype(np.float32)
    invalid = np.zeros(grey.shape, bool)
    invalid[:10, :10] = True
    holes = np.where(invalid, -9999, grey)
    assert distance(hashed(holes, invalid), hashed(np.where(invalid, np.median(grey), grey))) <= 4
    assert hashed(np.where(invalid, np.nan, grey), invalid) == hashed(holes, invalid)


def test_a_flat_picture_has_no_hash(rng):
    assert hashed(np.full((40, 40, 3), 7, np.uint8)) == ""
    assert hashed(rng.integers(100, 103, (256, 256, 3), np.uint8)) == "", "noise alone"
    assert hashed(np.zeros((40, 40), np.float32)) == ""
    assert hashed(np.full((40, 40), np.nan, np.float32), np.ones((40, 40), bool)) == ""


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2000, 3)])
def test_odd_sizes_have_a_hash_or_none(rng, size):
    assert len(hashed(rng.integers(0, 256, (*size, 3), np.uint8))) in (0, 16)
    assert len(hashed(rng.integers(0, 9999, size, np.uint16))) in (0, 16)
