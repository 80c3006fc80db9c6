"""Connections that stand still are closed: headers that never end, answers that nobody takes."""

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from segpipe.serve.settings import Settings


class BoundedConnection(H11Protocol):
    """Closes a connection that waits for the same headers, or to send the same answer, at two checks.

    The checks lie the seconds of `--timeout` apart. uvicorn bounds only the time between two requests.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look."""
        super().connection_made(transport)
        self._seconds = Settings.from_environment().seconds
        self._waited, self._cycle = False, self.cycle  # as the last check found them
        self._timer = self.loop.call_later(self._seconds, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """End it."""
        self._timer.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as every other error is answered."""
        body = json.dumps({"detail": f"no valid HTTP; expected a request of HTTP/1.1 ({msg})"}).encode()
        headers = [("content-type", "application/json"), ("connection", "close")]
        start = h11.Response(status_code=400, headers=headers, reason=STATUS_PHRASES[400])
        for event in (start, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _check(self) -> None:
        waits = self.conn.their_state is h11.IDLE or self.transport.get_write_buffer_size() > 0
        if waits and self._waited and self.cycle is self._cycle:
            self.transport.abort()
            return
        self._waited, self._cycle = waits, self.cycle
        self._timer = self.loop.call_later(self._seconds, self._check)
