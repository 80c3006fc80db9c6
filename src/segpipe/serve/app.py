"""The HTTP interface of a served model."""

import functools
import hmac
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from segpipe.common import __version__
from segpipe.common.errors import UserError, brief
from segpipe.common.parallel import usable_cores
from segpipe.serve import answers
from segpipe.serve.callers import OriginCheck
from segpipe.serve.metrics import CountRequests, Metrics
from segpipe.serve.model import Served, load
from segpipe.serve.requests import BoundedQueue, Room, read, result_within, uploads
from segpipe.serve.settings import Settings, token

_PAGE = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}
_PATHS = {*_PAGE, "/predict", "/model", "/health", "/metrics", "/openapi.json"}
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; connect-src 'self' data:; media-src blob:; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "picture": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            }
        },
    }
}
_REFUSALS = {
    400: "the body is no multipart form with files",
    401: "the token is missing or wrong",
    403: "a page of another origin, or the host of another machine",
    406: "the answer cannot have the wanted type",
    408: "the body arrived too slowly",
    413: "too many bytes or pixels",
    415: "the body is no multipart form",
    422: "a file is no picture that the model takes",
    429: "too many requests are waiting, or too many bytes of them",
    503: "no answer in time",
}


def worker() -> FastAPI:
    """Return the app of a worker process, as the environment says."""
    settings = Settings.from_environment()
    return create_app(load(settings.model), settings, token())


def create_app(served: Served, settings: Settings, secret: str = "") -> FastAPI:
    """Return an app that serves a model; callers need the `secret`, unless it is empty."""
    metrics = Metrics()
    queue = BoundedQueue(max(1, usable_cores() // settings.workers), settings.queue)
    app = FastAPI(title="segpipe serve", version=__version__, docs_url=None, redoc_url=None)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.origins, allow_methods=["GET", "POST"],
            allow_headers=["Authorization"], expose_headers=[answers.FOREIGN],
        )  # fmt: skip
    app.add_middleware(OriginCheck, settings=settings)  # before CORS, which refuses without a sentence
    app.add_middleware(CountRequests, metrics=metrics, known=_PATHS)
    _add_errors(app)
    _add_page(app)
    _add_reading(app, served, metrics, _guard(secret))
    _add_predict(app, settings, served, metrics, queue, _guard(secret))
    return app


def _guard(secret: str) -> list[Any]:
    """Return the dependencies of a route for callers with the token; none where there is no token."""
    bearer = HTTPBearer(auto_error=False, description="where the server was started with a token")

    def check(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if sent is None or not hmac.compare_digest(sent.credentials.encode(), secret.encode()):
            found = "no token" if sent is None else "a wrong token"
            sentence = f"{found}; expected the header Authorization: Bearer TOKEN"
            raise HTTPException(401, sentence, {"WWW-Authenticate": "Bearer"})

    return [Depends(check)] if secret else []


def _add_errors(app: FastAPI) -> None:
    """Answer every error with a sentence, and none with a traceback."""

    def answer(status: int, sentence: str) -> JSONResponse:
        return JSONResponse({"detail": sentence}, status)

    @app.exception_handler(UserError)  # such as BadSampleError
    async def bad_picture(request: Request, error: UserError) -> Response:
        return answer(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def bad_query(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return answer(422, f"{first['loc'][-1]}: {brief(first['msg'])}")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        sentence = error.detail
        if error.status_code == 404:
            sentence = f"no such path here; expected one of {', '.join(sorted(_PATHS))}"
        elif error.status_code == 405:
            expected = (error.headers or {}).get("Allow", "another method")
            sentence = f"{request.method} is not answered here; expected {expected}"
        return JSONResponse({"detail": sentence}, error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return answer(400, "the body ended before its end")

    @app.exception_handler(Exception)
    async def ours(request: Request, error: Exception) -> Response:
        return answer(500, "an error of the server; its log says more")


def _add_page(app: FastAPI) -> None:
    """Add the page and its parts, which need no token, since they hold nothing of the model."""
    for path, file in _PAGE.items():
        content = (Path(__file__).parent / "templates" / file).read_bytes()
        kind = f"{_KINDS[Path(file).suffix]}; charset=utf-8"
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        answer = functools.partial(Response, content, headers=headers, media_type=kind)
        app.add_api_route(path, _constant(answer), methods=["GET", "HEAD"], include_in_schema=False)


def _constant(answer: Any) -> Any:
    async def endpoint() -> Response:
        return answer()

    return endpoint


def _add_reading(app: FastAPI, served: Served, metrics: Metrics, guard: list[Any]) -> None:
    """Add the routes to read from: health, the card, the metrics."""

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the model is loaded."""
        return {"status": "ok"}

    @app.head("/model", dependencies=guard, include_in_schema=False)
    @app.get("/model", dependencies=guard)
    async def card() -> dict[str, Any]:
        """Return the model's card."""
        return served.card

    @app.head("/metrics", dependencies=guard, include_in_schema=False)
    @app.get("/metrics", dependencies=guard)
    async def numbers() -> Response:
        """Return the metrics of all workers in Prometheus' text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _add_predict(
    app: FastAPI,
    settings: Settings,
    served: Served,
    metrics: Metrics,
    queue: BoundedQueue,
    guard: list[Any],
) -> None:
    """Add the prediction."""
    room = Room(queue.size * settings.most_bytes)

    def result(file: UploadFile) -> answers.Result:
        picture = served.read(read(file), settings.most_pixels)
        found = answers.Result(picture, served.predict(picture))
        metrics.count(found.remark)
        return found

    def predicted(
        files: list[UploadFile], format_: answers.AnswerFormat, maps: bool
    ) -> tuple[bytes, dict[str, str]]:
        return answers.encoded(map(result, files), served.classes, format_, maps)

    @app.post("/predict", dependencies=guard, openapi_extra=_BODY, responses=_responses())
    async def predict(
        request: Request, format: answers.AnswerFormat | None = None, maps: bool = False
    ) -> Response:
        """Predict on the files of a multipart form, whatever their fields are called.

        The answer is JSON for any number of pictures; of one picture also the mask (image/png) or an
        overlay (image/jpeg), by `format` or the header Accept. `maps` adds to JSON the mask and the
        confidence of each pixel.
        """
        queue.check()  # a body for which there is no place need not be received
        async with uploads(request, settings, room) as files:
            accept = ", ".join(request.headers.getlist("accept"))
            format_ = answers.chosen_format(format, accept, len(files))
            with queue.place() as submit:  # only now: bodies that arrive slowly would take all places
                work = submit(functools.partial(predicted, files, format_, maps))
                body, headers = await result_within(work, settings.seconds, request.receive)
        return Response(body, headers=headers, media_type=answers.TYPES[format_])


def _responses() -> dict[int | str, dict[str, Any]]:
    """Return the description of the answers for OpenAPI."""
    pictures: dict[str, Any] = {"content": {"image/png": {}, "image/jpeg": {}}}
    responses: dict[int | str, dict[str, Any]] = {200: {"model": answers.Predictions, **pictures}}
    for status, description in _REFUSALS.items():
        responses[status] = {"model": answers.Error, "description": description}
    return responses
