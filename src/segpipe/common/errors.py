"""Errors that users can fix, and how a stage ends with one."""

import errno
import functools
import io
import signal
import sys
import textwrap
from collections.abc import Callable
from types import FrameType

DIVERGED = "the loss is "
LOST_HOST = "lost the host "
"""How these two errors of training begin: `segpipe sweep` reads a trial's log."""


def brief(error: BaseException | str) -> str:
    """Return another program's error on one line of at most 400 characters."""
    return textwrap.shorten(str(error), 400, placeholder=" ...") or type(error).__name__


class UserError(Exception):
    """An error that the user can fix. The message says what was found, where, and what to do."""

    exit_code = 1


class ParamsError(UserError):
    """`params.yaml` cannot be used as it is."""

    exit_code = 2


class CannotTell(UserError):
    """A question that is answered by exit code 0 or 1 has no answer. The message says why."""

    exit_code = 2


_interrupted = False  # whether Ctrl-C was pressed


def raise_lost_interrupt() -> None:
    """Raise the KeyboardInterrupt of an earlier Ctrl-C again, for loops that run for hours.

    Python loses it inside finalisers and inside callbacks from compiled code.
    """
    if _interrupted:
        raise KeyboardInterrupt from None


def exits_cleanly(main: Callable[[], None]) -> Callable[[], None]:
    """Wrap an entry point so that errors which the user can fix end in one line on stderr.

    Exit codes: 2 for wrong params, 1 for any other `UserError` and for operating system errors such as a
    full disk. Any other exception is our bug and keeps its traceback. Ctrl-C raises KeyboardInterrupt
    from here on, so that code can clean up.
    """

    @functools.wraps(main)
    def wrapped() -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # not every terminal has every letter of a name
                stream.reconfigure(errors="backslashreplace")
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, _interrupt)
        try:
            main()
        except UserError as error:
            sys.exit(_complain(str(error), error.exit_code))
        except OSError as error:
            full = error.errno == errno.ENOSPC
            # In a failed copy the second file is the target, whose disk is full.
            file = error.filename2 if full and error.filename2 else error.filename
            where = f"{file}: " if file else ""
            mend = "mend that and run the same command again"
            if full:
                mend = "make room there and run the same command again"
            sys.exit(_complain(f"{where}{error.strerror or error}; {mend}", 1))
        except Exception:
            raise_lost_interrupt()  # compiled code such as TensorFlow's may turn it into another error
            raise

    return wrapped


def _interrupt(signum: int, frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def _complain(message: str, exit_code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return exit_code
