"""Prometheus metrics of all workers: requests, seconds, pictures, foreign pictures."""

import os
import time
from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the folder through which workers share their numbers."""


class Metrics:
    """The numbers of this process, and those of the other workers."""

    def __init__(self) -> None:
        own = self._own = CollectorRegistry()
        self.requests = Counter("segpipe_requests", "Requests", ["path", "status"], registry=own)
        self.seconds = Histogram("segpipe_request_seconds", "Time of a request", ["path"], registry=own)
        self.pictures = Counter("segpipe_pictures", "Predicted pictures", registry=own)
        self.foreign = Counter("segpipe_foreign_pictures", "Those with a remark", registry=own)

    def count(self, remark: str) -> None:
        """Count a predicted picture, whose remark is empty if the model knows it."""
        self.pictures.inc()
        self.foreign.inc(bool(remark))

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        if SHARED not in os.environ:
            return generate_latest(self._own)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)
        return generate_latest(together)


class CountRequests:
    """Counts and times each request to an ASGI app; paths that are not `known` count as `other`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, known: Collection[str]) -> None:
        self.app, self.metrics, self.known = app, metrics, known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500  # an app that raises ends in a 500

        async def recorded(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, recorded)
        finally:
            path = scope["path"] if scope["path"] in self.known else "other"
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)
