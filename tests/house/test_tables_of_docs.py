"""The tables of docs that an experiment or a benchmark wrote hold the numbers that are committed."""

import json
import re
import sys

import pandas as pd
from helpers import ROOT

sys.path.insert(0, str(ROOT / "experiments"))

import drift
import latency
import next as labelled_next
import planted


def table_of(page, name):
    """The text between the markers of a table."""
    text = (ROOT / f"docs/{page}.md").read_text()
    return text.split(f"<!-- table: {name} -->")[1].split("<!-- end -->")[0].strip()


def test_the_table_of_drift_is_that_of_its_results():
    results = pd.read_csv(drift.RESULTS).fillna({"first": ""})
    assert table_of("drift", "drift") == drift.table(results).strip()


def test_the_table_of_latencies_is_that_of_its_results():
    assert table_of("export", "latency") == latency.table(pd.read_csv(latency.RESULTS)).strip()


def test_the_speed_of_serve_is_that_of_its_benchmark():
    found = json.loads((ROOT / "benchmarks/results/serve.json").read_text())["rows"]
    text = (ROOT / "docs/serve.md").read_text()
    lines = re.findall(r"(?m)^\|(.*)\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text)
    assert len(lines) == 9
    for number, (runtime, *cells) in enumerate(lines):
        name = ("onnx", "onnx-int8", "savedmodel")[number // 3]
        shown = {"onnx": "`onnx`", "onnx-int8": "`onnx-int8`", "savedmodel": "TensorFlow"}[name]
        assert runtime.strip() == ("" if number % 3 else shown)
        clients, *values = map(int, cells)
        what = "requests/s", "ms, 99th percentile", "ms of the processor a picture"
        assert values == [round(found[f"{one}, {name}, {clients} clients"]) for one in what]


def test_the_table_of_planted_masks_is_that_of_its_results():
    rows = pd.read_csv(planted.RESULTS, keep_default_na=False)
    assert table_of("labels", "planted") == planted.recalls(rows).strip()


def test_the_table_of_what_to_label_next_is_that_of_its_results(monkeypatch):
    monkeypatch.setattr(labelled_next, "draw", lambda rows, ways: None)
    assert table_of("labels", "next") == labelled_next.shown(labelled_next.results()).strip()
