"""An ordered map over worker processes, with bounded memory."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], processes: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`, whatever the number of processes.

    At most a few items a process are under way at a time, however many there are.

    Args:
        function: picklable; an exception in it reaches the caller.
        items: any number of picklable items, taken one by one.
        processes: how many workers; None for one a usable core.
    """
    processes = processes or usable_cores()
    # Spawned, not forked: a fork of a process with TensorFlow's threads in it can hang.
    executor = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_leave_ctrl_c_to_parent
    )
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            if len(pending) > 4 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def usable_cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _leave_ctrl_c_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
