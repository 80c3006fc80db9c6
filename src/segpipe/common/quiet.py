"""Hold back what libraries write to standard error, and show it only where they fail."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

from segpipe.common.errors import UserError, raise_lost_interrupt

_WATCH = 'trap "" INT; read -r fine || cat "$0" >&2; rm -f "$0"'
"""Shows a file unless a line comes through the pipe. A process that crashed sends none."""

_open: list[Callable[[bool], None]] = []
"""Closes each open block, innermost last; the argument says whether all went well."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back standard error, C++ code's included; show all of it where the block fails.

    A crash of the whole process is a failure too: a shell that outlives it shows the text. A UserError
    and Ctrl-C are no failures, since they end in one line of their own.
    """
    sys.stderr.flush()
    standard_error = os.dup(2)
    held, path = tempfile.mkstemp()
    watcher = subprocess.Popen(["sh", "-c", _WATCH, path], stdin=subprocess.PIPE)
    os.dup2(held, 2)
    os.close(held)

    def close(fine: bool) -> None:
        sys.stderr.flush()
        os.dup2(standard_error, 2)
        os.close(standard_error)
        watcher.communicate(b"fine\n" if fine else b"")

    _open.append(close)
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException:
        raise_lost_interrupt()
        _open.pop()(False)
        raise
    finally:
        if _open and _open[-1] is close:
            _open.pop()(True)


def release() -> None:
    """Close all open blocks and show nothing, for a process that ends by a signal inside of them."""
    while _open:
        _open.pop()(True)
