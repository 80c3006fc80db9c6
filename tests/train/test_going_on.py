"""Training that starts from a model: what is frozen stays, a stopped run resumes, and the card tells."""

import numpy as np
import pytest
from test_resume import Stopped, results, stop_in
from test_training import arrays as arrays  # a fixture
from test_training import manifest_of, resolved_params, train, with_changes

from segpipe.common.errors import UserError
from segpipe.common.files import sha256
from segpipe.common.modelfile import read_card
from segpipe.model.backbone import set_trainable
from segpipe.model.pretrained import Backbone
from segpipe.model.warm_start import open_init
from segpipe.train import loop, provenance, resume
from segpipe.train.samples import Arrays
from segpipe.train.saving import save_model

FRESH = Backbone("mobilenet_v2", 0.35, None)


def frozen(part, **train):
    """Params that freeze a part; put in behind the check that wants a model for it."""
    params = with_changes(**train)
    return params.model_copy(update={"train": params.train.model_copy(update={"freeze": part})})


def identity_of(arrays, params, backbone, folder):
    (folder / "manifest.json").write_text("{}")
    manifest = manifest_of(arrays)
    manifest = type(manifest)(**vars(manifest) | {"folder": folder})
    return provenance.identity(resolved_params(params, backbone), manifest, backbone, [])


def prepared(arrays, params, backbone=FRESH):
    """A network as the stage makes it, and what it took."""
    manifest = manifest_of(arrays)
    network = loop.build_model(backbone, params.model, manifest, params.seed)
    section = resolved_params(params, backbone)["model"]
    return network, loop.prepare(network, backbone, params.train, manifest, section)


@pytest.fixture(scope="module")
def init(tmp_path_factory):
    """A model of other weights than those that the params give."""
    folder, params = tmp_path_factory.mktemp("before"), with_changes(levels=2)
    images = np.zeros((4, 32, 32, 3), np.uint8)
    arrays = Arrays(images, images[..., 0], [*"abcd"])
    network = loop.build_model(FRESH, params.model, manifest_of(arrays), params.seed + 1)
    identity = identity_of(arrays, params, FRESH, folder)
    save_model(network, folder / "before.keras", provenance.card(identity, manifest_of(arrays), {}, 1.0))
    return open_init("before.keras", folder)


def changed(network, before):
    """The variables that changed, by path; those of the encoder begin with its layers' names."""
    pairs = zip(network.weights, before, network.get_weights(), strict=True)
    return {variable.path for variable, old, new in pairs if not np.array_equal(old, new)}


@pytest.mark.parametrize(
    ("part", "encoder_changes", "decoder_changes"),
    [("none", True, True), ("encoder", False, True), ("all_but_head", False, False)],
)
def test_what_is_frozen_does_not_change_in_two_steps_and_all_else_does(
    arrays, tmp_path, part, encoder_changes, decoder_changes
):
    """Statistics of BatchNorm too: this encoder is not pretrained, so that they change if trained."""
    network, _ = prepared(
        arrays, params := frozen(part, epochs=1, steps_per_epoch=2, learning_rate=0.01)
    )
    before = network.get_weights()
    train(arrays, tmp_path, params, network=network)
    found = changed(network, before)
    of_encoder = {v.path for v in network.get_layer("encoder").weights}
    of_head = {v.path for v in network.get_layer("logits").weights}
    of_decoder = {v.path for v in network.weights} - of_encoder - of_head
    assert of_head <= found
    assert len(of_decoder) > 4 and any("moving_mean" in path for path in of_encoder)
    assert found & of_encoder == (of_encoder if encoder_changes else set())
    assert found & of_decoder == (of_decoder if decoder_changes else set())


@pytest.mark.parametrize("trainable", [True, False, "auto"])
def test_freeze_overrides_what_the_encoder_says(arrays, trainable):
    params = frozen("encoder")
    encoder = params.model.encoder.model_copy(update={"trainable": trainable})
    model = params.model.model_copy(update={"encoder": encoder})
    params = params.model_copy(update={"model": model})
    network, _ = prepared(arrays, params)
    assert network.get_layer("encoder").trainable_variables == []
    assert network.get_layer("logits").trainable
    assert resolved_params(params, FRESH)["model"]["encoder"]["trainable"] is False


@pytest.mark.slow
def test_a_resumed_run_from_a_model_ends_with_the_same_bits(arrays, tmp_path, init, capsys):
    params = with_changes(levels=2, epochs=2, learning_rate=0.01, ema=0.9)
    backbone = Backbone("mobilenet_v2", 0.35, None, init=init)
    found = {}
    for name, stop in (("whole", None), ("stopped", stop_in(2)), ("stopped", None)):
        (tmp_path / name).mkdir(exist_ok=True)
        network, taken = prepared(arrays, params, backbone)
        assert taken.others == []
        draw = stop or (lambda epoch, masks: None)
        if stop:
            with pytest.raises(Stopped):
                train(arrays, tmp_path / name, params, draw, network)
        else:
            found[name] = results(train(arrays, tmp_path / name, params, draw, network))
    assert found["stopped"] == found["whole"]
    assert "resuming run run after epoch 1 of 2" in capsys.readouterr().out


def test_a_run_is_another_run_when_the_models_content_is_another(arrays, tmp_path, init):
    params = with_changes(levels=2)

    def run_of(backbone):
        return resume.fingerprint(identity_of(arrays, params, backbone, tmp_path))

    before = run_of(Backbone("mobilenet_v2", 0.35, None, init=init))
    same = tmp_path / "copied" / "elsewhere.keras"
    same.parent.mkdir()
    same.write_bytes(init.path.read_bytes())
    copied = open_init(same.name, same.parent)
    assert run_of(Backbone("mobilenet_v2", 0.35, None, init=copied)) == before, (
        "its name decides nothing"
    )
    save_model(loop.build_model(FRESH, params.model, manifest_of(arrays), 9), same, init.card)
    other = open_init(same.name, same.parent)
    assert len({before, run_of(FRESH), run_of(Backbone("mobilenet_v2", 0.35, None, init=other))}) == 3


def test_the_card_tells_the_model_before_and_hands_on_whether_it_was_pretrained(arrays, tmp_path, init):
    """The model before had random weights; that this encoder's file has ImageNet's is nothing then."""
    params = with_changes(levels=2)
    backbone = Backbone("mobilenet_v2", 0.35, tmp_path / "imagenet.h5", init=init)
    manifest = manifest_of(arrays)
    network = loop.build_model(FRESH, params.model, manifest, params.seed)
    resolved = resolved_params(params, backbone)
    taken = loop.prepare(network, backbone, params.train, manifest, resolved["model"])
    identity = identity_of(arrays, params, backbone, tmp_path)
    save_model(network, tmp_path / "after.keras", provenance.card(identity, manifest, {}, 1.0, taken))
    card = read_card(tmp_path / "after.keras")
    assert card["init"] == taken.card | {"sha256": sha256(init.path)}
    assert card["params"]["model"]["init"] == sha256(init.path)
    assert card["params"]["model"]["encoder"]["pretrained"] is False
    assert card["params"]["model"]["encoder"]["trainable"] is True
    assert str(tmp_path) not in str(card)
    assert "init" not in init.card, "a card without a model before has no such key"


def test_a_pretrained_models_batch_norm_stays_in_inference_mode(arrays, tmp_path):
    params = with_changes(levels=2, epochs=1, learning_rate=0.01)
    pretrained = Backbone("mobilenet_v2", 0.35, tmp_path / "imagenet.h5")
    identity = identity_of(arrays, params, pretrained, tmp_path)
    network = loop.build_model(FRESH, params.model, manifest_of(arrays), 0)
    save_model(network, tmp_path / "m.keras", provenance.card(identity, manifest_of(arrays), {}, 1.0))
    backbone = Backbone("mobilenet_v2", 0.35, None, init=open_init("m.keras", tmp_path))
    own, _ = prepared(arrays, params, backbone)
    encoder = own.get_layer("encoder")
    assert encoder.trainable_variables == [], "auto freezes it"
    set_trainable(encoder, trainable=True, pretrained=backbone.pretrained)
    trained = {v.path for v in encoder.trainable_variables}
    assert trained and not any("gamma" in path for path in trained)


def test_random_weights_are_not_frozen(arrays, init, capsys):
    """The model has another decoder."""
    params = frozen("all_but_head", levels=2)
    other = params.model.model_copy(
        update={"decoder": params.model.decoder.model_copy(update={"name": "light"})}
    )
    params = params.model_copy(update={"model": other})
    backbone = Backbone("mobilenet_v2", 0.35, None, init=init)
    with pytest.raises(UserError, match=r"^train\.freeze = all_but_head would keep random") as caught:
        prepared(arrays, params, backbone)
    assert "before.keras has none for up_1_" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "starting from" in capsys.readouterr().out


def test_a_frozen_encoder_needs_all_its_weights_whatever_freezes_it(arrays, tmp_path):
    """The model was pretrained, so that auto freezes the encoder. It lacks the last three blocks."""
    before, params = with_changes(levels=3), with_changes(levels=4)
    pretrained = Backbone("mobilenet_v2", 0.35, tmp_path / "imagenet.h5")
    identity = identity_of(arrays, before, pretrained, tmp_path)
    network = loop.build_model(FRESH, before.model, manifest_of(arrays), 0)
    save_model(network, tmp_path / "m.keras", provenance.card(identity, manifest_of(arrays), {}, 1.0))
    backbone = Backbone("mobilenet_v2", 0.35, None, init=open_init("m.keras", tmp_path))
    with pytest.raises(UserError) as caught:
        prepared(arrays, params, backbone)
    message = str(caught.value)
    assert message.startswith("the frozen encoder would keep random weights, because ")
    assert "m.keras has none for encoder/block_13_depthwise, " in message
    assert message.endswith("; set model.encoder.trainable to true")
    encoder = params.model.encoder.model_copy(update={"trainable": True})
    model = params.model.model_copy(update={"encoder": encoder})
    prepared(arrays, params.model_copy(update={"model": model}), backbone)
