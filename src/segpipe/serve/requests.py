"""Limits on requests: the bounded queue, the bounded body, the room for all bodies."""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message, Receive

from segpipe.serve.settings import Settings

Result = TypeVar("Result")
Submit = Callable[[Callable[[], Result]], "Future[Result]"]

_LATER = {"Retry-After": "1"}


class Upload(NamedTuple):
    """A file as it was sent."""

    name: str
    data: bytes


class BoundedQueue:
    """Takes a bounded number of requests; their work runs on a few threads.

    Pictures are not predicted in batches: on a CPU a batch takes no less time a picture, and pictures of
    several sizes do not fit into one.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self.size = threads + queue
        self._pool = ThreadPoolExecutor(threads)
        self._places = threading.BoundedSemaphore(self.size)

    def check(self) -> None:
        """Raise HTTPException 429 where all places are taken."""
        with self.place():
            pass

    @contextlib.contextmanager
    def place(self) -> Iterator[Submit]:
        """Hold a place until the block and its work are done; yield the function that starts the work.

        Raises HTTPException 429 where all places are taken.
        """
        if not self._places.acquire(blocking=False):
            raise _full()
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


class Room:
    """Bounds the bytes of all bodies that are there: under way, or waiting for their turn.

    Bytes and not bodies, since a body that arrives slowly must keep no other out. Only the event loop
    uses it.
    """

    def __init__(self, most: int) -> None:
        self.free = most

    @contextlib.contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Yield the function that takes bytes for a body; the end of the block gives them back.

        The function raises HTTPException 429 where so many are not free.
        """
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if count > self.free:
                raise _full()
            self.free -= count
            taken += count

        try:
            yield take
        finally:
            self.free += taken


def _full() -> HTTPException:
    return HTTPException(429, "too many requests are waiting; send it again in a second", _LATER)


async def result_within(work: "Future[Result]", seconds: float, receive: Receive) -> Result:
    """Return the result of work.

    Raises HTTPException 503 where it takes longer, and 499 where the caller hangs up, as `receive` then
    tells; work that has not begun by then is cancelled.
    """
    answer = asyncio.wrap_future(work)
    gone: asyncio.Future[Any] = asyncio.ensure_future(_hung_up(receive))
    try:
        both: set[asyncio.Future[Any]] = {answer, gone}
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if gone.done():
            raise HTTPException(499, "the caller hung up")
        raise HTTPException(
            503,
            f"no answer within {seconds:g} seconds; send it again later, or smaller pictures",
            _LATER,
        )
    finally:
        answer.cancel()
        gone.cancel()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.asynccontextmanager
async def uploads(request: Request, settings: Settings, room: Room) -> AsyncIterator[list[UploadFile]]:
    """Receive the files of a multipart body; large ones wait on disk until `read`.

    They are closed at the end: work for which nobody waits any more then fails at its next file.
    Raises HTTPException where the body holds no files (400, 415), is too slow (408) or too large (413),
    or there is no room for it (429).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        found = kind or "no content type"
        raise HTTPException(
            415, f"{found}; expected multipart/form-data with pictures: curl -F picture=@FILE"
        )
    if (declared := request.headers.get("content-length", "")).isdigit():
        _check_bytes(int(declared), settings)
    with room.body() as take:
        body = _Body(request.receive, settings, take)
        try:
            form = await _parsed(Request(request.scope, body.receive), settings.pictures)
        except HTTPException:
            await body.drop()
            raise
        except OSError as error:
            await body.drop()
            reason = f"the server cannot keep the body ({error.strerror or error})"
            raise HTTPException(
                500, f"{reason}; whoever runs it must look at its temporary folder"
            ) from error
        try:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            if not files:
                raise HTTPException(400, "no file in the body; expected pictures: curl -F picture=@FILE")
            yield files
        finally:
            await form.close()


async def _parsed(request: Request, most: int) -> FormData:
    """Return a form of `most` files and fields at most. Raises HTTPException 400 where it is broken."""
    parser = _Form(request.headers, request.stream(), max_files=most, max_fields=most)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from None
    if not parser.has_ended:
        await form.close()
        raise HTTPException(400, "the form ends before its closing boundary; send the whole body")
    return form


class _Form(MultiPartParser):
    """Notes whether the closing boundary came, which the parser does not ask for; texts are UTF-8."""

    has_ended = False

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], **most: int) -> None:
        plain = re.sub(r"(?i);\s*charset\s*=[^;]*", "", headers["content-type"])
        super().__init__(Headers({"content-type": plain}), stream, **most)

    def on_headers_finished(self) -> None:
        """Refuse names that the parser would leave out."""
        found = {*re.findall(rb";\s*(filename\*?)\s*=", self._current_part.content_disposition or b"")}
        if found == {b"filename*"}:
            raise MultiPartException("a part with filename*=; expected filename= (RFC 7578, 4.2)")
        super().on_headers_finished()

    def on_end(self) -> None:
        """Note that all parts came."""
        self.has_ended = True


def read(file: UploadFile) -> Upload:
    """Read a file into memory. Raises ValueError once it is closed."""
    return Upload(_short(file.filename), file.file.read())


class _Body:
    """Receives a body, and tells `take` of the bytes as they arrive.

    Raises HTTPException 413 or 408 where it is too large or too slow.
    """

    def __init__(self, receive: Receive, settings: Settings, take: Callable[[int], None]) -> None:
        self._receive, self._settings, self._take = receive, settings, take
        self._end, self._received = time.monotonic() + settings.seconds, 0
        self._has_more = True

    async def receive(self) -> Message:
        """Return the next part, as ASGI has it."""
        message = await self._next()
        self._take(len(message.get("body", b"")))
        return message

    async def drop(self) -> None:
        """Receive the rest, within the same bounds.

        A connection that is closed while a client still sends is reset, and the answer is lost.
        """
        with contextlib.suppress(HTTPException):
            while self._has_more:
                await self._next()

    async def _next(self) -> Message:
        try:
            message = await asyncio.wait_for(self._receive(), self._end - time.monotonic())
        except asyncio.TimeoutError:
            sentence = f"the body did not arrive within {self._settings.seconds:g} seconds"
            raise HTTPException(408, sentence, {"Connection": "close"}) from None
        self._has_more = message.get("more_body", False)
        self._received += len(message.get("body", b""))
        _check_bytes(self._received, self._settings)
        return message


def _check_bytes(count: int, settings: Settings) -> None:
    if count > settings.most_bytes:
        raise HTTPException(
            413, f"a body of more than {settings.megabytes:g} MB; send fewer or smaller pictures"
        )


def _short(name: str | None) -> str:
    """Return the last part of a file's name, for messages."""
    return (name or "").replace("\\", "/").rpartition("/")[2][-100:] or "the picture"
