"""What a request may ask for and bring: refusals, the bounded queue, the bounded body."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message, Receive

from segpipe.serve.settings import Settings

Result = TypeVar("Result")
Submit = Callable[[Callable[[], Result]], "Future[Result]"]

_LATER = {"Retry-After": "1"}


class Refused(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers


class Upload(NamedTuple):
    """A file as it was sent."""

    name: str
    data: bytes


class Desk:
    """Takes a bounded number of requests; their work runs on a few threads.

    Pictures are not predicted in batches: on a CPU a batch takes no less time a picture, and pictures of
    several sizes do not fit into one.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._places = threading.BoundedSemaphore(threads + queue)

    @contextlib.contextmanager
    def place(self) -> Iterator[Submit]:
        """Hold a place until the block and its work are done; yield the function that starts the work.

        Raises Refused where all places are taken.
        """
        if not self._places.acquire(blocking=False):
            raise Refused(429, "too many requests are waiting; send it again in a second", _LATER)
        started: list[Future] = []

        def submit(work: Callable[[], Result]) -> "Future[Result]":
            started.append(future := self._pool.submit(work))
            return future

        try:
            yield submit
        finally:
            if started:  # a thread cannot be stopped, so its place is not free before
                started[0].add_done_callback(lambda _: self._places.release())
            else:
                self._places.release()


async def done(work: "Future[Result]", seconds: float) -> Result:
    """Wait for work. Raises Refused where it takes too long; if it has not begun, it never will."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(work), seconds)
    except asyncio.TimeoutError:
        raise Refused(
            503,
            f"no answer within {seconds:g} seconds; send it again later, or smaller pictures",
            _LATER,
        ) from None


@contextlib.asynccontextmanager
async def uploads(request: Request, settings: Settings) -> AsyncIterator[list[UploadFile]]:
    """Receive the files of a multipart body; large ones wait on disk until `read`.

    They are closed at the end, so that work which nobody waits for any more stops at the next one.
    Raises Refused where it is none, too large or too slow.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        found = kind or "no content type"
        raise Refused(415, f"{found}; expected multipart/form-data with pictures: curl -F picture=@FILE")
    if (declared := request.headers.get("content-length", "")).isdigit():
        _check_bytes(int(declared), settings)
    most = settings.pictures
    whole = Request(request.scope, _bounded(request.receive, settings))
    async with whole.form(max_files=most, max_fields=most) as form:
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not files:
            raise Refused(400, "no file in the body; expected pictures: curl -F picture=@FILE")
        yield files


def read(file: UploadFile) -> Upload:
    """Read a file into memory. Raises ValueError once it is closed."""
    return Upload(_short(file.filename), file.file.read())


def _bounded(receive: Receive, settings: Settings) -> Receive:
    """Return a `receive` that raises Refused for a body which is too large or too slow."""
    end, taken = time.monotonic() + settings.seconds, 0

    async def bounded() -> Message:
        nonlocal taken
        try:
            message = await asyncio.wait_for(receive(), end - time.monotonic())
        except asyncio.TimeoutError:
            sentence = f"the body did not arrive within {settings.seconds:g} seconds"
            raise Refused(408, sentence, {"Connection": "close"}) from None
        taken += len(message.get("body", b""))
        _check_bytes(taken, settings)
        return message

    return bounded


def _check_bytes(count: int, settings: Settings) -> None:
    if count > settings.most_bytes:
        raise Refused(
            413, f"a body of more than {settings.megabytes:g} MB; send fewer or smaller pictures"
        )


def _short(name: str | None) -> str:
    """Return the last part of a file's name, for messages."""
    return (name or "").replace("\\", "/").rpartition("/")[2][-100:] or "the picture"
