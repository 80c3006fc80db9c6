"""Shifts of traits: distances by hand, false alarms at the stated rate, and what few pictures allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from segpipe.common.errors import CannotTell
from segpipe.common.profile import Mark, Profile, reference
from segpipe.drift.compare import (
    FOREIGN,
    LEVEL,
    TOLERANCE,
    compare,
    distance,
    p_value,
    p_value_of_foreign,
)

KNOWN = Mark(0.5, "noise", 1.0, 0.0, 2.0)
OUTSIDE = Mark(1.5, "noise", 3.0, 0.0, 2.0)


def profile_of(**values):
    return Profile({name: reference(name, of_one) for name, of_one in values.items()}, 1.0, 29, 1, None)


def test_the_distance_is_the_largest_between_distribution_functions():
    assert distance(np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6])) == 0.5
    assert distance(np.array([1.0, 2]), np.array([3.0])) == 1
    assert distance(np.array([1.0, 1, 2]), np.array([2.0, 1, 1])) == 0


def test_values_that_nobody_tells_apart_are_equal():
    assert distance(np.full(9, 6.11), np.full(9, 6.2), 0.1) == 0
    assert distance(np.full(9, 6.3), np.full(9, 6.2), 0.2) == 0
    assert distance(np.array([1.0, 2, 3, 4]), np.array([2.0, 3, 4, 9]), 1.0) == 0.25
    assert distance(np.array([2.0, 3, 4, 9]), np.array([1.0, 2, 3, 4]), 1.0) == 0.25


@given(*[st.lists(st.integers(0, 9), min_size=1, max_size=30)] * 2)
def test_the_distance_is_that_of_scipy(one, other):
    expected = stats.ks_2samp(one, other, method="asymp").statistic
    assert distance(np.array(one, float), np.array(other, float)) == pytest.approx(expected)


def test_up_to_the_tolerance_nothing_is_a_shift_however_many_pictures():
    assert p_value(TOLERANCE, 10**6, 10**6) == 1
    assert p_value(TOLERANCE + 0.05, 10**6, 10**6) < 1e-9


def test_the_p_value_is_that_of_kolmogorov_and_smirnov_beyond_the_tolerance():
    """100 and 100 pictures are as good as 50: Smirnov's limit 2 exp(-2 n d^2) is nearly reached."""
    assert p_value(TOLERANCE + 0.3, 100, 100) == pytest.approx(2 * np.exp(-2 * 50 * 0.09), rel=0.3)


def test_foreign_pictures_are_counted_against_the_uncertain_rate_of_validation():
    """With one of one validation picture beyond, any number of foreign ones is equally likely."""
    even = Profile({}, 1.0, 1, 1, None)
    assert [p_value_of_foreign(k, 3, even) for k in range(4)] == pytest.approx([1, 0.75, 0.5, 0.25])


def test_a_shifted_trait_is_found_and_the_others_are_not(rng):
    known = profile_of(brightness=rng.normal(100, 10, 200), noise=rng.normal(2, 0.2, 200))
    traits = [{"brightness": b, "noise": n + 2} for b, n in rng.normal([100, 2], [10, 0.2], (50, 2))]
    first, *others = compare(known, traits, [KNOWN] * 50)
    assert (first.trait, first.is_shifted) == ("noise", True)
    assert first.moved > 0.9
    assert first.current[1] == pytest.approx(4, abs=0.1)
    assert [one.is_shifted for one in others] == [False, False]


def test_a_few_pictures_of_another_kind_are_found_by_their_marks(rng):
    known = profile_of(brightness=rng.normal(100, 10, 200))
    traits = [{"brightness": b} for b in rng.normal(100, 10, 100)]
    shifts = compare(known, traits, [KNOWN] * 70 + [OUTSIDE] * 30)
    assert {one.trait: one.is_shifted for one in shifts} == {FOREIGN: True, "brightness": False}


@pytest.mark.parametrize("pictures", [50, pytest.param(300, marks=pytest.mark.slow)])
def test_pictures_of_the_same_source_differ_no_more_often_than_stated(rng, pictures):
    alarms, draws = 0, pictures
    for _ in range(draws):
        known = profile_of(**{str(n): rng.normal(size=200) for n in range(10)})
        traits = [
            dict(zip(map(str, range(10)), one, strict=True)) for one in rng.normal(size=(pictures, 10))
        ]
        alarms += any(one.is_shifted for one in compare(known, traits, [KNOWN] * pictures))
    assert stats.binom.sf(alarms - 1, draws, LEVEL) > 1e-4


def test_too_few_pictures_cannot_tell_and_it_says_how_many_could(rng):
    known = profile_of(brightness=rng.normal(100, 10, 200))
    far = {"brightness": 1000.0}
    with pytest.raises(CannotTell, match=r"1 pictures are too few .* give 3 at least"):
        compare(known, [far], [OUTSIDE])
    assert compare(known, [far] * 3, [KNOWN] * 3)[0].is_shifted


def test_a_model_of_too_few_pictures_cannot_tell_however_many_there_are():
    known = profile_of(brightness=[99.0, 101.0])
    with pytest.raises(CannotTell, match=r"the model knows 2 pictures, too few .* train it on more"):
        compare(known, [{"brightness": 1000.0}] * 50, [OUTSIDE] * 50)
