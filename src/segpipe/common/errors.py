"""Errors that teach, and how a stage ends when it meets one."""

import functools
import signal
import sys
import textwrap
from collections.abc import Callable
from types import FrameType


def brief(error: BaseException) -> str:
    """What a library's error says, on one line of bearable length."""
    return textwrap.shorten(str(error), 400, placeholder=" ...") or type(error).__name__


class UserError(Exception):
    """Something the user can mend. The message says what was found, where, and what to do."""

    exit_code = 1


class ParamsError(UserError):
    """`params.yaml` cannot be used as it is."""

    exit_code = 2


_interrupted = False
"""Whether Ctrl-C came."""


def raise_lost_interrupt() -> None:
    """Raise the KeyboardInterrupt of a Ctrl-C again, for loops that go on for hours.

    Python loses it where it comes while an object is finalised, or in a call back from compiled code.
    """
    if _interrupted:
        raise KeyboardInterrupt


def exits_cleanly(main: Callable[[], None]) -> Callable[[], None]:
    """Wrap an entry point: what a user can mend ends in one line on stderr, not in a traceback.

    Exit codes: 2 for wrong params, 1 for any other `UserError` and for operating system errors such
    as a full disk. Any other exception is a bug of ours and keeps its traceback. Ctrl-C raises
    KeyboardInterrupt from here on, for what cleans up after itself.
    """

    @functools.wraps(main)
    def wrapped() -> None:
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, _interrupt)
        try:
            main()
        except UserError as error:
            sys.exit(_complain(str(error), error.exit_code))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            what = f"{where}{error.strerror or error}"
            sys.exit(_complain(f"{what}; mend that and run the same command again", 1))
        except Exception:
            if _interrupted:  # compiled code, TensorFlow's for one, may turn it into another error
                raise KeyboardInterrupt from None
            raise

    return wrapped


def _interrupt(signum: int, frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def _complain(message: str, exit_code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return exit_code
