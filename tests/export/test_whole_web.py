"""A whole predictor in ONNX Runtime Web, in Chromium: the masks of Python, and those of predict."""

import base64
import contextlib
import functools
import http.server
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from whole_networks import card, export, network, photo

from segpipe.common.records import open_records
from segpipe.export.agreement import Agreement, Reference
from segpipe.export.run import export_to, open_trained
from segpipe.params.load import load_params

PAGE = """<!doctype html><meta charset="utf-8"><script src="ort.wasm.min.js"></script><script>
ort.env.wasm.numThreads = 1
const loading = ort.InferenceSession.create("model.onnx")
async function mask(url, height, width) {
  const pixels = new Uint8Array(await (await fetch(url)).arrayBuffer())
  const image = new ort.Tensor("uint8", pixels, [1, height, width, pixels.length / height / width])
  const found = await (await loading).run({ image })
  let text = ""
  for (const index of found.mask.data) text += String.fromCharCode(index)
  return btoa(text)
}
</script>"""


@pytest.fixture(scope="session")
def ort_web():
    """The folder `dist` of the npm package onnxruntime-web."""
    if "SEGPIPE_ORT_WEB" not in os.environ:
        pytest.skip("SEGPIPE_ORT_WEB is not set")
    return Path(os.environ["SEGPIPE_ORT_WEB"])


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files; what it served is nobody's business."""

    def log_message(self, *said):
        pass


@pytest.fixture
def served(tmp_path, ort_web):
    """A folder with the runtime and the page, and its address on this machine."""
    for name in ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(ort_web / name, tmp_path)
    (tmp_path / "index.html").write_text(PAGE)
    handler = functools.partial(Quiet, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def opened(chromium, served):
    """Open the page; yield what computes the mask of a picture there."""
    folder, address = served
    page = chromium.new_page()
    page.goto(address)

    def mask(image):
        (folder / "picture").write_bytes(np.ascontiguousarray(image).tobytes())
        height, width = image.shape[:2]
        text = page.evaluate("([h, w]) => mask('picture?' + Math.random(), h, w)", [height, width])
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width)

    yield mask
    page.close()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"resize": "stretch"}, id="stretch"),
        pytest.param({"resize": "pad"}, id="pad", marks=pytest.mark.slow),
        pytest.param({"resize": "tiles", "tiles": {"scale": 1.0}}, id="tiles", marks=pytest.mark.slow),
    ],
)
def test_a_browser_gives_the_masks_of_python(chromium, served, changes, rng):
    run = export("onnx", network(), card(**changes), served[0])
    with opened(chromium, served) as mask_in_browser:
        for image in (photo(rng, 90, 121), photo(rng, 20, 31)):
            assert (mask_in_browser(image) == run(image[None])[0][0]).mean() > 0.999


@pytest.mark.slow
def test_in_a_browser_masks_and_scores_of_all_test_photographs_are_those_of_predict(
    chromium, served, photographs_project, monkeypatch
):
    monkeypatch.chdir(photographs_project)
    source = open_trained(Path("models/model.keras"), open_records(Path("data/records")))
    export_to(source, "onnx", load_params().export, served[0] / "model.onnx", whole=True)
    with opened(chromium, served) as mask_in_browser:

        def run(images):
            mask = mask_in_browser(images[0])
            return mask[None], np.ones(mask[None].shape, np.float32)

        agreement = Agreement(
            run, Reference.of(source.model, source.card), source.manifest.classes.names
        )
        agreement.over(list(source.evaluation.per_image()["name"]))
    found = agreement.findings()
    print(found)  # for docs/export.md
    assert found["images"] == 298
    assert found["original"]["mean_iou"] > 0.6, "trained enough for the scores to say something"
    assert found["agreement"] >= 0.999
    assert found["score_difference"] <= 0.0005
