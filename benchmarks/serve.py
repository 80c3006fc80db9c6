"""How many requests a second `segpipe serve` answers: ONNX Runtime, and TensorFlow in its place.

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
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from _served import SERVED
from PIL import Image

from segpipe.serve.model import load
from segpipe.serve.requests import Upload

CLIENTS = (1, 8, 32)
RUNTIMES = ("onnx", "savedmodel")
SECONDS = float(os.environ.get("SEGPIPE_BENCH_SECONDS", 10))  # of each measurement
HERE = Path(__file__).resolve().parent
FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def main() -> None:
    """Export, serve, ask, print."""
    rows: dict[str, float] = {}
    rates: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for name in RUNTIMES:
            path = Path(folder, "model.onnx" if name == "onnx" else name).resolve()
            environment = {**os.environ, SERVED: json.dumps([name, str(path)])}
            subprocess.run([sys.executable, HERE / "_served.py"], env=environment, check=True)
            with serving(environment) as port:
                for clients in CLIENTS:
                    times, taken = asked(port, clients)
                    rates[name, clients] = rows[f"requests/s, {name}, {clients} clients"] = (
                        len(times) / taken
                    )
                    rows[f"ms, 99th percentile, {name}, {clients} clients"] = 1e3 * np.percentile(
                        times, 99
                    )
        calls = in_one_call_and_one_by_one(Path(folder, "model.onnx"))
    rows["ms of the processor a picture, 8 in one call"] = 1e3 * calls[0]
    rows["ms of the processor a picture, one by one"] = 1e3 * calls[1]
    ratios = {
        f"onnx / savedmodel, requests/s, {clients} clients": rates["onnx", clients]
        / rates["savedmodel", clients]
        for clients in CLIENTS
    }
    ratios["8 pictures in one call / one by one, processor time"] = calls[0] / calls[1]
    _bench.publish("serve", rows, ratios)


def in_one_call_and_one_by_one(path: Path, rounds: int = 6) -> tuple[float, float]:
    """Return the processor's seconds a picture in a batch of 8, and alone."""
    served = load(path)
    image = served.read(Upload("", picture()), 10**7).given
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
    return statistics.median(seconds[0]), statistics.median(seconds[1])


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[int]:
    """Run a server; yield its port once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = ["-m", "uvicorn", "--factory", "_served:app", "--port", str(port), "--no-access-log"]
    server = subprocess.Popen(
        [sys.executable, *command, "--log-level", "warning"], env=environment, cwd=HERE
    )
    try:
        while not answers(port):
            if server.poll() is not None:
                raise SystemExit("error: the server ended before it answered")
            time.sleep(0.1)
        yield port
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
    """Let each client ask again and again; return the time of each answer, and that of all together."""
    body, times, end = form(), [], time.perf_counter() + SECONDS

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while (start := time.perf_counter()) < end:
            connection.request("POST", "/predict?format=png", body, FORM)
            answer = connection.getresponse()
            answer.read()
            times.append(time.perf_counter() - start if answer.status == 200 else float("nan"))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
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
