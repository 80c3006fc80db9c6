"""The Dockerfile: its image holds what the server imports, and it does not run as root."""

import io
import json
import re
import sys
import urllib.request

import pytest
from helpers import ROOT, run

LINES = re.sub(r"\\\n", "", (ROOT / "Dockerfile").read_text()).splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]
LOCKED = set(re.findall(r"(?m)^([\w.-]+)==", (ROOT / "docker/requirements.lock").read_text()))

IMPORTED = """
import importlib.metadata, sys
from pathlib import Path
from segpipe import cli
from segpipe.serve import app, model, run, settings
from segpipe.fetch import codecs, dicom, tiff
import uvicorn
path = Path(sys.argv[1])
app.create_app(model.load(path), settings.Settings(model=path))
owners = importlib.metadata.packages_distributions()
tops = {name.split(".")[0] for name in sys.modules}
print(*sorted({owner.lower().replace("_", "-") for top in tops for owner in owners.get(top, [])}))
"""
OPTIONAL = {"orjson", "googleapis-common-protos"}
"""Imported where they are there: fastapi's other JSON, and a part of protobuf's folder."""


def values(name):
    return [value for instruction, value in INSTRUCTIONS if instruction == name]


def test_all_that_the_server_imports_is_in_the_image_and_no_tensorflow(model):
    imported = set(run(sys.executable, "-c", IMPORTED, str(model), cwd=ROOT).stdout.split())
    assert {"fastapi", "onnxruntime", "pillow", "tifffile"} <= imported
    assert imported - OPTIONAL - {"segpipe"} - LOCKED == set()
    assert LOCKED & {"tensorflow", "keras", "torch", "jax"} == set()


def test_it_runs_on_a_plain_python_and_not_as_root():
    assert [re.fullmatch(r"python:3\.\d+-slim", image) is not None for image in values("FROM")] == [True]
    (user,) = values("USER")
    assert int(user.split(":")[0]) > 0
    names = [name for name, _ in INSTRUCTIONS]
    assert names.index("USER") > max(n for n, name in enumerate(names) if name == "RUN")


@pytest.mark.parametrize("line", values("COPY"))
def test_what_it_copies_exists_and_is_sent_to_docker(line):
    kept = [
        name.lstrip("!") for name in (ROOT / ".dockerignore").read_text().splitlines() if name[0] == "!"
    ]
    *sources, _ = line.split()
    for source in sources:
        assert (ROOT / source).exists() and source.split("/")[0] in kept


@pytest.mark.parametrize(
    ("options", "port"), [((), 8000), (("--port", "8000", "--port", "9000"), 9000), (("--port=81",), 81)]
)
def test_its_health_is_asked_at_the_port_that_the_command_sets(monkeypatch, options, port):
    *_, code = json.loads(values("HEALTHCHECK")[0].partition(" CMD ")[2])
    (started,) = values("ENTRYPOINT")
    line = "\0".join([*json.loads(started), *options, ""])
    asked = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: asked.append(url))
    exec(code, {"open": lambda path: io.StringIO(line)})
    assert asked == [f"http://127.0.0.1:{port}/health"]
