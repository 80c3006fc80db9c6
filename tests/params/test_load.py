"""`params.yaml`: what is refused, and in which words."""

import re

import pydantic
import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from helpers import ROOT, error_line, make_project, run_stage, set_params

from segpipe.common.errors import ParamsError
from segpipe.params.load import Params, load_params, read_yaml


@pytest.fixture
def params_with(tmp_path):
    """Load the committed params with one key changed."""

    def load(**changes: object) -> Params:
        (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        set_params(tmp_path, {key.replace("__", "."): value for key, value in changes.items()})
        return load_params(tmp_path / "params.yaml")

    return load


def test_the_committed_params_are_the_pets_at_256_px_with_imagenets_mobilenet():
    params = load_params(ROOT / "params.yaml")
    assert params.data.source == "oxford_iiit_pet"
    assert params.data.image_size == (256, 256)
    assert (params.model.encoder.name, params.model.encoder.weights) == ("mobilenet_v2", "imagenet")
    assert [(c.value, c.name) for c in params.data.classes] == [
        (1, "pet"),
        (2, "background"),
        (3, "border"),
    ]


def test_params_cannot_be_changed_once_read():
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        params.train.epochs = 3


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("train__epoch", 5, "train.epoch: unknown key; did you mean epochs? (allowed here: epochs"),
        ("data__source", "coco", "data.source = 'coco': input should be 'oxford_iiit_pet', 'tfds'"),
        ("data__image_size", 100, "data.image_size = 100: input should be a multiple of 32"),
        ("data__image_size", [128, 100], "data.image_size: input should be a multiple of 32"),
        ("data__image_size", [128], "data.image_size: input should be an edge in pixels, or [height"),
        ("data__image_size", True, "data.image_size = True: input should be an edge in pixels, or"),
        ("data__resize", "crop", "data.resize = 'crop': input should be 'stretch', 'pad' or 'tiles'"),
        ("data__tiles__scale", 0.05, "data.tiles.scale = 0.05: input should be greater than or equal"),
        ("data__tiles__scale", 3, "data.tiles.scale = 3: input should be less than or equal to 2"),
        ("data__tiles__margin", -0.1, "data.tiles.margin = -0.1: input should be greater than or equal"),
        ("data__tiles__margin", 1.5, "data.tiles.margin = 1.5: input should be less than or equal to 1"),
        ("data__tiles__keep_empty", 2, "data.tiles.keep_empty = 2: input should be less than or equal"),
        ("data__tiles__keep_empty", True, "data.tiles.keep_empty = True: input should be a valid numb"),
        ("data__tiles__scale", "1", "data.tiles.scale = '1': input should be a valid number"),
        ("data__tiles", "all", "data.tiles = 'all': a section, with the keys scale, margin, keep_empty"),
        ("data__ignore", [256], "data.ignore.0 = 256: a mask value is a number 0 to 255, a colour"),
        ("data__ignore", ["#ff"], "data.ignore.0 = '#ff': a mask value is a number 0 to 255, a colour"),
        ("data__ignore", ["rest"], "data: ignore holds 'rest'; give one class the value rest"),
        ("data__ignore", ["pet"], "data: the label 'pet' is the name of one class and a value of"),
        ("train__devices", 0, "train.devices = 0: input should be auto, or a number of devices of at"),
        ("train__devices", True, "train.devices = True: input should be auto, or a number of devices"),
        ("train__devices", 3, "train: devices = 3 does not divide batch_size = 8; each takes an equ"),
        ("train__hosts", 0, "train.hosts = 0: input should be auto, or a number of hosts of at least 1"),
        ("train__hosts", 1.5, "train.hosts = 1.5: input should be auto, or a number of hosts of at"),
        ("train__hosts", 3, "train: hosts = 3 with devices = 1 on each do not divide batch_size = 8; e"),
        ("train__class_weights", {"bordr": 2}, "names 'bordr', which is no class; did you mean border?"),
        ("train__class_weights", {"border": 0}, "train.class_weights: the weight of 'border' is 0; exp"),
        ("train__class_weights", "even", "train.class_weights = 'even': input should be 'none', 'bal"),
        ("train__sampling", {"bordr": 2}, "train.sampling names 'bordr', which is no class; did you me"),
        ("train__sampling", {"border": 0}, "train.sampling: the weight of 'border' is 0; expected a n"),
        ("train__sampling", {"border": -1}, "train.sampling: the weight of 'border' is -1; expected a"),
        ("train__sampling", {"border": float("nan")}, "the weight of 'border' is nan; expected a num"),
        ("train__sampling", {"border": float("inf")}, "the weight of 'border' is inf; expected a num"),
        ("train__sampling", {"border": "5"}, "train.sampling: the weight of 'border' is '5'; expected"),
        ("train__sampling", {}, "train.sampling: no class has a weight; expected 'uniform', 'balan"),
        ("train__class_weights", {}, "train.class_weights: no class has a weight; expected 'none'"),
        ("train__sampling", "rare", "train.sampling = 'rare': input should be 'uniform', 'balanced' or"),
        ("train__sampling", 5, "train.sampling = 5: input should be 'uniform', 'balanced' or weights"),
        ("evaluate__tta__scales", [1, 0], "tta.scales.1 = 0: input should be greater than or equal to"),
        ("evaluate__tta__scales", [1, 1.05], "tta.scales: the scales 1 and 1.05 both come to 256 x"),
        ("data__image_size", 0, "data.image_size = 0: input should be greater than or equal to 32"),
        ("train__learning_rate", -1, "train.learning_rate = -1: input should be greater than 0"),
        ("train__epochs", "many", "train.epochs = 'many': input should be a valid integer"),
        ("data__validation_share", 1.0, "data.validation_share = 1.0: input should be less than 1"),
        ("data__ignore", [2], "data: the value 2 stands twice in classes and ignore"),
        ("model__decoder__filters", [8], "(the last of encoder.layers) to stride 2, which makes 4, and"),
        ("model__encoder__name", "resnet50", "no encoder of this name; did you mean resnet50_v2? (the"),
        ("model__encoder__name", ["a"], "model.encoder.name: no encoder of this name"),
        ("model__encoder__layers", "all", "model.encoder.layers = 'all': input should be default, or"),
        ("model__encoder__layers", ["a"], "model.encoder.layers: input should be default, or a list of"),
        ("model__encoder__layers", ["a", "b"], "to stride 2, which makes 1, and has 4"),
        ("model__decoder__name", "deeplab", "model.decoder.name = 'deeplab': input should be 'pix2pix'"),
        ("train__augment__scale", [2.0, 1.0], "should be [least, most], and 2.0 is above 1.0"),
        ("train__augment__scale", [0.0, 1.0], "augment.scale.0 = 0.0: input should be greater"),
        ("train__augment__hue", 0.6, "augment.hue = 0.6: input should be less than or equal to 0.5"),
        ("train__loss__cross_entropy", 0, "train.loss: one of cross_entropy, focal, dice and"),
        ("train__layer_decay", 0, "train.layer_decay = 0: input should be greater than 0"),
        ("train__fine_tuning", {"epochs": 1, "learning_rate": 0}, "fine_tuning.learning_rate = 0:"),
        ("model__encoder__trainable", "yes", "model.encoder.trainable = 'yes': input should be"),
        ("train__optimizer", "rmsprop", "train.optimizer = 'rmsprop': input should be 'adam', 'adamw'"),
        ("train__warmup_epochs", 21, "train: warmup_epochs = 21 is more than epochs = 20"),
        ("train__early_stopping", 3, "train.early_stopping = 3: a section, with the keys patience"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_file_key_value_and_what_is_allowed(params_with, key, value, words):
    with pytest.raises(ParamsError, match=re.escape(words)) as error:
        params_with(**{key: value})
    assert "params.yaml: " in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"backend": "tensorflow"},
            "train: hosts = 2 needs JAX, since TensorFlow's MultiWorkerMirrored",
        ),
        ({"max_minutes": 5}, "train: max_minutes = 5.0 goes by the clock of each host, so that they wo"),
        ({"devices": "auto"}, "train: hosts = 2 needs the same number of devices on each host; set dev"),
        ({"devices": 8}, "train: hosts = 2 with devices = 8 on each do not divide batch_size = 8; each"),
    ],
)
def test_several_hosts_refuse_what_they_cannot_do(params_with, changes, words):
    assert params_with(train__hosts=2, train__devices=4).train.needs_jax == "train.devices = 4"
    assert params_with(train__hosts="auto").train.needs_jax == "train.hosts = auto"
    with pytest.raises(ParamsError, match=re.escape(words)):
        params_with(train__hosts=2, **{f"train__{key}": value for key, value in changes.items()})


def test_alpha_is_for_encoders_that_have_it(params_with):
    changes = {"model__encoder__name": "resnet50_v2", "model__encoder__alpha": 0.5}
    with pytest.raises(
        ParamsError, match=r"model\.encoder\.alpha = 0\.5: resnet50_v2 comes in one width"
    ):
        params_with(**changes)
    assert params_with(**{**changes, "model__encoder__alpha": 1}).model.encoder.alpha == 1


def test_aspp_takes_no_widths_that_it_would_not_use(params_with):
    with pytest.raises(
        ParamsError, match=r"model\.decoder\.filters: aspp has one width: .* \[8, 8, 8, 8\]"
    ):
        params_with(model__decoder__name="aspp", model__decoder__filters=[64, 32, 16, 8])
    assert params_with(model__decoder__name="aspp", model__decoder__filters=[64] * 4)


@pytest.mark.parametrize(("filters", "layers"), [([9, 9, 9, 9], "default"), ([9, 9], ["a", "b"])])
def test_an_encoder_that_begins_with_stride_4_has_a_doubling_more_than_skips(
    params_with, filters, layers
):
    changes = {"model__encoder__name": "convnext_tiny", "model__encoder__layers": layers}
    assert params_with(**changes, model__decoder__filters=filters)
    with pytest.raises(ParamsError, match=f"which makes {len(filters)}, and has"):
        params_with(**changes, model__decoder__filters=[9, *filters])


def test_every_error_has_a_line_of_its_own(params_with):
    with pytest.raises(ParamsError) as error:
        params_with(train__epochs=0, seed=-1)
    assert [
        line.split("params.yaml: ")[1].split(" = ")[0] for line in str(error.value).splitlines()
    ] == ["seed", "train.epochs"]


def test_a_learning_rate_without_a_dot_is_a_number(params_with, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(
        re.sub("learning_rate: .*", "learning_rate: 1e-3", (ROOT / "params.yaml").read_text())
    )
    assert load_params(path).train.learning_rate == 0.001


def test_every_knob_has_a_comment():
    lines = (ROOT / "params.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        knob = re.match(r"\s*[a-z_]+: *\S", line)
        of_a_list = re.match(r"\s*(value|colour|min|max_drop):", line)
        if knob and not of_a_list and "name: mobilenet_v2" not in line:
            explained = "#" in line.replace('"#', "") or lines[number - 1].strip().startswith("#")
            assert explained, line


@pytest.mark.parametrize("text", ["2e-05", "2E-5", "+.2e-4", "0.2e-4", "20.e-6"])
def test_numbers_with_an_exponent_are_numbers_in_structures_too_as_dvc_writes_them(text):
    assert read_yaml(f"{{border: {text}, steps: [0, {text}]}}") == {"border": 2e-5, "steps": [0, 2e-5]}


@pytest.mark.parametrize("text", ["e5", "1e", "1e5x", "0x1e5g", "2e-05 px", "1.2.3e4"])
def test_what_only_looks_like_a_number_stays_text(text):
    assert read_yaml(f"name: {text}") == {"name": text}
    assert read_yaml("[12, 1.5, 0x1e5]") == [12, 1.5, 0x1E5]


def test_params_that_are_no_yaml_end_in_one_line(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("train: [1,")
    with pytest.raises(ParamsError, match=r"params\.yaml is not YAML: .*line 1"):
        load_params(path)


def test_a_stage_with_a_typo_in_params_exits_with_2_and_no_traceback(tmp_path):
    project = make_project(tmp_path / "project", **{"train.epoch": 3})
    result = run_stage("fetch", project)
    assert result.returncode == 2
    assert error_line(result) == (
        "error: params.yaml: train.epoch: unknown key; did you mean epochs? "
        "(allowed here: epochs, fine_tuning, freeze, samples, steps_per_epoch, batch_size, optimizer, "
        "learning_rate, schedule, warmup_epochs, layer_decay, weight_decay, clip_norm, ema, loss, "
        "class_weights, sampling, augment, early_stopping, max_minutes, backend, devices, hosts, "
        "precision, jit, steps_per_execution, deterministic, threads, in_memory, tensorboard, "
        "previews)\n"
    )


def test_params_file_holds_exactly_the_known_keys():
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["data"]["image_size"] = [content["data"]["image_size"]] * 2
    assert load_params(ROOT / "params.yaml").model_dump(mode="json", exclude_unset=True) == content


def test_an_experiment_changes_the_line_of_its_param_alone(tmp_path):
    """A pull request then shows what was changed, and every comment stays."""
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    apply_overrides(path, ["train.epochs=30"])
    before, after = (p.read_text().splitlines() for p in (ROOT / "params.yaml", path))
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [line.split("#")[0].split() for line in changed] == [["epochs:", "30"]]
