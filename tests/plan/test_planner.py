"""The planner: what it asks of params and of measurements, these made up."""

import dataclasses
import json
import math

import numpy as np
import pytest
from helpers import plain_params

from segpipe.common.errors import UserError
from segpipe.plan import planner
from segpipe.plan.measure import Timing
from segpipe.plan.pieces import Pieces
from segpipe.plan.sampled import SampledPictures
from segpipe.plan.schedule import fitting
from segpipe.plan.shape import Input, Proposal
from segpipe.preprocess.intensity import RGB_OF_8_BITS
from segpipe.train.samples import Arrays

CELLS = SampledPictures(
    [], [(1200, 1200)] * 8, {"cell": 8.0, "ground": 600.0}, {0: 1}, {"train": 8, "val": 2},
    RGB_OF_8_BITS, False,
)  # fmt: skip
"""Eight pictures with cells of 8 px."""


def counted_pieces(train, val, held):
    """Pieces of so many training and validation samples, with one tiny sample to measure with."""
    sample = Arrays(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8), ["a"])
    return Pieces(sample, sample, {"train": train, "val": val}, held)


def changed(**sections):
    params = plain_params()
    content = params.model_dump()
    for name, changes in sections.items():
        content[name] |= changes
    return type(params).model_validate(content)


def test_scales_that_the_proposed_size_cannot_tell_apart_are_named_before_anything_is_measured(
    monkeypatch,
):
    monkeypatch.setattr(planner, "_device", lambda *_: pytest.fail("a device was taken"))
    views = {"tta": {"flip": False, "scales": [1.0, 1.1]}}
    params = changed(data={"image_size": 256}, evaluate=views)
    with pytest.raises(UserError) as raised:
        planner.plan(CELLS, params, 30, 1)
    assert str(raised.value) == (
        "evaluate.tta.scales does not go with the proposed data.image_size of 128: the scales 1 and 1.1 "
        "both come to 128 x 128 px, because edges are multiples of 32; leave one of them out; then plan "
        "again"
    )


def test_a_class_in_no_sample_that_was_cut_is_seldom_unless_no_picture_holds_it():
    pieces = counted_pieces(9, 4, [1.0, 0.5, 0.0])
    for pixels, expected in (({0: 900, 1: 90}, "uniform"), ({0: 900, 1: 90, 2: 1}, "balanced")):
        row = planner._sampling_row(plain_params(), pieces, dataclasses.replace(CELLS, pixels=pixels))
        assert row.proposed == expected, pixels


@pytest.mark.parametrize(
    ("devices", "hosts", "samples", "expected"),
    [(1, 1, 3, 1), (1, 1, 20, 4), (2, 1, 3, 2), (4, 1, 7, 4), (8, 1, 20, 8), (2, 1, 20, 4),
     (3, 1, 31, 6), (2, 2, 40, 8), (2, "auto", 3, 2), ("auto", 1, 20, 4), (8, 1, 96, 96)],
)  # fmt: skip
def test_a_smaller_batch_goes_round_all_devices(devices, hosts, samples, expected):
    """About a quarter of the samples, an equal power of two for each device; 96 of enough."""
    backend = "auto" if (devices, hosts) == (1, 1) else "jax"
    train = {"batch_size": 96, "devices": devices, "hosts": hosts, "backend": backend}
    assert planner._batch(changed(train=train), counted_pieces(samples, 1, [1.0])) == expected


def test_fewer_samples_than_devices_are_refused_before_anything_is_measured():
    train = {"batch_size": 96, "devices": 2, "hosts": 4, "backend": "jax"}
    with pytest.raises(UserError) as raised:
        planner._batch(changed(train=train), counted_pieces(7, 1, [1.0]))
    assert str(raised.value) == (
        "there are 7 training samples for 8 devices (train.devices = 2, train.hosts = 4), and each "
        "takes one of a batch at least; lower them, or add pictures"
    )


IN_ENCODER = {"name": "mobilenet_v2", "alpha": 1.0, "pretrained": True}


@pytest.mark.parametrize(
    ("weights", "fetched", "expected"),
    [
        ("none", IN_ENCODER, "its weights start from random (model.encoder.weights)"),
        ("imagenet", IN_ENCODER, "its weights are in data/encoder"),
        ("imagenet", IN_ENCODER | {"alpha": 0.35}, "`dvc repro fetch_encoder` fetches its weights"),
        (
            "imagenet",
            IN_ENCODER | {"pretrained": False},
            "`dvc repro fetch_encoder` fetches its weights",
        ),
        (
            "imagenet",
            IN_ENCODER | {"name": "densenet121"},
            "`dvc repro fetch_encoder` fetches its weights",
        ),
        ("imagenet", None, "`dvc repro fetch_encoder` fetches its weights"),
        ("here.h5", None, "its weights are here.h5"),
        ("missing.h5", IN_ENCODER, "there is no file missing.h5 (model.encoder.weights)"),
    ],
)
def test_the_encoder_stays_and_the_row_says_where_its_weights_are(
    tmp_path, monkeypatch, weights, fetched, expected
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.h5").touch()
    if fetched:
        (tmp_path / "data/encoder").mkdir(parents=True)
        (tmp_path / "data/encoder/encoder.json").write_text(json.dumps(fetched))
    model = plain_params().model
    encoder = model.encoder.model_copy(update={"weights": weights, "alpha": 1.0})
    row = planner._encoder(plain_params().model_copy(update={
        "model": model.model_copy(update={"encoder": encoder})
    }))  # fmt: skip
    assert (row.now, row.proposed) == ("mobilenet_v2", "mobilenet_v2")
    assert row.reason == f"your own, since encoders are not compared; {expected}"


def test_the_reason_for_fewer_epochs_counts_all_that_follows_an_epoch():
    """1 s of validation for 50 samples, and 3 s of previews and checkpoint: 0.2 * 299 / 4 is 14."""
    timing, proposal = Timing(1.0, 1.0, 0.1, 0.02, 3.0), Proposal(Input("stretch", (8, 8)), "", "")
    draft = planner._Draft(proposal, None, counted_pieces(400, 50, [1.0]), 4, timing, None)
    rows = planner._schedule_rows(plain_params(), fitting(5, timing, 50), draft)
    assert rows[0].proposed == 14
    assert rows[0].reason == (
        "validation, previews and checkpoint take 4 s an epoch; those of more epochs, over 20 % of the "
        "time"
    )


def test_the_batch_suits_the_samples_that_the_plan_ends_with(monkeypatch):
    """8 pictures give 64 tiles at the scale that 8 px of cells need, and 400 at the pictures' own."""
    measured = []

    def pieces(sampled, chosen, params):
        count = round(64 * (chosen.scale / 0.4) ** 2)
        return None, counted_pieces(count, 4, [1.0, 1.0, 0.0])

    def timing(params, chosen, tiles, some, batch, lovasz):
        measured.append(batch)
        return Timing(1.0, 1.0, 0.001 * batch, 0.001, 0.1), None

    monkeypatch.setattr(planner, "_device", lambda *_: "a device")
    monkeypatch.setattr(planner, "_cut", pieces)
    monkeypatch.setattr(planner, "_measured", timing)
    monkeypatch.setattr(planner, "needs", lambda *_: [])
    found = planner.plan(CELLS, changed(train={"batch_size": 96}), 20, 1)
    rows = {row.key: row for row in found.rows}
    assert rows["data.tiles.scale"].proposed == 1.0
    assert measured == [16, 96], "64 // 4, and the user's own for 64 * 2.5 * 2.5 = 400"
    assert rows["train.batch_size"].proposed == 96
    assert found.schedule.training == pytest.approx(0.096 * found.schedule.steps * found.schedule.epochs)
    assert math.isclose(found.schedule.seconds, 1200, rel_tol=0.01)
