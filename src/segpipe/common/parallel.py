"""An ordered map over worker processes, with bounded memory."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from segpipe.common.errors import UserError

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

    Raises:
        UserError: a worker was killed.
    """
    processes = processes or usable_cores()
    # Spawned, not forked: a fork of a process with TensorFlow's threads in it can hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(processes, context, initializer=_end_with_parent)

    def submit(item: Item) -> Future[Result]:
        with _deaf_to_ctrl_c():  # workers inherit it: the parent alone ends the work
            return executor.submit(function, item)

    try:
        yield from in_order(submit, items, 4 * processes)
    except BrokenProcessPool:
        raise UserError("a worker process died, for want of memory perhaps; run it again") from None
    finally:
        executor.shutdown(cancel_futures=True)


def in_order(
    submit: Callable[[Item], Future[Result]], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Submit items one by one and yield results in their order, at most `ahead` more under way."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(submit(item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def usable_cores() -> int:
    """The number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end_with_parent() -> None:
    """Have a worker end when its parent is gone, however that was killed."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
