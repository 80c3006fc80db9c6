"""Exports: each is as good as the model in its own runtime, says what it is, or is not there."""

import errno
import json
import pathlib
import re
import shutil
import sys

import keras
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import tensorflow as tf
import yaml
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from helpers import as_shown, commit, error_line, run, set_params
from PIL import Image, ImageOps

from segpipe.common import records
from segpipe.common.errors import UserError
from segpipe.common.modelfile import read_card
from segpipe.export import ExportFormat, modelcard
from segpipe.export.run import _published
from segpipe.export.runtimes import FORMATS
from segpipe.predict.predictor import load_model
from segpipe.train.saving import save_model

FILES = {
    "savedmodel": "models/export/savedmodel",
    "tflite": "models/export/tflite/model.tflite",
    "tflite-int8": "models/export/tflite-int8/model.tflite",
    "onnx": "models/export/onnx/model.onnx",
    "onnx-int8": "models/export/onnx-int8/model.onnx",
}
ALL = [argument for name in FILES for argument in ("--to", name)]


def export(project, *arguments):
    return run("segpipe", "export", *arguments, cwd=project)


@pytest.fixture(scope="module")
def exported(finished_project, tmp_path_factory):
    """A project whose tiny model was exported to all formats, and what that printed."""
    project = tmp_path_factory.mktemp("exported") / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    set_params(project, {"export.max_drop": 1.0})
    result = export(project, *ALL, "--no-whole")
    assert result.returncode == 0, result.stderr
    return project, result.stdout


@pytest.fixture(scope="module")
def truth(exported):
    """The test images, and the logits that Keras gives."""
    project, _ = exported
    images = [s["image"] for s in records.read(records.open_records(project / "data/records"), "test")]
    model = keras.models.load_model(project / "models/model.keras", compile=False)
    return np.stack(images), model.predict_on_batch(np.stack(images))


@pytest.fixture
def project(exported, tmp_path):
    """A project with exports, to be spoiled."""
    shutil.copytree(exported[0], tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def run_savedmodel(path, images):
    return tf.saved_model.load(path).signatures["serving_default"](image=images)["logits"].numpy()


def run_tflite(path, images):
    """One image at a time, as the interpreter's own documentation has it."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    logits = []
    for image in images:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        logits.append(interpreter.get_tensor(taken["index"])[0])
    return np.stack(logits)


def run_onnx(path, images):
    return onnxruntime.InferenceSession(path).run(["logits"], {"image": images})[0]


def scaled_back(path, images):
    """The logits of an integer file, from its scale and zero point."""
    scale, zero_point = Interpreter(str(path)).get_output_details()[0]["quantization"]
    return (run_tflite(path, images).astype(float) - zero_point) * scale


RUNTIMES = {"savedmodel": run_savedmodel, "tflite": run_tflite, "onnx": run_onnx}


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_float_export_gives_the_models_logits_in_its_own_runtime(exported, truth, name):
    images, logits = truth
    found = RUNTIMES[name](exported[0] / FILES[name], images)
    np.testing.assert_allclose(found, logits, atol=1e-4)
    one = RUNTIMES[name](exported[0] / FILES[name], images[:1])
    np.testing.assert_allclose(one, logits[:1], atol=1e-4)


def test_the_int8_export_takes_uint8_pixels_as_they_are_and_gives_int8_logits(exported, truth):
    images, logits = truth
    path = exported[0] / FILES["tflite-int8"]
    interpreter = Interpreter(str(path))
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["dtype"], given["quantization"]) == (np.uint8, (1.0, 0))
    found = run_tflite(path, images)
    assert found.dtype == np.int8
    assert (found.argmax(-1) == logits.argmax(-1)).mean() > 0.95
    scale, zero_point = taken["quantization"]
    step = np.abs(logits).max() / 127
    assert np.abs((found.astype(float) - zero_point) * scale - logits).mean() < 3 * step


def test_the_int8_export_computes_with_integers_alone_and_scales_weights_by_channel(exported):
    interpreter = Interpreter(
        str(exported[0] / FILES["tflite-int8"]),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    assert {t["dtype"] for t in tensors.values()} == {np.int8, np.int32, np.uint8}
    kernels = [
        tensors[op["inputs"][1]] for op in interpreter._get_ops_details() if "CONV" in op["op_name"]
    ]
    assert len(kernels) > 5
    for kernel in kernels:
        scales = kernel["quantization_parameters"]["scales"]
        assert len(scales) == kernel["shape"][kernel["quantization_parameters"]["quantized_dimension"]]


@pytest.mark.parametrize("name", FILES)
def test_info_shows_the_models_card_and_what_the_export_takes_and_gives(exported, name):
    project, _ = exported
    card = as_shown(project / "models/model.keras")
    shown = yaml.safe_load(run("segpipe", "info", FILES[name], cwd=project).stdout)
    said = shown.pop("export")
    assert shown == card
    assert [c["name"] for c in shown["classes"]] == ["pet", "background", "border"]
    batch = 1 if "tflite" in name else "any"
    assert (said["format"], said["input"]["shape"]) == (name, [batch, 32, 32, 3])
    assert said["output"]["type"] == ("int8" if name == "tflite-int8" else "float32")


@pytest.mark.parametrize("name", FILES)
def test_segpipe_loads_the_model_itself_and_says_so_of_an_export(exported, name):
    with pytest.raises(UserError, match=r"an export; give the \.keras file that it was made from"):
        load_model(exported[0] / FILES[name])


def test_a_card_is_read_without_any_runtime(exported):
    code = (
        "import sys, pathlib; from segpipe.common.modelfile import read_card;"
        f"[read_card(pathlib.Path(path)) for path in {list(FILES.values())}];"
        "print({'tensorflow', 'keras', 'numpy', 'onnx'} & {*sys.modules})"
    )
    assert run(sys.executable, "-c", code, cwd=exported[0]).stdout == "set()\n"


@pytest.mark.parametrize(
    ("name", "content"), [("a.onnx", b"\xff\xff"), ("a.tflite", b"TFL3"), ("a", None)]
)
def test_a_file_that_segpipe_did_not_export_has_no_card(tmp_path, name, content):
    (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="not a model that segpipe saved"):
        read_card(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
def test_findings_are_those_of_the_test_split(exported, truth, name):
    project, printed = exported
    found = json.loads((project / f"results/export/{name}.json").read_text())[name]
    of_keras = json.loads((project / "results/evaluate/metrics.json").read_text())["original"][
        "mean_iou"
    ]
    assert found["keras"]["mean_iou"] == pytest.approx(of_keras, abs=1e-4)
    assert found["drop"] == found["keras"]["mean_iou"] - found["original"]["mean_iou"]
    row = re.search(rf"│ {name} +│ +([\d.]+) │ +([+-][\d.]+) │ +([\d.]+) %", printed).groups()
    assert row[0] == f"{found['original']['mean_iou']:.4f}"
    path = project / FILES[name]
    files = [f for f in path.rglob("*") if f.is_file()] if path.is_dir() else [path]
    files = [f for f in files if f.name != "MODEL_CARD.md"]
    assert found["bytes"] == sum(len(f.read_bytes()) for f in files)
    images, logits = truth
    if name.endswith("-int8"):
        in_8_bits = run_onnx(path, images) if name == "onnx-int8" else scaled_back(path, images)
        assert found["changed"] == (in_8_bits.argmax(-1) != logits.argmax(-1)).mean()
        differences = np.abs(in_8_bits - logits)
        assert found["largest_difference"] == pytest.approx(differences.max(), rel=1e-4)
    else:
        assert found["largest_difference"] < 1e-4
        assert found["drop"] == pytest.approx(0, abs=1e-4)


@pytest.fixture
def fragile(project):
    """A project whose model's classes are a thousandth apart, at logits of 100: too close for 8 bits."""
    path = project / "models/model.keras"
    card, model = read_card(path), keras.models.load_model(path, compile=False)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel / 1000, bias / 1000 + 100])
    save_model(model, path, card)
    set_params(project, {"export.max_drop": 0.01})
    return project


@pytest.mark.slow
def test_an_export_that_lost_too_much_is_refused_the_others_stay_and_what_was_there_too(fragile):
    name, folder = "tflite-int8", fragile / "models/export"
    before = (folder / name / "model.tflite").read_bytes()
    findings = (fragile / f"results/export/{name}.json").read_bytes()
    shutil.rmtree(folder / "onnx")
    result = export(fragile, "--to", name, "--to", "onnx", "--no-whole")
    assert result.returncode == 1
    assert re.match(
        r"error: tflite-int8: a mean IoU of 0\.\d+ is 0\.\d+ below the model's, "
        r"export.max_drop is 0\.01; models/export/tflite-int8/model\.tflite was not written; "
        r"raise export\.calibration_samples\n$",
        error_line(result),
    )
    assert "│ tflite-int8 " in result.stdout, "the scores are shown all the same"
    assert (folder / name / "model.tflite").read_bytes() == before
    assert (fragile / f"results/export/{name}.json").read_bytes() == findings
    assert (folder / "onnx/model.onnx").is_file()
    assert list(folder.rglob(".*")) == []


@pytest.mark.slow
def test_a_refused_export_is_not_there(fragile):
    shutil.rmtree(fragile / "models/export")
    shutil.rmtree(fragile / "results/export")
    assert export(fragile, "--to", "tflite-int8", "-o", "app.tflite").returncode == 1
    assert not (fragile / "results/export").exists()
    assert list(fragile.glob("*app*")) == []


FLIPPING = """
import dataclasses
import numpy as np
from segpipe import cli
from segpipe.export.runtimes import FORMATS

def load(path, threads):
    run = whole.load(path, threads)

    def flipped(images):
        mask, *others = run(images)
        mask = np.array(mask)
        mask.reshape(-1)[::100] = (mask.reshape(-1)[::100] + 1) % 3
        return mask, *others

    return flipped

whole = FORMATS["onnx"].whole
changed = dataclasses.replace(whole, load=load)
FORMATS["onnx"] = dataclasses.replace(FORMATS["onnx"], whole=changed)
cli.main()
"""


@pytest.mark.slow
def test_a_whole_predictor_that_gives_other_masks_is_refused_and_the_old_one_stays(
    finished_project, tmp_path
):
    project = tmp_path / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    set_params(project, {"export.max_drop": 1.0})
    assert export(project, "--to", "onnx").returncode == 0
    old = {path.name: path.read_bytes() for path in (project / "models/export/onnx").iterdir()}
    findings = project / "results/export/onnx.json"
    findings.unlink()
    result = run(sys.executable, "-c", FLIPPING, "export", "--to", "onnx", cwd=project)
    assert result.returncode == 1
    share = re.match(
        r"error: onnx: (98\.9\d+|99\.0\d+) % of the pixels have the class that `segpipe predict` gives "
        r"them, where 99\.9 % are needed, and .* models/export/onnx/model\.onnx was not written; ",
        error_line(result),
    )
    assert share, error_line(result)
    assert {path.name: path.read_bytes() for path in (project / "models/export/onnx").iterdir()} == old
    assert not findings.exists()


@pytest.mark.slow
def test_without_write_access_it_says_where_and_leaves_nothing(finished_project, tmp_path, locked_disk):
    project = tmp_path / "project"
    shutil.copytree(finished_project, project, symlinks=True)
    result = export(project, "--to", "onnx", "-o", str(locked_disk / "pets/model.onnx"))
    assert result.returncode == 1
    said = (
        rf"error: {locked_disk}/\S*: Read-only file system; mend that and run the same command again\n"
    )
    assert re.fullmatch(said, error_line(result))
    assert [path.name for path in locked_disk.iterdir()] == ["kept"]
    assert not (project / "results/export").exists()


@pytest.mark.slow
def test_exports_are_a_stage_where_params_ask_for_them_with_the_same_bytes(exported, tmp_path):
    project = make_copy_without_exports(exported[0], tmp_path / "project")
    result = run(
        "dvc", "exp", "run", "-S", "export.formats=[savedmodel,tflite-int8,onnx,onnx-int8]", cwd=project
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.findall(r"Running stage '(.*)'", result.stdout) == [
        "export@savedmodel", "export@tflite-int8", "export@onnx", "export@onnx-int8"
    ]  # fmt: skip
    name = "tflite-int8"
    assert (project / FILES[name]).read_bytes() == (exported[0] / FILES[name]).read_bytes()
    first = outs(project)
    assert run("dvc", "repro", "--force", "--single-item", "export", cwd=project).returncode == 0
    assert outs(project) == first
    table = run("dvc", "metrics", "show", "--json", cwd=project)
    assert "results/export/onnx.json" in table.stdout
    commit(project)
    assert "is new to it" not in run("segpipe", "check", "--base", "HEAD", cwd=project).stdout
    assert run("dvc", "repro", cwd=project).stdout.count("Running stage") == 0
    set_params(project, {"export.formats": ["onnx", "onyx"]})
    assert "export.formats.1 = 'onyx': input should be 'savedmodel', 'tflite'" in error_line(
        run("python", "stages/export.py", "onnx", cwd=project)
    )


def outs(project):
    """The md5 of each export."""
    stages = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    exports = {name: stage["outs"] for name, stage in stages.items() if name.startswith("export@")}
    return {
        out["path"]: out["md5"] for found in exports.values() for out in found if "models" in out["path"]
    }


def make_copy_without_exports(source, target):
    shutil.copytree(source, target, symlinks=True)
    shutil.rmtree(target / "models/export")
    shutil.rmtree(target / "results/export")
    commit(target)
    return target


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("tflite-int8", keras.layers.LayerNormalization(), "has no integer form; export tflite"),
        ("tflite-int8", keras.ops.erf, "TensorFlow Lite lacks an operation of this network"),
        ("onnx-int8", keras.layers.ReLU(), "the convolution .* cannot be quantised"),
        ("onnx", keras.layers.Conv2D(6, 3, padding="same", groups=3), "ONNX lacks an operation of this"),
    ],
)
def test_a_network_that_a_format_cannot_hold_is_refused_in_one_line(tmp_path, rng, name, layer, message):
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    network = keras.Model(image, keras.layers.Conv2D(2, 1)(layer(scaled)))
    images = list(rng.integers(0, 256, (2, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match=message):
        FORMATS[name].write(network, {}, lambda: images, tmp_path / "model")


class Scored:
    """An evaluation of three classes and seven pictures."""

    def per_class(self):
        rows = {"class": ["pet", "sky", "border"], "iou": [0.8, np.nan, 0.4]}
        return pd.DataFrame(rows | {"precision": [0.9, np.nan, 0.6], "recall": [0.85, np.nan, 0.5]})

    def by_distance(self):
        return pd.DataFrame({"distance": ["1"], "share": [1.0], "accuracy": [0.7]})

    def per_image(self):
        scores = [0.7, 0.2, 0.9, 0.4, 0.3, 0.6, 0.5]
        return pd.DataFrame({"name": [*"abcdefg"], "mean_iou": scores})


def test_the_card_names_the_worst_class_and_the_five_worst_pictures_first():
    lines = [line.split(" | ")[0] for line in modelcard._failures(Scored()).splitlines()]
    cells = [line.removeprefix("| ") for line in lines if line.startswith("| ")]
    names = [
        cell for cell in cells if cell not in ("class", "name", "distance", "1") and "-" not in cell
    ]
    assert names == ["border", "pet", "sky", *"bedgf"]


def test_params_and_exports_know_the_same_formats():
    assert [format_.value for format_ in ExportFormat] == list(FORMATS) == list(FILES)


@pytest.mark.parametrize("name", FORMATS)
def test_what_stands_where_an_export_goes_is_replaced_only_if_it_is_one(exported, tmp_path, name):
    project, _ = exported
    suffix = (project / FILES[name]).suffix
    FORMATS[name].check(project / FILES[name], False)
    FORMATS[name].check(tmp_path / f"new{suffix}", False)
    other = tmp_path / f"other{suffix}"
    if suffix:
        other.mkdir()
    else:
        other.write_text("a diary")
    with pytest.raises(UserError, match=r"other.*: is something else than an export; name another path"):
        FORMATS[name].check(other, False)


def test_a_folder_of_other_things_is_no_place_for_a_savedmodel(tmp_path):
    (tmp_path / "diary.txt").touch()
    with pytest.raises(UserError, match="is something else than an export"):
        FORMATS["savedmodel"].check(tmp_path, False)


@pytest.mark.parametrize("other", ["a.onnx", "a.tflite", "saved_model.pb"])
def test_an_export_does_not_replace_the_card_of_another(tmp_path, other):
    """`push-hub` would send the new card with the other export."""
    (tmp_path / other).touch()
    (tmp_path / "MODEL_CARD.md").write_text("---\ntags:\n- segpipe\n---\n")
    with pytest.raises(UserError, match=re.escape(f"{other} is there already, and MODEL_CARD.md")):
        FORMATS["onnx-int8"].check(tmp_path / "b.onnx", False)
    (tmp_path / other).rename(tmp_path / "b.onnx")
    FORMATS["onnx-int8"].check(tmp_path / "b.onnx", False)


def published(target):
    """Write an export and its card in place of what is there."""
    with _published(FORMATS["onnx"], target) as (model, card):
        model.write_text("new model")
        card.write_text("new card")


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def old(tmp_path):
    """The path of an export that is there, with its card."""
    (tmp_path / "model.onnx").write_text("old model")
    (tmp_path / "MODEL_CARD.md").write_text("old card")
    return tmp_path / "model.onnx"


def test_an_export_and_its_card_are_replaced_together(old):
    published(old)
    assert contents(old.parent) == {"model.onnx": "new model", "MODEL_CARD.md": "new card"}


def test_an_export_that_is_refused_leaves_the_old_one_with_its_card(old):
    with pytest.raises(UserError), _published(FORMATS["onnx"], old) as (model, _):
        model.write_text("new model")
        raise UserError("it scores worse")
    assert contents(old.parent) == {"model.onnx": "old model", "MODEL_CARD.md": "old card"}


@pytest.mark.parametrize(
    ("fails", "left"), [("model.onnx", "old model"), ("MODEL_CARD.md", "new model")]
)
def test_no_error_leaves_an_export_with_the_card_of_another(old, monkeypatch, fails, left):
    """`push-hub` refuses one without a card."""
    replace = pathlib.Path.replace

    def failing(path, target):
        if target.name == fails:
            raise OSError(errno.EIO, "Input/output error")
        return replace(path, target)

    monkeypatch.setattr(pathlib.Path, "replace", failing)
    with pytest.raises(OSError, match="Input/output error"):
        published(old)
    assert contents(old.parent) == {"model.onnx": left}


def test_an_export_has_the_suffix_of_its_format(tmp_path):
    with pytest.raises(UserError, match=r"model\.onnx: expected a name that ends in \.tflite"):
        FORMATS["tflite-int8"].check(tmp_path / "model.onnx", False)


def test_a_package_that_is_not_installed_is_named_with_the_command_that_brings_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what Python has for modules it cannot find
    with pytest.raises(
        UserError, match=r"onnxruntime is not installed; .*`pip install -e '\.\[export\]'`"
    ):
        FORMATS["onnx"].check(tmp_path / "model.onnx", False)


def test_an_unknown_format_is_answered_with_those_there_are(project):
    result = export(project, "--to", "onyx")
    assert result.returncode == 2
    assert "'onyx' is not one of 'savedmodel'" in " ".join(result.stderr.split())


def test_one_path_is_for_one_export(project):
    result = export(project, "--to", "onnx", "--to", "tflite", "-o", "a.onnx")
    assert result.returncode == 2
    assert "--out names one export; give one --to with it" in result.stderr


def test_without_records_there_is_nothing_to_calibrate_or_compare_on(project):
    shutil.rmtree(project / "data/records")
    line = error_line(export(project, "--to", "tflite-int8"))
    assert line.startswith("error: data/records/manifest.json: no such file; `dvc repro")


@pytest.mark.slow
def test_a_model_of_other_classes_is_not_exported(project):
    manifest = project / "data/records/manifest.json"
    manifest.write_text(manifest.read_text().replace('"border"', '"edge"'))
    assert "train it on these records" in error_line(export(project, "--to", "onnx"))


@pytest.mark.slow
def test_on_photographs_int8_is_within_a_hundredth_and_whole_predictors_agree(
    pet_dir, photographs_project
):
    project = photographs_project
    assert export(project, "--to", "tflite-int8").returncode == 0, "within export.max_drop = 0.01"
    found = json.loads((project / "results/export/tflite-int8.json").read_text())["tflite-int8"]
    assert found["keras"]["mean_iou"] > 0.6, "trained enough for the comparison to say something"
    assert found["drop"] <= 0.01
    assert found["bytes"] < 8e6
    assert export(project, "--to", "onnx-int8").returncode == 0, "within export.max_drop = 0.01"
    assert export(project, "--to", "onnx", "--to", "savedmodel").returncode == 0
    for name in ("onnx", "savedmodel"):
        found = json.loads((project / f"results/export/{name}.json").read_text())[name]
        assert found["images"] == 298
        assert found["agreement"] >= 0.999
        assert found["score_difference"] <= 0.0005
    assert agreement_on_files(project, pet_dir) >= 0.999


def agreement_on_files(project, pet_dir):
    """The share of the test photographs' pixels that ONNX Runtime and predict of the file agree on.

    The runtime gets the photographs decoded in full, predict may decode them smaller.
    """
    predictor = load_model(project / "models/model.keras")
    session = onnxruntime.InferenceSession(project / FILES["onnx"])
    pixels = same = 0
    for line in (pet_dir / "annotations/test.txt").read_text().splitlines():
        path = pet_dir / f"images/{line.split()[0]}.jpg"
        image = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        (mask,) = session.run(["mask"], {"image": image[None]})
        agrees = mask[0] == predictor.predict(path)
        pixels, same = pixels + agrees.size, same + int(agrees.sum())
    return same / pixels
