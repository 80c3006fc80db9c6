"""`model.init` and `train.freeze`: what they may be, beside each other and beside other params."""

import pytest
from helpers import plain_params

from segpipe.common.errors import ParamsError
from segpipe.common.nested import changed
from segpipe.params.load import check_params

PLAIN = plain_params().model_dump(mode="json")
BEFORE = {"model.init": "before.keras"}
TUNED = {"train.fine_tuning.epochs": 5, "train.freeze": "encoder"}


@pytest.mark.parametrize("name", ["none", "before.keras", "shop/before.keras"])
def test_a_model_is_named_within_its_folder(tmp_path, name):
    params = check_params(changed(PLAIN, {"model.init": name}), tmp_path / "params.yaml")
    assert params.model.init == name


@pytest.mark.parametrize("value", ["/models/a.keras", "../a.keras", "models/model.h5", "", None, 3])
def test_other_places_and_kinds_are_refused_in_one_line(tmp_path, value):
    with pytest.raises(ParamsError, match=r"should be none, or the name of a \.keras file") as caught:
        check_params(changed(PLAIN, {"model.init": value}), tmp_path / "params.yaml")
    assert f"model.init = {value!r}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"train.freeze": "encoder"},  # ImageNet's weights
        {"train.freeze": "encoder", "model.encoder.trainable": True},
        BEFORE | {"train.freeze": "encoder", "model.encoder.weights": "none"},
        BEFORE | {"train.freeze": "all_but_head"},
    ],
    ids=str,
)
def test_weights_of_a_file_or_of_a_model_may_be_frozen(tmp_path, changes):
    check_params(changed(PLAIN, changes), tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train.freeze": "decoder"}, "train.freeze = 'decoder': input should be 'none', 'encoder' or"),
        ({"train.freeze": "all_but_head"}, "train.freeze = all_but_head would keep random weights"),
        (
            {"train.freeze": "encoder", "model.encoder.weights": "none"},
            "train.freeze = encoder would keep random weights as they are; set model.init to a model",
        ),
        (
            BEFORE | TUNED,
            "freeze = encoder keeps the encoder as it is, and fine_tuning.epochs = 5 trains it; set "
            "freeze to none, or fine_tuning.epochs to 0",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line(tmp_path, changes, words):
    with pytest.raises(ParamsError) as caught:
        check_params(changed(PLAIN, changes), tmp_path / "params.yaml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
