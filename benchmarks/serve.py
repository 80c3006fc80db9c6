"""How many requests a second `segpipe serve` answers: ONNX Runtime in float and int8, and TensorFlow.

The model of the recipe `quick`, on a JPEG of 500 x 375 px, at 1, 8 and 32 clients, which share the cores
of this machine with the server.
"""

import _bench

import http.client
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from _served import SERVED
from PIL import Image

from segpipe.serve.model import load
from segpipe.serve.requests import Upload

CLIENTS = (1, 8, 32)
RUNTIMES = ("onnx", "onnx-int8", "savedmodel")
SECONDS = float(os.environ.get("SEGPIPE_BENCH_SECONDS", 10))  # of each measurement
PROCESSOR = "ms of the processor a picture"
HERE = Path(__file__).resolve().parent
FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def main() -> None:
    """Export, serve, ask, print."""
    rows: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for name in RUNTIMES:
            path = Path(folder, f"{name}.onnx" if name.startswith("onnx") else name).resolve()
            environment = {**os.environ, SERVED: json.dumps([name, str(path)])}
            subprocess.run([sys.executable, HERE / "_served.py"], env=environment, check=True)
            with serving(environment) as (port, server):
                for clients in CLIENTS:
                    rows |= {f"{what}, {name}, {clients} clients": found
                             for what, found in measured(port, server, clients).items()}  # fmt: skip
        calls = in_one_call_and_one_by_one(Path(folder, "onnx.onnx"))
    rows |= {f"{PROCESSOR}, 8 in one call": calls[0], f"{PROCESSOR}, one by one": calls[1]}
    ratios = {"8 in one call / one by one, processor time": calls[0] / calls[1]}
    for clients in CLIENTS:
        float_, *others = (rows[f"{PROCESSOR}, {name}, {clients} clients"] for name in RUNTIMES)
        for name, other in zip(RUNTIMES[1:], others, strict=True):
            ratios[f"onnx / {name}, processor time, {clients} clients"] = float_ / other
    _bench.publish("serve", rows, ratios)


def in_one_call_and_one_by_one(path: Path, rounds: int = 6) -> tuple[float, float]:
    """Return the processor's milliseconds a picture in a batch of 8, and alone."""
    served = load(path)
    image = served.read(Upload("", picture()), 10**7).model_input
    batch = np.repeat(image[None], 8, 0)
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(rounds):
        start = time.process_time()
        served.run(batch)
        middle = time.process_time()
        for one in batch:
            served.run(one[None])
        seconds[0].append((middle - start) / len(batch))
        seconds[1].append((time.process_time() - middle) / len(batch))
    return 1e3 * statistics.median(seconds[0]), 1e3 * statistics.median(seconds[1])


def measured(port: int, server: psutil.Process, clients: int) -> dict[str, float]:
    """Return how fast a server answers some clients."""
    before = server.cpu_times()
    times, taken = asked(port, clients)
    after = server.cpu_times()
    seconds = after.user + after.system - before.user - before.system
    late = 1e3 * float(np.percentile(times, 99))
    each = 1e3 * seconds / len(times)
    return {"requests/s": len(times) / taken, "ms, 99th percentile": late, PROCESSOR: each}


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[tuple[int, psutil.Process]]:
    """Run a server; yield its port and process once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = ["-m", "uvicorn", "--factory", "_served:app", "--port", str(port), "--no-access-log",
               "--http", "segpipe.serve.connection:BoundedConnection"]  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, *command, "--log-level", "warning"], env=environment, cwd=HERE
    )
    try:
        while not answers(port):
            if server.poll() is not None:
                raise SystemExit("error: the server ended before it answered")
            time.sleep(0.1)
        yield port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    """Return whether the server is there."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except ConnectionRefusedError:
        return False


def asked(port: int, clients: int) -> tuple[list[float], float]:
    """Let each client ask again and again; return the time of each answer, and that of all together.

    Raises a RuntimeError, or what the connection raises, where a request is not answered with 200.
    """
    body, times, end = form(), [], time.perf_counter() + SECONDS

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while (start := time.perf_counter()) < end:
            connection.request("POST", "/predict?format=png", body, FORM)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}, not 200: {said[:200]!r}")
            times.append(time.perf_counter() - start)

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask) for _ in range(clients)]
    for one in asking:
        one.result()  # which raises what a client raised
    return times, time.perf_counter() - start


def form() -> bytes:
    """Return a multipart body with the picture."""
    head = b'--B\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'
    return head + picture() + b"\r\n--B--\r\n"


def picture() -> bytes:
    """Return a smooth JPEG."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
