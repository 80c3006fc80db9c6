"""`make bench-check`: what it says of ratios, and that every benchmark has a bound."""

import http.server
import json
import socket
import sys
import threading

import pytest
import yaml
from helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import run as benchmarks
import serve as serving

BOUNDS = yaml.safe_load((ROOT / "benchmarks/bounds.yaml").read_text())


@pytest.mark.parametrize(
    ("bound", "said"), [({"min": 1.4}, "(at least 1.4)"), ({"max": 1.2}, "(at most 1.2)")]
)
def test_a_ratio_beyond_its_bound_is_named_with_its_value_and_the_bound(bound, said):
    (line,) = benchmarks.broken("step", {"ours / theirs": 1.25}, {"ours / theirs": bound})
    assert line == f"step: ours / theirs is 1.250 {said}"


def test_a_ratio_within_its_bound_or_without_one_is_right():
    ratios = {"a": 1.0, "b": 2.0, "c": 99.0}
    assert benchmarks.broken("step", ratios, {"a": {"min": 1.0}, "b": {"max": 2.0}}) == []


def test_a_ratio_that_is_not_a_number_breaks_its_bound():
    assert benchmarks.broken("step", {"a": float("nan")}, {"a": {"min": 0.0}})


def test_a_bound_of_what_was_not_measured_is_named():
    assert benchmarks.broken("step", {}, {"a": {"min": 1}}) == [
        "step: a has a bound and was not measured"
    ]


def test_every_benchmark_has_bounds():
    files = {path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    assert files - set(benchmarks.NOT_HERE) == set(BOUNDS)


@pytest.mark.parametrize("name", BOUNDS)
def test_the_committed_results_hold_every_ratio_that_has_a_bound_and_keep_it(name):
    ratios = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())["ratios"]
    assert benchmarks.broken(name, ratios, BOUNDS[name]) == []


@pytest.mark.parametrize("status", [200, 429])
def test_speed_counts_answers_of_200_alone_and_any_other_ends_it(status, monkeypatch):
    monkeypatch.setattr(serving, "SECONDS", 0.2)

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"full")

        def log_message(self, *said):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            if status == 200:
                times, _ = serving.asked(server.server_port, 2)
                assert times and all(0 < one < 60 for one in times)
            else:
                with pytest.raises(RuntimeError, match="status 429, not 200: b'full'"):
                    serving.asked(server.server_port, 2)
        finally:
            server.shutdown()


def test_a_client_that_loses_its_connection_ends_it(monkeypatch):
    monkeypatch.setattr(serving, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        serving.asked(port, 2)
