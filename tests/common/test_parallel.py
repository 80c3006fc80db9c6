"""The map over worker processes: in order, and an error where a worker dies."""

import os
import time

import pytest

from segpipe.common.errors import UserError
from segpipe.common.parallel import ordered_map


def doubled(number):
    return number * 2


def ended_after_the_second(task):
    """Double a number; the first one waits for the second, so that no luck decides which ends first."""
    folder, number = task
    while number == 0 and not (folder / "1").exists():
        time.sleep(0.01)
    (folder / str(number)).touch()
    return number * 2


def die(_):
    os._exit(9)


def fail(number):
    raise ValueError(number)


def test_one_process_returns_results_in_the_order_of_the_items():
    assert list(ordered_map(doubled, range(40), 1)) == [number * 2 for number in range(40)]


def test_results_come_in_the_order_of_the_items_though_a_later_one_ends_first(tmp_path):
    tasks = [(tmp_path, number) for number in range(12)]
    results = list(ordered_map(ended_after_the_second, tasks, 3))
    assert results == [number * 2 for number in range(12)]


def test_items_are_taken_only_as_they_are_needed():
    taken = []
    results = ordered_map(doubled, (taken.append(n) or n for n in range(1000)), 2)
    next(results)
    assert len(taken) <= 10
    results.close()


def test_a_worker_that_dies_is_an_error_and_no_traceback_for_the_user():
    with pytest.raises(UserError, match="a worker process died"):
        list(ordered_map(die, range(3), 1))


def test_an_error_in_the_function_reaches_the_caller():
    with pytest.raises(ValueError, match="0"):
        list(ordered_map(fail, range(3), 1))
