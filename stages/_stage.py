"""Prepares every stage before its other imports.

The checkout's own `src` comes first on the path, since a queued experiment runs in a copy of the
repository, and the installed package is the original's. Ctrl-C during the imports ends in one line, as
it does later.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType, TracebackType

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from segpipe.common.quiet import release

_INTERRUPTED = (
    "interrupted; the same command begins the stage again (training resumes after its last finished "
    "epoch), `dvc checkout` brings back the results of before"
)


def _end_at_once(signum: int, frame: FrameType | None) -> None:
    """During imports: some libraries turn a KeyboardInterrupt in theirs into another error."""
    release()
    print(f"error: {_INTERRUPTED}", file=sys.stderr, flush=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _one_line_for_ctrl_c(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(f"error: {_INTERRUPTED}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _one_line_for_ctrl_c
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end_at_once)  # until `exits_cleanly` starts the work
