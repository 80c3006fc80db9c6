"""A served model whose answers can be worked out by hand, real servers, and requests that stop half way.

The class of a pixel is its largest band (red, green or blue), the confidence that band over 255.
"""

import contextlib
import io
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import psutil
import requests
import uvicorn
from helpers import environment
from onnx import TensorProto, helper
from PIL import Image
from urllib3.util import Retry

from segpipe.common.classes import ClassTable, SegmentationClass

COLOURS = ClassTable(
    (
        SegmentationClass("red", 1, "#ff0000"),
        SegmentationClass("green", 2, "#00ff00"),
        SegmentationClass("blue", 3, "#0000ff"),
    )
)
RED, GREEN, BLUE, DARK_BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 51)


def card(**changes):
    tensors = {"input": "image", "output": "mask", "confidence": "confidence"}
    types = {"input": "uint8", "output": "uint8", "confidence": "float32"}
    export = {key: {"name": name, "type": types[key]} for key, name in tensors.items()}
    return {
        "segpipe": "0.6.0", "format": 4, "image_size": [32, 32], "resize": "stretch", "bands": "rgb",
        "intensity": None, "depths": ["uint8"], **COLOURS.to_json(),
        "export": {"format": "onnx", "whole": True, **export}, **changes,
    }  # fmt: skip


def write_model(path: Path, of: dict | None = None) -> Path:
    """Write the model; `of` is its card, None for someone else's file without one."""
    node = helper.make_node
    edges = ["n", "h", "w"]
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [-1])
    most = helper.make_tensor("most", TensorProto.FLOAT, [], [255.0])
    graph = helper.make_graph(
        [
            node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            node("ArgMax", ["real"], ["index"], axis=-1, keepdims=0),
            node("Cast", ["index"], ["mask"], to=TensorProto.UINT8),
            node("ReduceMax", ["real", "axis"], ["largest"], keepdims=0),
            node("Div", ["largest", "most"], ["confidence"]),
        ],
        "largest_band",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [*edges, 3])],
        [
            helper.make_tensor_value_info("mask", TensorProto.UINT8, edges),
            helper.make_tensor_value_info("confidence", TensorProto.FLOAT, edges),
        ],
        [axis, most],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if of is not None:
        helper.set_model_props(model, {"segpipe.json": json.dumps(of)})
    onnx.save(model, path)
    return path


def png(pixels) -> bytes:
    """Encode rows of colours."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def form(picture: bytes) -> bytes:
    """Return the body of a multipart form with the boundary B."""
    head = b'--B\r\nContent-Disposition: form-data; name="p"; filename="a.png"\r\n\r\n'
    return head + picture + b"\r\n--B--\r\n"


class Server:
    """A running server: its address, its process, and a client that waits until it listens."""

    def __init__(self, process: subprocess.Popen, address: str) -> None:
        self.process, self.address = process, address
        self.client = requests.Session()
        self.client.trust_env = False
        retry = Retry(total=60, read=0, backoff_factor=0.02, backoff_max=0.5)
        self.client.mount("http://", requests.adapters.HTTPAdapter(max_retries=retry))

    def get(self, path, **options):
        return self.client.get(self.address + path, timeout=60, **options)

    def predict(self, *pictures, query="", **options):
        files = [("picture", one if isinstance(one, tuple) else ("a.png", one)) for one in pictures]
        return self.client.post(f"{self.address}/predict{query}", files=files, timeout=60, **options)

    def hold(self, picture: bytes, *headers: str) -> "Held":
        return Held(self.address, picture, headers)


class Held:
    """A request whose body is still to come; the server has begun to wait for it."""

    def __init__(self, address: str, picture: bytes, headers: tuple[str, ...]) -> None:
        host, _, port = address.removeprefix("http://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.body = form(picture)
        head = [
            "POST /predict HTTP/1.1", "Host: localhost", "Content-Type: multipart/form-data; boundary=B",
            f"Content-Length: {len(self.body)}", "Expect: 100-continue", "Connection: close", *headers,
        ]  # fmt: skip
        self.socket.sendall("\r\n".join([*head, "", ""]).encode())
        self.started = self.socket.recv(4096)

    @property
    def port(self) -> int:
        return self.socket.getsockname()[1]

    def finish(self) -> str:
        """Send the body; return the status line."""
        self.socket.sendall(self.body)
        return self.rest()

    def rest(self) -> str:
        """Return the status line, once the server closes the connection."""
        with self.socket, self.socket.makefile("rb") as file:
            return file.read().split(b"\r\n")[0].decode()


@contextlib.contextmanager
def serving(model: Path, *options: str, **variables: str) -> Iterator[Server]:
    """Run `segpipe serve` on a free port; at the end it is stopped, and must have stopped."""
    process = subprocess.Popen(
        ["segpipe", "serve", str(model), "--port", "0", *options], stdout=subprocess.PIPE, text=True,
        env=environment(**variables), start_new_session=True,
    )  # fmt: skip
    lines = iter(process.stdout.readline, "")
    found = next(filter(None, (re.search(r"http://\S+", line) for line in lines)))
    try:
        server = Server(process, found.group())
        assert server.get("/health").json() == {"status": "ok"}
        yield server
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def in_this_process(app) -> Iterator[str]:
    """Serve an app from a thread; yield its address."""
    # To configure logging ends all handlers, and that of TensorFlow closes what pytest captures.
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


def listens(server: Server) -> bool:
    """Return whether a server still takes connections."""
    found = psutil.Process(server.process.pid).net_connections()
    return any(one.status == psutil.CONN_LISTEN for one in found)


def owner(server: Server, held: Held) -> int | None:
    """Return the id of the worker that a held request is in."""
    for worker in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(one.raddr and one.raddr.port == held.port for one in worker.net_connections()):
                return worker.pid
    return None


def one_a_worker(server: Server, picture: bytes) -> dict[int, Held]:
    """Hold a request in each of two workers; return them by the id of the worker."""
    held: dict[int, Held] = {}
    while len(held) < 2:
        one = server.hold(picture)
        if held.setdefault(owner(server, one), one) is not one:
            one.socket.close()
    return held
