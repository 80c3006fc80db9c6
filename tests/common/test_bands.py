"""Bands: what the network sees is said in words, and people see the bands that they chose."""

import json
import zipfile

import numpy as np
import pytest

from segpipe.common.bands import caption, displayed, in_words, numbers, shown
from segpipe.common.errors import UserError
from segpipe.common.modelfile import CARD, CARD_FORMAT, read_card
from segpipe.common.records import read_bands


@pytest.mark.parametrize(
    ("count", "seen"), [(1, (0, 0, 0)), (2, (0, 0, 0)), (3, (0, 1, 2)), (5, (0, 1, 2))]
)
def test_people_see_the_first_three_bands_or_the_first_as_grey(count, seen, rng):
    image = rng.integers(0, 256, (4, 6, count), np.uint8)
    picture = displayed(image)
    assert (picture.shape, picture.dtype) == ((4, 6, 3), np.uint8)
    for channel, band in enumerate(seen):
        np.testing.assert_array_equal(picture[..., channel], image[..., band])


def test_people_see_the_bands_that_they_chose_by_their_numbers(rng):
    """The network sees bands 8, 4, 3 and 2 in this order."""
    image, bands = rng.integers(0, 256, (4, 6, 4), np.uint8), (8, 4, 3, 2)
    np.testing.assert_array_equal(displayed(image, shown(bands, (4, 3, 2))), image[..., 1:])
    np.testing.assert_array_equal(displayed(image, shown(bands, (8,))), image[..., [0, 0, 0]])
    np.testing.assert_array_equal(displayed(image, shown(bands)), image[..., :3])


def test_another_choice_than_the_pictures_have_shows_what_auto_would():
    """As `segpipe compare` finds it on a revision with other bands; its caption says what is shown."""
    assert shown((8, 4), (4, 3, 2)) == (0,)
    assert caption((8, 4), (0,)) == " Band 8 is shown as grey."


def test_captions_name_the_bands_and_say_nothing_of_plain_rgb():
    assert caption("rgb", shown("rgb")) == ""
    assert caption("rgb", shown("rgb", (1,))) == " Band 1 is shown as grey."
    expected = " Bands 4, 3 and 2 are shown as red, green and blue."
    assert caption((8, 4, 3, 2), shown((8, 4, 3, 2), (4, 3, 2))) == expected


@pytest.mark.parametrize(
    ("bands", "intensity", "words"),
    [
        ("rgb", None, "RGB"),
        ("rgb", ((0, 4095),) * 3, "RGB of 0 to 4095, 0 to 4095, 0 to 4095"),
        ((1,), None, "band 1"),
        ((4, 2), ((0.5, 1e6), (-1, 2)), "bands 4, 2 of 0.5 to 1e+06, -1 to 2"),
    ],
)
def test_bands_and_their_ranges_in_words(bands, intensity, words):
    assert in_words(bands, intensity) == words


def test_red_green_and_blue_are_bands_1_to_3():
    assert numbers("rgb") == (1, 2, 3)


def saved(folder, **card):
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(CARD, json.dumps({"segpipe": "0.3.0", **card}))
    return path


def test_a_card_of_before_there_were_bands_is_one_of_rgb(tmp_path):
    assert CARD_FORMAT == 4
    card = read_card(saved(tmp_path, format=2))
    assert (card["bands"], card["intensity"], card["format"]) == ("rgb", None, 2)
    assert read_bands(card) == {"bands": "rgb", "intensity": None}


def test_a_card_keeps_its_bands(tmp_path):
    card = read_card(saved(tmp_path, format=3, bands=[4, 1], intensity=[[0, 9], [1, 2.5]]))
    assert read_bands(card) == {"bands": (4, 1), "intensity": ((0, 9), (1, 2.5))}


@pytest.mark.parametrize("number", [1, 5])
def test_a_card_of_any_other_format_is_refused_with_those_that_are_read(tmp_path, number):
    with pytest.raises(UserError, match=f"a card of format {number}, .* reads formats 2 to 4; train it"):
        read_card(saved(tmp_path, format=number))
