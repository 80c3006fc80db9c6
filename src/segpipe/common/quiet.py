"""Hold back the output of libraries to standard error, and show it only where they fail."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from segpipe.common.errors import UserError, raise_lost_interrupt

_WATCH = 'trap "" HUP INT TERM; read -r fine || cat "$0" >&2; rm -f "$0"'
"""Shows a file unless a line comes through the pipe. A process that crashed sends none."""

_open: list[Callable[[bool], None]] = []
"""Closes the open block, if there is one; the argument says whether all went well."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back standard error, C++ code's included; show all of it where the block fails.

    A crash of the whole process is a failure too: a shell that outlives it shows the text. A UserError
    and Ctrl-C are no failures, since they end in one line of their own. A block inside another, or in
    another thread, adds nothing.
    """
    close = None if _open else _hold_back()
    if close:
        _open.append(close)
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException:
        raise_lost_interrupt()
        if close in _open:
            _open.pop()(False)
        raise
    finally:
        if close in _open:
            _open.pop()(True)


def release() -> None:
    """Close the open block and show nothing, for a process that ends by a signal inside of it."""
    while _open:
        _open.pop()(True)


def _hold_back() -> Callable[[bool], None] | None:
    """Send standard error to a file. None without a shell, a temporary folder or a standard error."""
    with contextlib.ExitStack() as undo, contextlib.suppress(OSError, AttributeError):
        sys.stderr.flush()
        standard_error = os.dup(2)
        undo.callback(os.close, standard_error)
        held, path = tempfile.mkstemp()
        undo.callback(os.unlink, path)
        with os.fdopen(held, "wb"):
            watcher = subprocess.Popen(["sh", "-c", _WATCH, path], stdin=subprocess.PIPE)
            os.dup2(held, 2)
        undo.pop_all()

        def close(fine: bool) -> None:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)
            watcher.communicate(b"fine\n" if fine else b"")

        return close
    return None
