"""The origin of requests: programs, the server's own page and allowed origins are answered."""

import re

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from segpipe.serve.settings import Settings, is_loopback


class OriginCheck:
    """Refuses what pages of other origins send to an ASGI app.

    Browsers let any page send a form with pictures, and hide only the answer from it. From a page whose
    host name leads to this machine (DNS rebinding) they hide nothing.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        app = self.app
        if scope["type"] == "http" and (reason := refusal(Headers(scope=scope), self.settings)):
            app = JSONResponse({"detail": reason}, 403)
        await app(scope, receive, send)


def refusal(headers: Headers, settings: Settings) -> str:
    """Say why a request is not answered, by its headers; empty if it is."""
    host, origin, allowed = headers.get("host", ""), headers.get("origin"), settings.origins
    if "*" in allowed:
        return ""
    known = is_loopback(_name(host)) or _name(host) in map(_name, allowed)
    if settings.local and host and not known:
        return f"the host {host}; expected a name of this machine, or one that --allow-origin names"
    # Not the scheme: a proxy that encrypts changes it.
    if origin is None or origin in allowed or origin.partition("://")[2].lower() == host.lower():
        return ""
    return f"a page of {origin}; expected one of {host}, or of an origin that --allow-origin names"


def _name(place: str) -> str:
    """Return the host in the header Host or in an origin."""
    return re.sub(r":\d*$", "", place.rpartition("://")[2]).strip("[]").lower()
