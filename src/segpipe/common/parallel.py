"""An ordered map over worker processes, with bounded memory."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Literal, TypeVar

from segpipe.common.errors import UserError

Workers = Literal["local", "ray"]  # of this machine, or of a Ray cluster (`common.cluster`)

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], processes: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`, computed by worker processes.

    At most four items a process are under way. (joblib takes all items however slow the consumer is, and
    its workers outlive a killed parent.) `function` and items are picklable; without `processes`, each
    usable core gets one. An error in `function` reaches the caller; a killed worker raises UserError.
    """
    processes = processes or usable_cores()
    # Spawned, since a fork of a process with TensorFlow's threads can hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(processes, context, initializer=_end_with_parent)

    def submit(item: Item) -> Future[Result]:
        # Workers inherit the blocked Ctrl-C: only the parent ends the work.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return executor.submit(function, item)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield from in_order(submit, items, 4 * processes)
    except BrokenProcessPool:
        raise UserError("a worker process died, for want of memory perhaps; run it again") from None
    finally:
        executor.shutdown(cancel_futures=True)


def in_order(
    submit: Callable[[Item], Future[Result]],
    items: Iterable[Item],
    ahead: int,
    weight: Callable[[Item], int] = lambda item: 0,
    most: int | None = None,
) -> Iterator[Result]:
    """Submit items one by one and yield results in their order, at most `ahead` more under way.

    If `most` is given, the items under way weigh at most that much together, or there is only one.
    """
    pending: deque[tuple[Future[Result], int]] = deque()
    for item in items:
        own = weight(item) if most else 0
        while most and pending and sum(other for _, other in pending) + own > most:
            yield pending.popleft()[0].result()
        pending.append((submit(item), own))
        if len(pending) > ahead:
            yield pending.popleft()[0].result()
    while pending:
        yield pending.popleft()[0].result()


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end_with_parent() -> None:
    """End a worker when its parent is gone, even if the parent was killed."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
