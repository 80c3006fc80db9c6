"""The counts of each test image: small, exact where they fit, the same bytes every time."""

import base64
import bz2
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segpipe.evaluate import metrics
from segpipe.evaluate.counts import EXACT, Counts, decode, encode, from_levels, levels


def drawn(rng, images, classes, present):
    """Counts as random as real ones: pictures of many sizes, regions of all sizes, many mistakes."""
    pixels = np.zeros((images, 3, classes), np.int64)
    for counts in pixels:
        chosen = rng.choice(classes, present, replace=False)
        truth = rng.multinomial(rng.integers(300, 500) * 500, rng.dirichlet(np.ones(present)))
        hits = rng.binomial(truth, rng.beta(8, 2, present))
        wrong = rng.multinomial(truth.sum() - hits.sum(), rng.dirichlet(np.ones(present)))
        counts[:, chosen] = hits, truth, hits + wrong
    names = sorted(f"photo_{number:06d}" for number in rng.choice(10**6, images, replace=False))
    return Counts(names, [f"class {number}" for number in range(classes)], pixels)


@pytest.mark.parametrize("present", [3, pytest.param(10, marks=pytest.mark.slow), 20])
def test_4000_images_and_20_classes_take_at_most_200_kb(rng, present):
    counts = drawn(rng, 4000, 20, present)
    text = encode(counts)
    assert len(text.encode()) <= 200_000
    found = decode(text)
    assert (found.images, found.classes) == (counts.images, counts.classes)
    assert (np.abs(found.pixels - counts.pixels) <= counts.pixels * 2.0**-found.bits).all()
    exact, rounded = (metrics.scores(c.pixels.sum(0)) for c in (counts, found))
    assert rounded["mean_iou"] == pytest.approx(exact["mean_iou"], abs=0.0005)
    assert rounded["iou"] == pytest.approx(exact["iou"], abs=0.003)
    assert encode(found) == text


def test_counts_that_fit_are_exact_and_the_bytes_are_always_the_same(rng):
    counts = drawn(rng, 500, 20, 10)
    text = encode(counts)
    found = decode(text)
    assert found.bits == EXACT and (found.pixels == counts.pixels).all()
    assert encode(found) == text


def test_rounding_leaves_so_many_significant_bits_and_small_counts_as_they_are():
    counts = np.array([0, 1, 7, 8, 9, 11, 13, 15, 16, 1000, 1023, 2**40 + 1])  # 8 to 16 in steps of 2
    numbers = levels(counts, 3)
    assert from_levels(numbers, 3).tolist() == [0, 1, 7, 8, 8, 12, 12, 16, 16, 1024, 1024, 2**40]
    assert numbers[:4].tolist() == [0, 1, 7, 8]


@given(
    arrays.arrays(np.int64, (4, 2, 3), elements=st.integers(0, 2**45)), st.lists(st.text(), max_size=4)
)
def test_any_names_and_counts_come_back(numbers, names):
    names = [f"{number}{name}" for number, name in enumerate([*names, *"abcd"][:4])]
    names = [name.replace("\r", "").replace("\x00", "") for name in names]
    truth, other = numbers.transpose(1, 0, 2)
    pixels = np.stack([np.minimum(truth, other), truth, other], axis=1)
    found = decode(encode(Counts(names, ["1", "a,b", "None"], pixels)))
    assert (found.images, found.classes) == (names, ["1", "a,b", "None"])
    assert (found.pixels == pixels).all()


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[1, 2]", '["", 62, 5]', '["", 62, "a quote \\u00ff"]', '["", 62, "0000"]',
        json.dumps(["", 62, base64.b85encode(bz2.compress(b"name,truth_a\nb,1\n")).decode()]),
        json.dumps(["", "x", base64.b85encode(bz2.compress(b"a,b\n1,2\n")).decode()]),
    ],
)  # fmt: skip
def test_anything_else_is_a_value_error(text):
    with pytest.raises(ValueError):
        decode(text)
