"""`RAY_ADDRESS` of something else than a Ray cluster: one line, soon."""

import contextlib
import socket
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from helpers import error_line, run

pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")

from segpipe.common import cluster
from segpipe.common.errors import UserError

SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00" + b"\x00\x05\x00\x00\x40\x00"
"""The first frame of an HTTP/2 server by RFC 9113: 6 bytes of type 4, then one setting."""


@contextlib.contextmanager
def answering(answer, family=socket.AF_INET):
    """A port whose server gives one answer to each connection, and closes it; yields the port."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with socket.create_server((host, 0), family=family) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.recv(1000)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def refused(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("Ray would try for minutes"))
    with pytest.raises(UserError) as caught, cluster.connected("a test"):
        pass
    assert str(caught.value) == (
        f"a test, but no Ray cluster answers at RAY_ADDRESS = {address!r}; start one (`ray start "
        "--head`), and set RAY_ADDRESS to its address, such as 10.0.0.1:6379"
    )


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", SETTINGS[:5], b"\x00\x00\x00\x07" + bytes(5)],
    ids=["closes", "speaks HTTP", "is cut short", "says goodbye"],
)
def test_a_server_that_does_not_begin_as_ray_is_refused(monkeypatch, answer):
    with answering(answer) as port:
        refused(monkeypatch, f"127.0.0.1:{port}")


def test_a_dashboard_is_refused(monkeypatch):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        refused(monkeypatch, f"127.0.0.1:{server.server_port}")
        server.shutdown()


@pytest.mark.slow
def test_a_silent_server_is_refused_after_ten_seconds(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        refused(monkeypatch, f"127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]"])
def test_a_server_that_begins_as_ray_is_one_with_brackets_or_without(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with answering(SETTINGS, family) as port:
            assert cluster._answers(f"{host}:{port}")
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.slow
def test_a_server_of_grpc_that_is_no_cluster_is_one_line_soon(tmp_path):
    """Such as Ray's port for clients. Ray itself would try for 12 minutes, where it does not answer."""
    grpc = pytest.importorskip("grpc")
    server = grpc.server(futures.ThreadPoolExecutor(1))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    began = time.monotonic()
    line = error_line(run("segpipe", "info", cwd=tmp_path, RAY_ADDRESS=address))
    server.stop(None)
    assert line.startswith(
        f"error: this host cannot use the Ray cluster at {address} (Failed to connect"
    )
    assert line.count("\n") == 1
    assert time.monotonic() - began < 180  # about 50 s on an idle machine
