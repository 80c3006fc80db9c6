"""The command that serves a model."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

_MODEL = Path("models/export/onnx/model.onnx")


def serve(
    model: Annotated[Path, typer.Argument(help="What `segpipe export --to onnx` wrote.")] = _MODEL,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for all networks.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each loads the model.")] = 1,
    max_mb: Annotated[float, typer.Option(min=0.001, help="10^6 bytes of a request, at most.")] = 32,
    max_megapixels: Annotated[float, typer.Option(min=0.001, help="Of a picture, at most.")] = 25,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait in a worker.")] = 64,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for a body to arrive, and for its answer.")
    ] = 30,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Pages from there may call it; may be given again."),
    ] = None,
) -> None:
    """Serve a model over HTTP, with a page to try it. Needs no TensorFlow.

    With the environment variable SEGPIPE_TOKEN, callers need it as their bearer token.
    """
    from segpipe.serve.run import run
    from segpipe.serve.settings import TOKEN, Settings, is_loopback, token

    local = is_loopback(host)
    if not token() and not local and host:
        print(f"note: anybody who reaches {host} may use the model; set {TOKEN} to ask for a token")
    settings = Settings(
        model=model, workers=workers, megabytes=max_mb, megapixels=max_megapixels, queue=queue,
        seconds=timeout, origins=tuple(allow_origin or ()), local=local,
    )  # fmt: skip
    run(settings, host, port)
    sys.stdout.flush()
    os._exit(0)  # otherwise Python waits for pictures under way, for which nobody waits any more
