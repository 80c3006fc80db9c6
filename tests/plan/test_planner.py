"""The planner: what it asks of params and of measurements, these made up."""

import dataclasses
import math

import numpy as np
import pytest
from helpers import plain_params

from segpipe.common.errors import UserError
from segpipe.plan import planner
from segpipe.plan.look import Look
from segpipe.plan.measure import Timing
from segpipe.plan.pieces import Pieces
from segpipe.preprocess.intensity import RGB_OF_8_BITS
from segpipe.train.samples import Arrays

CELLS = Look(
    [], [(1200, 1200)] * 8, {"cell": 8.0, "ground": 600.0}, {0: 1}, {"train": 8, "val": 2},
    RGB_OF_8_BITS, False,
)  # fmt: skip
"""Eight pictures with cells of 8 px."""


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
    one = Arrays(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8), ["a"])
    pieces = Pieces(one, one, {"train": 9, "val": 4}, [1.0, 0.5, 0.0])
    for pixels, expected in (({0: 900, 1: 90}, "uniform"), ({0: 900, 1: 90, 2: 1}, "balanced")):
        row = planner._sampling_row(plain_params(), pieces, dataclasses.replace(CELLS, pixels=pixels))
        assert row.proposed == expected, pixels


def test_the_batch_suits_the_samples_that_the_plan_ends_with(monkeypatch):
    """8 pictures give 64 tiles at the scale that 8 px of cells need, and 400 at the pictures' own."""
    measured = []

    def pieces(look, chosen, params):
        count = round(64 * (chosen.scale / 0.4) ** 2)
        one = Arrays(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8), ["a"])
        return None, Pieces(one, one, {"train": count, "val": 4}, [1.0, 1.0, 0.0])

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
