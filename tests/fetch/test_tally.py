"""The tally of masks: what changed between two of them, in one sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.fetch.tally import Tally, changes, decode, encode


def tally(masks, **pixels):
    made = Tally()
    for name, digest in masks.items():
        made.add(name, digest * 64, {})
    made.pixels.update(pixels)
    return made


def test_the_sentence_counts_masks_and_says_how_classes_grew():
    """Of 1000 pixels 1012 are 1.2 % more; of 2000 background pixels 1988 are 0.6 % fewer."""
    before = tally(dict.fromkeys("abcd", "0"), pet=1000, background=2000)
    after = tally(dict.fromkeys("abc", "0") | {"d": "1"}, pet=1012, background=1988)
    assert changes(before, after) == "4 masks, 1 changed: pet +1.2 %, background -0.6 %"


def test_new_and_gone_masks_and_classes_are_said():
    before = tally({"a": "0", "b": "0"}, pet=10, border=5)
    after = tally({"b": "0", "c": "0", "d": "0"}, pet=20, car=1)
    said = "3 masks, 2 new, 1 gone: car is new, pet +100.0 %, border is gone"
    assert changes(before, after) == said


def test_a_change_that_moves_no_class_and_none_at_all():
    one, other = tally({"a": "0"}, pet=10), tally({"a": "1"}, pet=10)
    assert changes(one, other) == "1 masks, 1 changed"
    assert changes(one, tally({"a": "0"}, pet=10)) == ""


names = st.text(min_size=1).filter(str.isprintable)  # `fetch` takes no others


@given(st.dictionaries(names, st.sampled_from("01"), max_size=5), st.integers(0, 9))
def test_what_is_written_is_read(masks, count):
    made = tally(masks, **{"Straße": count})
    found = decode(encode(made))
    assert (found.digests, found.pixels) == (made.digests, made.pixels)
    turned = tally(dict(reversed(masks.items())), **{"Straße": count})
    assert encode(turned) == encode(made)


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '["", {"a": "b"}, "x"]', '["", {}, "~~"]'])
def test_another_file_is_refused(text):
    with pytest.raises(ValueError):
        decode(text)
