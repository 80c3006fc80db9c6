"""Epochs and steps for some minutes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.common.errors import UserError
from segpipe.plan.measure import Timing
from segpipe.plan.schedule import EPOCHS, VALIDATING, fitting, has_room

TIMING = Timing(build=5, start=20, step=0.3, sample=0.02, epoch=1)


def test_half_an_hour_has_20_epochs_that_fill_it():
    found = fitting(30, TIMING, 100)
    assert found.epochs == EPOCHS
    assert found.steps == int(((1800 - 20) / 20 - 3) / 0.3)
    assert found.seconds == pytest.approx(1800, rel=0.01)


def test_a_long_validation_gives_fewer_epochs():
    found = fitting(30, TIMING, 2000)  # 41 s each
    assert found.epochs == int(0.2 * 1780 / 41)
    assert found.validating <= VALIDATING * 1800 and found.seconds == pytest.approx(1800, rel=0.01)


def test_steps_are_a_multiple_and_epochs_enough_for_the_warm_up():
    assert fitting(30, TIMING, 100, multiple=16).steps % 16 == 0
    assert fitting(30, TIMING, 2000, least=12).epochs == 12


def test_too_few_minutes_are_refused_with_what_is_enough():
    with pytest.raises(UserError, match=r"--minutes 0.4 is too short here: .*; give 0\.\d or more"):
        fitting(0.4, TIMING, 100)
    assert fitting(0.7, TIMING, 100).steps >= 1


@given(st.floats(0.5, 600), st.floats(0.01, 20), st.floats(0.0001, 1), st.integers(1, 10000))
def test_a_run_never_takes_longer_and_no_epoch_could_have_a_step_more(minutes, step, sample, count):
    timing = Timing(5, 20, step, sample, 0.5)
    try:
        found = fitting(minutes, timing, count)
    except UserError:
        return
    assert found.seconds <= 60 * minutes * (1 + 1e-9)
    assert found.seconds + found.epochs * step * 1.001 >= 60 * minutes


def test_there_is_room_for_more_samples_while_all_are_seen_often_and_validated_often():
    assert has_room(30, TIMING, (4000, 100), 8)
    assert not has_room(30, TIMING, (8000, 100), 8), "each would be seen 5.5 times"
    assert not has_room(30, TIMING, (4000, 4000), 8), "a validation of 81 s would fit 4 times"
    assert not has_room(0.4, TIMING, (10, 10), 8)


@pytest.mark.parametrize("minutes", [float("nan"), float("inf")])
def test_minutes_that_are_no_number_are_refused_and_have_no_room(minutes):
    with pytest.raises(UserError, match=f"--minutes {minutes:g}: give a number of minutes"):
        fitting(minutes, TIMING, 10)
    assert not has_room(minutes, TIMING, (10, 10), 1)
