"""ONNX with 8-bit integers: the whole predictor computes with them, and draws nearly the same masks."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import run, set_params
from whole_networks import card, export, network, photo

from segpipe.common.codec import encode_png
from segpipe.common.errors import UserError
from segpipe.export.onnx import graphs
from segpipe.predict.predictor import Predictor
from segpipe.serve.model import load
from segpipe.serve.requests import Upload


@pytest.fixture(scope="module")
def exported(finished_project, tmp_path_factory):
    """A project whose tiny model was exported, as is the default for the format."""
    project = tmp_path_factory.mktemp("int8") / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    set_params(project, {"export.max_drop": 1.0})
    result = run("segpipe", "export", "--to", "onnx-int8", cwd=project)
    assert result.returncode == 0, result.stderr
    return project


@pytest.fixture(scope="module")
def path(exported):
    return exported / "models/export/onnx-int8/model.onnx"


def test_all_convolutions_but_three_compute_with_integers_whose_scales_are_of_a_channel(path):
    graph = onnx.load(path).graph
    made_by = {name: node for inner in graphs(graph) for node in inner.node for name in node.output}
    convolutions = [node for node in made_by.values() if node.op_type == "Conv"]
    weights = {weight.name: weight for weight in graph.initializer}
    assert len(convolutions) > 5
    assert [node.input[1] in weights for node in convolutions] == [True] * 3 + [False] * (
        len(convolutions) - 3
    )
    for node in convolutions[3:]:
        of_image, of_kernel = (made_by[name] for name in node.input[:2])
        assert {of_image.op_type, of_kernel.op_type} == {"DequantizeLinear"}
        kernel, scales = (weights[name] for name in of_kernel.input[:2])
        assert kernel.data_type == onnx.TensorProto.INT8
        largest = np.abs(onnx.numpy_helper.to_array(kernel).astype(int)).max()
        assert 32 < largest <= 64, "7 bits, or AVX2 cuts sums of two products off"
        assert list(scales.dims) == [kernel.dims[0]]


def test_most_pixels_have_the_class_that_predict_gives_them(exported, path):
    found = json.loads((exported / "results/export/onnx-int8.json").read_text())["onnx-int8"]
    assert found["images"] == 6
    assert found["agreement"] > 0.9
    assert found["bytes"] == path.stat().st_size


def test_a_picture_of_any_size_goes_in_and_serve_takes_the_file(path, rng):
    served = load(path)
    image = photo(rng, 61, 45)
    picture = served.read(Upload("a.png", encode_png(image)), 10**6)
    (mask,), _ = onnxruntime.InferenceSession(path).run(["mask", "confidence"], {"image": image[None]})
    np.testing.assert_array_equal(served.predict(picture).mask, mask)


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(exported, path):
    before = path.read_bytes()
    assert run("segpipe", "export", "--to", "onnx-int8", cwd=exported).returncode == 0
    assert path.read_bytes() == before


def test_scales_are_learned_from_pictures_of_16_bits_too(rng, tmp_path):
    of = card(bands=[2, 7], intensity=[[1000, 18000], [0, 20000]], depths=["uint16"])
    model = network(2)
    pictures = [photo(rng, 70, 90, 2).astype(np.uint16) * 80 for _ in range(8)]
    predict = export("onnx-int8", model, of, tmp_path, lambda: pictures)
    (mask,), _ = predict(pictures[0][None])
    assert (mask == Predictor(model, of).predict(pictures[0])).mean() > 0.9


@pytest.mark.slow
def test_tiles_are_refused_in_one_line_since_they_run_in_a_loop(rng, tmp_path):
    of = card(resize="tiles", tiles={"scale": 1.0})
    with pytest.raises(
        UserError, match=r"cannot be quantised.* export the network alone \(--no-whole\)"
    ):
        export("onnx-int8", network(), of, tmp_path, lambda: [photo(rng, 70, 90)])
