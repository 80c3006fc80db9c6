"""Starts the server: the port, the workers, and their graceful stop."""

import contextlib
import os
import socket
import tempfile

from segpipe.common.errors import UserError
from segpipe.serve.settings import Settings


def run(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal; requests that were taken are answered before.

    Raises a UserError where the port cannot be had, or the model cannot be loaded.
    """
    try:
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn

        from segpipe.serve.metrics import SHARED
        from segpipe.serve.model import load
    except ImportError as error:
        raise UserError(
            f"{error.name} is not installed; in the clone of segpipe, "
            "`pip install -e '.[serve]'` brings what the server needs"
        ) from None
    load(settings.model)  # so that an error is printed once, not by each worker
    settings.to_environment()
    free = _free(host, port)
    address = f"[{host}]" if ":" in host else host
    print(f"serving {settings.model} at http://{address}:{free} (Ctrl-C stops)", flush=True)
    with contextlib.ExitStack() as stack:
        if settings.workers > 1:  # the signal ends a single process at once, without cleaning up
            os.environ[SHARED] = stack.enter_context(tempfile.TemporaryDirectory())
        uvicorn.run(
            "segpipe.serve.app:worker", factory=True, host=host, port=free, workers=settings.workers,
            log_level="warning", access_log=False, server_header=False,
            http="segpipe.serve.connection:BoundedConnection",
            timeout_graceful_shutdown=round(settings.seconds) + 1,
        )  # fmt: skip


def _free(host: str, port: int) -> int:
    """Return the port, or a free one for 0. Raises a UserError where it cannot be had."""
    if not host:
        raise UserError("--host is empty; give an address: 127.0.0.1, or 0.0.0.0 for all networks")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address[:2], family=family) as listener:
            return listener.getsockname()[1]
    except UnicodeError:  # such as a part of more than 63 letters
        raise UserError(f"{host}: no name of a host; give an address such as 127.0.0.1") from None
    except (OSError, OverflowError) as error:
        # The text of an error that Python raises itself repeats the address.
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number) if number and number > 0 else error
        raise UserError(f"{host}:{port}: {why}; give another --port or --host") from None
