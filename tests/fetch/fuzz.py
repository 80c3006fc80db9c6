"""Files as broken tools and slips make them, and the bounds that every reader keeps with them."""

import contextlib
import copy
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import hypothesis.strategies as st

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.raw import Checked, check
from segpipe.fetch.sample import Note, Problem

SECONDS, BYTES = 5, 500 << 20
ROOM = 4 << 30
"""Address space that other threads may take meanwhile."""

SETTINGS = hypothesis.settings(
    max_examples=200, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
"""Of tests that mutate a file again and again in one folder."""


def _nested(depth: int) -> list:
    found: list = []
    for _ in range(depth):
        found = [found]
    return found


ODD = (
    None, True, "", "x", "1", "\ud800", "a\0b", "../" * 9, "é" * 300, -1, 0, 0.5, 7, 255, 1e300, -1e6,
    float("nan"), float("inf"), 10**9, 10**40, [], {}, [[]], [[[]]], {"a": []}, [0, 0, 1e7, 1, 1, -1e7],
    _nested(300),
)  # fmt: skip
"""Values of wrong types, and numbers that no picture has."""


@st.composite
def mutated(draw: st.DrawFn, json_text: str) -> bytes:
    """JSON with up to three slips: odd values, lost, repeated or renamed entries, and damaged bytes."""
    content = json.loads(json_text)
    for _ in range(draw(st.integers(0, 3))):
        if places := [*_places(content)]:
            _change(draw, *places[draw(st.integers(0, len(places) - 1))])
    data = json.dumps(content).encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))
    if draw(st.integers(0, 4)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    if draw(st.integers(0, 4)) == 0 and data:
        place = draw(st.integers(0, len(data) - 1))
        data = data[:place] + draw(st.binary(min_size=1, max_size=3)) + data[place + 1 :]
    return data


def _places(content: object) -> Iterator[tuple[dict | list, str | int]]:
    """Every container with each of its keys, or indices."""
    if isinstance(content, dict | list):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from _places(content[key])  # type: ignore[index]  # a key of this container


def _change(draw: st.DrawFn, holder: dict | list, key: str | int) -> None:
    entries = holder if isinstance(holder, dict) else dict(enumerate(holder))
    how = draw(st.sampled_from(["odd", "odd", "another's", "lose", "repeat", "rename"]))
    if how == "lose":
        del holder[key]  # type: ignore[arg-type]
    elif how == "repeat" and isinstance(holder, list):
        holder.extend([entries[key]] * draw(st.sampled_from([1, 100])))
    elif how == "rename" and isinstance(holder, dict):
        holder[draw(st.sampled_from(["", "x", "é"]))] = holder.pop(str(key))
    else:
        values = ODD if how == "odd" else [*entries.values()]
        chosen = values[draw(st.integers(0, len(values) - 1))]
        holder[key] = copy.deepcopy(chosen)  # type: ignore[index]  # a later slip may change it


def outcome(layout: str, root: Path, table: ClassTable) -> list[Checked | Problem | Note | UserError]:
    """Read a folder as `init-data` and `fetch` do, within the bounds; other errors than ours escape."""
    module = layouts.open_layout(layout)
    found: list[Checked | Problem | Note | UserError] = []
    with bounded():
        module.seen(root)
        try:
            if hasattr(module, "labels"):
                module.labels(root)
            for one in layouts.samples(layout, root, 0.2, table):
                found.append(check(one, table))
        except UserError as error:
            found.append(error)
        assert all(str(one) for one in found)
    return found


@contextlib.contextmanager
def bounded(seconds: float = SECONDS, more: int = BYTES) -> Iterator[None]:
    """Fail a block that takes more seconds of this thread, or resident memory, than allowed.

    Memory is measured, and limited only far above: native threads that other tests left behind, as those
    of TensorFlow, end the process when they get none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, start = _status("VmRSS"), time.thread_time()
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + more + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert time.thread_time() - start < seconds
    assert _status("VmHWM") - before < more


def _status(name: str) -> int:
    """Return a size of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
