"""The map over worker processes: in order, and an error where a worker dies."""

import os
import time

import pytest

from segpipe.common.errors import UserError
from segpipe.common.parallel import ordered_map


def slower_for_the_first(number):
    time.sleep(0.2 if number == 0 else 0)
    return number * 2


def die(_):
    os._exit(9)


def fail(number):
    raise ValueError(number)


@pytest.mark.parametrize("processes", [1, 3])
def test_results_come_in_the_order_of_the_items(processes):
    assert list(ordered_map(slower_for_the_first, range(40), processes)) == [n * 2 for n in range(40)]


def test_items_are_taken_only_as_they_are_needed():
    taken = []
    results = ordered_map(slower_for_the_first, (taken.append(n) or n for n in range(1000)), 2)
    next(results)
    assert len(taken) <= 10
    results.close()


def test_a_worker_that_dies_is_an_error_and_no_traceback_for_the_user():
    with pytest.raises(UserError, match="a worker process died"):
        list(ordered_map(die, range(3), 1))


def test_an_error_in_the_function_reaches_the_caller():
    with pytest.raises(ValueError, match="0"):
        list(ordered_map(fail, range(3), 1))
