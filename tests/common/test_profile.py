"""The profile in the card: which values are usual, how far others lie, and where foreign begins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.common.profile import RATE, Mark, Profile, limit, reference

ELEVEN = reference("brightness", range(100, 210, 10))  # 100, 110 ... 200


def test_usual_values_are_quantiles_and_the_distance_is_1_at_their_ends():
    assert ELEVEN.usual == (105, 150, 195)
    assert [ELEVEN.distance(value) for value in (150, 195, 105, 240, 60)] == [0, 1, 1, 2, 2]


def test_a_lopsided_trait_reaches_farther_on_its_long_side():
    long = reference("noise", [0, 1, 2, 3, 4, 14, 24, 34, 44])
    assert long.distance(0) == pytest.approx(4 / 3.6)  # low 0.4, middle 4
    assert long.distance(44) == pytest.approx(40 / 36)  # high 40


def test_pictures_of_one_brightness_still_allow_what_nobody_sees():
    alike = reference("brightness", [100] * 20)
    assert [alike.distance(value) for value in (100, 101, 102, 110)] == [0, 0.5, 1, 5]


def test_a_held_out_value_is_not_among_those_that_judge_it():
    assert ELEVEN.without(200).values.tolist() == [*range(100, 200, 10)]
    assert reference("noise", [3]).without(3).values.tolist() == [3], "a single picture judges itself"


@pytest.mark.parametrize(
    ("pictures", "beyond"), [(1, 1), (29, 1), (99, 1), (198, 1), (199, 2), (368, 3)]
)
def test_the_limit_leaves_a_hundredth_beyond_it_or_one_picture(pictures, beyond):
    distances = np.random.default_rng(0).permutation(np.arange(2, pictures + 2)).tolist()
    assert limit(distances) == (pictures + 2 - beyond, beyond)


def test_no_usual_picture_is_foreign():
    assert limit([0.1, 0.4, 0.2]) == (1.0, 1)


@given(st.integers(20, 400))
def test_the_rate_that_is_said_is_what_random_pictures_give(judged):
    """Each rank of a new picture among those judged is equally likely."""
    most, beyond = limit([rank + 2.0 for rank in range(judged)])
    ranks_beyond = sum(rank + 1.5 > most for rank in range(judged + 1))  # between two of them
    profile = Profile({}, most, judged, beyond, None)
    assert profile.rate == ranks_beyond / (judged + 1)
    assert profile.rate <= max(RATE, 1 / (judged + 1))


def test_the_mark_is_of_the_farthest_trait_and_1_at_the_limit():
    known = {"brightness": ELEVEN, "noise": reference("noise", range(11))}
    profile = Profile(known, 2.0, 29, 1, None)
    assert profile.mark({"brightness": 240, "noise": 5}) == Mark(1.0, "brightness", 240, 105, 195)
    assert not profile.mark({"brightness": 240, "noise": 5}).foreign
    mark = profile.mark({"brightness": 150, "noise": 23, "unknown": 1e9})
    assert (mark.score, mark.trait, mark.foreign) == (2.0, "noise", True)


def test_a_card_gives_back_the_profile():
    profile = Profile({"brightness": ELEVEN}, 2.5, 29, 1, {"any": "thing"})
    found = Profile.of_card({"profile": profile.to_json()})
    assert found.to_json() == profile.to_json()
    assert found.mark({"brightness": 99}) == profile.mark({"brightness": 99})
    assert Profile.of_card({"format": 4}) is None
