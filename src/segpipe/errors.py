"""Errors that teach, and how a stage ends when it meets one."""

import functools
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend. The message says what was found, where, and what to do."""

    exit_code = 1


class ParamsError(UserError):
    """`params.yaml` cannot be used as it is."""

    exit_code = 2


def exits_cleanly(main: Callable[[], None]) -> Callable[[], None]:
    """Wrap an entry point: what a user can mend ends in one line on stderr, not in a traceback.

    Exit codes: 2 for wrong params, 1 for any other `UserError` and for operating system errors such
    as a full disk. Any other exception is a bug of ours and keeps its traceback.
    """

    @functools.wraps(main)
    def wrapped() -> None:
        try:
            main()
        except UserError as error:
            sys.exit(_complain(str(error), error.exit_code))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            sys.exit(_complain(f"{where}{error.strerror or error}; nothing was kept", 1))

    return wrapped


def _complain(message: str, exit_code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return exit_code
