"""Starting from a saved model: what fits is taken, classes by name, nothing is guessed in silence."""

import dataclasses
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import FAMILIES, decoder, plain_params, some_quick

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.common.modelfile import CARD_FORMAT
from segpipe.common.records import Manifest
from segpipe.model.backbone import for_channels
from segpipe.model.decoders import DECODERS
from segpipe.model.encoders import Scaling
from segpipe.model.params import ModelParams
from segpipe.model.pretrained import Backbone
from segpipe.model.unet import assemble, unet
from segpipe.model.warm_start import open_init, take
from segpipe.train.saving import save_model

SIZE = (32, 32)
SECTION = {
    "encoder": {"name": "a small one", "alpha": 1.0, "pretrained": True},
    "decoder": {"name": "fpn", "filters": [8]},
}
"""The section `model` of a card."""


def manifest(*names, size=SIZE, bands="rgb"):
    classes = (SegmentationClass(name, n, f"#00000{n}") for n, name in enumerate(names))
    return Manifest(None, "by hand", size, "stretch", ClassTable(tuple(classes)), {}, [], bands=bands)


def network(records, drawn_by="fpn", seed=0, prefix="conv", filters=8):
    """A U-Net on two convolutions of 8 channels, each BatchNorm unlike the next."""
    keras.utils.set_random_seed(seed)
    image = x = keras.Input((*records.size, records.channels))
    outputs = []
    for number in (1, 2):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name=f"{prefix}_{number}")(x)
        x = keras.layers.BatchNormalization(name=f"{prefix}_norm_{number}")(x)
        outputs.append(keras.layers.ReLU(name=f"{prefix}_relu_{number}")(x))
    encoder = keras.Model(image, outputs, name="encoder")
    made = unet(
        encoder,
        Scaling(1 / 255, 0),
        decoder(drawn_by, [filters]),
        len(records.classes),
        records.channels,
    )
    rng = np.random.default_rng(seed)
    for layer in (*made.layers, *encoder.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return made


def saved(records, folder, made=None, **changes):
    """A model to start from; by default of `network`."""
    card = {
        "format": CARD_FORMAT, "segpipe": "0.0.9", "libraries": {"keras": "3.0.0"},
        "image_size": records.size, "bands": records.bands, "intensity": None,
        **records.classes.to_json(), "params": {"model": SECTION}, **changes,
    }  # fmt: skip
    save_model(made or network(records), folder / "given.keras", card)
    return open_init("given.keras", folder)


def started(init, records, **options):
    """Another network, which takes what fits; it, and what it took."""
    own = network(records, seed=1, **options)
    return own, take(own, init, records, SECTION)


def logits(model, pictures):
    return model.predict_on_batch(pictures)


def pictures(rng, size=SIZE, channels=3):
    return rng.integers(0, 256, (2, *size, channels), np.uint8)


ROAD = manifest("road", "car", "sky")


@pytest.fixture
def init(tmp_path):
    return saved(ROAD, tmp_path)


@pytest.mark.parametrize("drawn_by", some_quick(DECODERS, "fpn", "aspp"))
def test_classes_in_another_order_give_the_same_logits_in_that_order(tmp_path, rng, drawn_by):
    given = network(ROAD, drawn_by)
    own, taken = started(saved(ROAD, tmp_path, given), manifest("sky", "road", "car"), drawn_by=drawn_by)
    seen = pictures(rng)
    np.testing.assert_array_equal(logits(own, seen), logits(given, seen)[..., [2, 0, 1]])
    assert (taken.classes, taken.new, taken.dropped, taken.others) == (
        ["sky", "road", "car"], [], [], [],
    )  # fmt: skip


@pytest.mark.parametrize("drawn_by", some_quick(DECODERS, "fpn", "aspp"))
def test_a_dropped_class_leaves_the_others_logits_as_they_were(tmp_path, rng, drawn_by):
    given = network(ROAD, drawn_by)
    own, taken = started(saved(ROAD, tmp_path, given), manifest("road", "sky"), drawn_by=drawn_by)
    seen = pictures(rng)
    np.testing.assert_allclose(logits(own, seen), logits(given, seen)[..., [0, 2]], atol=1e-6)
    assert (taken.classes, taken.dropped) == (["road", "sky"], ["car"])


@pytest.mark.parametrize("drawn_by", some_quick(DECODERS, "fpn", "aspp"))
def test_a_new_class_starts_as_without_a_model_and_the_others_keep_their_logits(tmp_path, rng, drawn_by):
    given, records = network(ROAD, drawn_by), manifest("road", "tree", "car", "sky")
    head = [layer for layer in network(records, drawn_by, seed=1).layers if layer.weights][-1]
    own, taken = started(saved(ROAD, tmp_path, given), records, drawn_by=drawn_by)
    seen = pictures(rng)
    np.testing.assert_allclose(logits(own, seen)[..., [0, 2, 3]], logits(given, seen), atol=1e-6)
    (axis,) = (n for n, size in enumerate(head.kernel.shape) if size == 4)
    fresh, kept = (np.take(one.kernel, 1, axis) for one in (head, own.get_layer(head.name)))
    np.testing.assert_array_equal(kept, fresh)
    assert np.abs(fresh).max() > 0
    assert (taken.classes, taken.new) == (["road", "car", "sky"], ["tree"])


def test_without_a_common_class_the_head_starts_as_without_a_model(init):
    records = manifest("cell", "nucleus")
    own, taken = started(init, records)
    fresh = network(records, seed=1).get_layer("logits_conv").get_weights()
    assert all(map(np.array_equal, own.get_layer("logits_conv").get_weights(), fresh))
    assert (taken.classes, taken.new, taken.others) == ([], ["cell", "nucleus"], ["logits_conv"])
    assert "classes taken: none; new: cell, nucleus; dropped: road, car, sky" in taken.describe()


def test_a_network_of_another_size_gives_what_the_model_would_give_at_that_size(tmp_path, rng):
    large = manifest("road", "car", "sky", size=(96, 64))
    given, there = network(ROAD), network(large, seed=2)
    own, taken = started(saved(ROAD, tmp_path, given), large)
    there.set_weights(given.get_weights())
    seen = pictures(rng, (96, 64))
    np.testing.assert_array_equal(logits(own, seen), logits(there, seen))
    assert (taken.others, taken.bands) == ([], None)


def test_one_band_gives_what_a_grey_picture_gave_as_rgb(tmp_path, rng):
    given = network(ROAD)
    grey = pictures(rng, channels=1)
    own, taken = started(saved(ROAD, tmp_path, given), dataclasses.replace(ROAD, bands=(1,)))
    np.testing.assert_allclose(logits(own, grey), logits(given, grey.repeat(3, -1)), atol=1e-5)
    assert (taken.adapted, taken.others) == ("encoder/conv_1", [])
    assert taken.describe().endswith(
        "it saw RGB, and these records have band 1: encoder/conv_1 was made for them"
    )


@pytest.mark.parametrize(
    ("before", "now", "turns"),
    [("rgb", (1, 2, 3, 4), [0, 1, 2, 0]), ((1, 2, 3, 4), "rgb", [0, 1, 2]), ((1,), "rgb", [0, 0, 0])],
)
def test_more_bands_or_fewer_take_the_kernels_in_turn_and_keep_their_sum(tmp_path, before, now, turns):
    """By hand: four bands of three weigh 3/4 each, three of four 4/3, three of one 1/3."""
    records = dataclasses.replace(ROAD, bands=before)
    given = network(records)
    own, taken = started(saved(records, tmp_path, given), dataclasses.replace(ROAD, bands=now))
    old, new = (m.get_layer("encoder").get_layer("conv_1").kernel.numpy() for m in (given, own))
    expected = np.stack([old[:, :, turn] for turn in turns], 2) * old.shape[2] / len(turns)
    np.testing.assert_allclose(new, expected, rtol=1e-6)
    assert taken.adapted == "encoder/conv_1"


def test_other_bands_in_the_same_number_are_said_and_change_no_kernel(tmp_path):
    _, taken = started(saved(ROAD, tmp_path), dataclasses.replace(ROAD, bands=(4, 3, 2)))
    assert taken.adapted is None
    assert taken.describe().endswith(
        "it saw RGB, and these records have bands 4, 3, 2: all kernels stay as they are"
    )


@pytest.mark.parametrize("change", [{"name": "a smaller one"}, {"alpha": 0.5}])
def test_another_encoder_whose_layers_all_fit_is_said(init, change):
    section = SECTION | {"encoder": SECTION["encoder"] | change}
    first, second, *_ = take(network(ROAD, seed=1), init, ROAD, section).describe().splitlines()
    assert first.endswith("9 of 9 layers taken")
    other = f"{change.get('name', 'a small one')} (alpha {change.get('alpha', 1.0)})"
    assert second == (
        f"its encoder is a small one (alpha 1.0), and this one {other}: layers of the same name and "
        "shapes took weights that were made for another place"
    )
    assert "its encoder" not in take(network(ROAD, seed=1), init, ROAD, SECTION).describe()


def test_one_rule_adapts_kernels_of_a_model_and_of_imagenet():
    kernel = np.arange(2 * 3, dtype=np.float32).reshape(1, 1, 3, 2)
    assert for_channels(kernel, 1).tolist() == [[[[6, 9]]]]
    assert for_channels(kernel, 2).tolist() == [[[[0, 1.5], [3, 4.5]]]]


def test_another_decoder_leaves_what_has_the_same_name_and_shape_but_is_no_such_layer(tmp_path):
    """`up_1_conv` is a convolution of 3 x 3 from 8 to 8 channels in both, transposed in one of them."""
    init = saved(ROAD, tmp_path)
    own = network(ROAD, "pix2pix", seed=1)
    before = own.get_layer("up_1_conv").kernel.numpy()
    assert before.shape == network(ROAD).get_layer("up_1_conv").kernel.shape
    taken = take(own, init, ROAD, SECTION)
    np.testing.assert_array_equal(own.get_layer("up_1_conv").kernel.numpy(), before)
    assert taken.others == ["up_1_conv", "logits"]
    assert taken.describe().splitlines()[0] == (
        f"starting from {init.path}: 5 of 7 layers taken; not up_1_conv, logits"
    )


def test_a_head_on_other_channels_is_new_with_all_its_classes(tmp_path):
    """Of the light decoder's two head layers the second would fit, after another first one."""
    init = saved(ROAD, tmp_path, network(ROAD, "light"))
    own, taken = started(init, ROAD, drawn_by="light", filters=12)
    fresh = network(ROAD, "light", seed=1, filters=12).get_layer("logits").get_weights()
    assert all(map(np.array_equal, own.get_layer("logits").get_weights(), fresh))
    assert taken.others[-2:] == ["logits_pointwise", "logits"]
    assert (taken.classes, taken.new) == ([], ["road", "car", "sky"])


def test_the_card_says_what_was_taken_of_which_file_and_no_path(init):
    _, taken = started(init, manifest("road", "tree"))
    assert taken.card == {
        "sha256": init.digest,
        "layers": {"taken": 9, "of": 9, "not": []},
        "classes": {"taken": ["road"], "new": ["tree"], "dropped": ["car", "sky"]},
    }


def test_the_card_names_all_that_was_not_taken(tmp_path):
    """The model has another encoder and decoder, and saw other bands."""
    init = saved(ROAD, tmp_path)
    records = dataclasses.replace(ROAD, bands=(1, 2, 3, 4))
    section = SECTION | {"encoder": SECTION["encoder"] | {"alpha": 0.5}}
    card = take(network(records, "pix2pix", seed=1), init, records, section).card
    assert card["layers"] == {"taken": 5, "of": 7, "not": ["up_1_conv", "logits"]}
    assert card["classes"] == {
        "taken": [],
        "new": ["road", "car", "sky"],
        "dropped": ["road", "car", "sky"],
    }
    assert card["adapted"] == "encoder/conv_1"
    assert card["encoders"] == ["a small one (alpha 1.0)", "a small one (alpha 0.5)"]
    assert json.loads(json.dumps(card)) == card


def test_a_first_convolution_that_was_not_taken_is_said_to_start_anew(init):
    _, taken = started(init, dataclasses.replace(ROAD, bands=(1,)))
    first, *others = taken.layers
    anew = dataclasses.replace(taken, layers=others, others=[first], adapted=None)
    assert anew.describe().endswith(
        "it saw RGB, and these records have band 1: encoder/conv_1 was not taken and starts anew"
    )


def test_lines_name_some_layers_and_count_the_rest(init):
    _, taken = started(init, ROAD)
    many = dataclasses.replace(taken, others=[f"layer_{n}" for n in range(9)])
    assert many.describe().splitlines()[0].endswith("layer_4, layer_5 and 3 more")


@pytest.mark.parametrize("name", some_quick(FAMILIES, "mobilenet_v2"))
def test_every_family_of_encoders_is_taken_whole_and_its_first_kernel_is_made_for_four_bands(
    name, tmp_path
):
    content = plain_params().model.encoder.model_dump()
    content |= {"name": name, "alpha": 1.0, "weights": "none", "layers": "default"}
    decoding = decoder("light", [8, 8, 8, 8])
    params = ModelParams.model_validate({"encoder": content, "decoder": decoding, "init": "none"})
    backbone, small = Backbone(name, 1.0, None), manifest("a", "b", size=(64, 64))
    given = assemble(backbone, backbone.architecture((64, 64)), params, 2)
    init = saved(small, tmp_path, given)
    own = assemble(backbone, backbone.architecture((64, 96), 4), params, 2, 4)
    other = manifest("a", "b", size=(64, 96), bands=(1, 2, 3, 4))
    taken = take(own, init, other, SECTION)
    assert taken.others == []
    assert taken.adapted == taken.layers[0]


def test_it_counts_as_pretrained_where_the_model_did(tmp_path):
    for pretrained in (True, False):
        section = SECTION | {"encoder": SECTION["encoder"] | {"pretrained": pretrained}}
        init = saved(ROAD, tmp_path, params={"model": section})
        assert Backbone("mobilenet_v2", 1.0, Path("imagenet.h5"), init=init).pretrained is pretrained
        assert Backbone("mobilenet_v2", 1.0, None, init=init).pretrained is pretrained


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_of_other_networks_is_refused_with_both_in_words(init):
    own = network(ROAD, "light", seed=1, prefix="other")
    before = own.get_weights()
    theirs = SECTION | {"encoder": SECTION["encoder"] | {"name": "another one"}}
    with pytest.raises(UserError, match=r"given\.keras: a model of ") as caught:
        take(own, init, ROAD, theirs)
    assert one_line(caught).endswith(
        "a model of a small one (alpha 1.0) and the decoder fpn [8], of which 4 of 21 variables fit; "
        "expected half of them at least, for another one (alpha 1.0) and the decoder fpn [8]: give "
        "another model, or change model.encoder and model.decoder to its own"
    )
    assert all(map(np.array_equal, own.get_weights(), before)), "nothing is changed"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"^model\.init: there is no file .*a\.keras; copy") as caught:
        open_init("a.keras", tmp_path)
    assert one_line(caught).endswith("; copy a model there, or set model.init to none")


def test_a_model_without_a_card_is_refused(tmp_path):
    network(ROAD).save(tmp_path / "a.keras")
    with pytest.raises(UserError, match=r"a\.keras: not a model that segpipe saved") as caught:
        open_init("a.keras", tmp_path)
    assert "segpipe.json" in one_line(caught)


def test_a_file_that_was_cut_short_is_refused(init, tmp_path):
    content = init.path.read_bytes()
    init.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"given\.keras: not a model that segpipe saved") as caught:
        open_init("given.keras", tmp_path)
    one_line(caught)


def test_a_flipped_bit_in_the_weights_is_refused(init, tmp_path):
    with zipfile.ZipFile(init.path) as archive:
        begin = archive.getinfo("model.weights.h5").header_offset
    content = bytearray(init.path.read_bytes())
    content[begin + 3000] ^= 1
    init.path.write_bytes(content)
    with pytest.raises(UserError, match=r"given\.keras: cannot be read by Keras") as caught:
        started(open_init("given.keras", tmp_path), ROAD)
    one_line(caught)


def test_a_changed_bit_in_the_archives_directory_makes_no_other_error_than_one_line(init, tmp_path):
    """A member's version, flags and kind of compression; the length of the name before its content."""
    content = init.path.read_bytes()
    with zipfile.ZipFile(init.path) as archive:
        members, place, places = archive.infolist(), archive.start_dir, []
    for member in members:
        places += [place + 6, place + 8, place + 10, member.header_offset + 26]
        place += 46 + len(member.filename)
    told = 0
    for place in places:
        for bit in (1, 8, 0x40):
            changed = bytearray(content)
            changed[place] ^= bit
            init.path.write_bytes(changed)
            try:
                started(open_init("given.keras", tmp_path), ROAD)
            except UserError as error:
                assert "\n" not in str(error)
                told += 1
    assert told > len(places)
