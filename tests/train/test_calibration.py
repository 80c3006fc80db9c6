"""The saved model is as sure as it is right: its logits are divided by the temperature that fits."""

import json
import math

import keras
import numpy as np
import pytest
from test_training import arrays, computing_in, train, with_changes, work_of  # noqa: F401

from segpipe.common.classes import IGNORE
from segpipe.common.modelfile import read_card
from segpipe.common.records import open_records
from segpipe.evaluate.load import load_for_records
from segpipe.train import calibration, loop, samples
from segpipe.train.calibration import Calibration, calibrate
from segpipe.train.samples import Arrays


class Lookup:
    """A network whose logits depend on a pixel's first band alone: a row of a table for each value."""

    def __init__(self, *rows):
        self.table = np.array(rows, np.float32)
        self.output_shape = (None, None, None, self.table.shape[1])
        self.shapes = set()

    def predict_on_batch(self, images):
        self.shapes.add(images.shape)
        return self.table[images[..., 0]]


def of_pixels(values, masks):
    """Samples whose first band has some values, both [n, H, W]."""
    images = np.zeros((*np.shape(values), 3), np.uint8)
    images[..., 0] = values
    return Arrays(images, np.array(masks, np.uint8), [f"photo {n}" for n in range(len(images))])


def test_two_classes_that_are_right_three_times_of_four_have_the_temperature_of_the_closed_form():
    """By hand: the leading class has probability 1 / (1 + exp(-2 / T)), which must be 3/4.

    So T = 2 / ln 3. The cross-entropy is then the entropy of 3/4; before it is that of a sure network.
    """
    found = calibrate(Lookup([2, 0]), of_pixels(np.zeros((1, 2, 2)), [[[0, 0], [0, 1]]]), 1)
    assert found.temperature == round(2 / math.log(3), 4)
    assert found.val_nll == pytest.approx(math.log(4) - 0.75 * math.log(3), rel=1e-6)
    assert found.val_nll_before == pytest.approx(math.log(1 + math.exp(-2)) + 0.25 * 2, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_truth_drawn_at_a_temperature_gives_it_back(rng, temperature):
    table = 3 * rng.standard_normal((256, 5))
    values = rng.integers(0, 256, (4, 256, 256))
    odds = np.exp(table / temperature)
    below = np.cumsum(odds, 1) / odds.sum(1, keepdims=True)
    masks = (rng.random(values.shape)[..., None] > below[values]).sum(-1)
    found = calibrate(Lookup(*table), of_pixels(values, masks), 3)
    assert found.temperature == pytest.approx(temperature, rel=0.02)
    assert found.val_nll <= found.val_nll_before


def surer_by_band(rng):
    """A network of four levels of sureness, and samples on which it is right most times."""
    values = rng.integers(0, 4, (7, 8, 8))
    return Lookup([9, 0], [4, 0], [2, 0], [1, 0]), of_pixels(values, rng.random((7, 8, 8)) < 0.2)


def test_ignored_pixels_do_not_count(rng):
    network, counted = surer_by_band(rng)
    values, masks = counted.images[..., 0], counted.masks
    wider = of_pixels(
        np.concatenate([np.pad(values, ((0, 0), (0, 3), (0, 5))), np.zeros((2, 11, 13))]),
        np.concatenate(
            [
                np.pad(masks, ((0, 0), (0, 3), (0, 5)), constant_values=IGNORE),
                np.full((2, 11, 13), IGNORE),
            ]
        ),
    )
    assert calibrate(network, wider, 4) == calibrate(network, counted, 4)


def test_the_temperature_does_not_depend_on_the_batch_and_batches_have_one_shape(rng):
    network, of_seven = surer_by_band(rng)
    found = [calibrate(network, of_seven, size) for size in (1, 3, 7)]
    assert found[0] == found[1] == found[2]
    assert network.shapes == {(size, 8, 8, 3) for size in (1, 3, 7)}
    assert (of_seven.masks != IGNORE).all(), "the samples stay as they were"


def test_of_many_logits_some_pixels_are_drawn_the_same_ones_every_time_and_it_says_so(
    rng, monkeypatch, capsys
):
    values = rng.integers(0, 4, (8, 64, 64))
    network, many = (
        Lookup([9, 0], [4, 0], [2, 0], [1, 0]),
        of_pixels(values, rng.random(values.shape) < 0.2),
    )
    whole = calibrate(network, many, 4)
    assert "of 32,768 validation pixels from" in capsys.readouterr().out
    monkeypatch.setattr(calibration, "MOST_LOGITS", 16_384)  # of 65,536
    drawn = calibrate(network, many, 4)
    said = capsys.readouterr().out
    number = int(said.split("pixels, ")[1].split(" of them drawn")[0].replace(",", ""))
    assert number == pytest.approx(8192, rel=0.05)
    assert drawn.temperature == pytest.approx(whole.temperature, rel=0.1)
    assert drawn != whole
    assert calibrate(network, many, 3) == drawn


@pytest.mark.parametrize(
    ("truth", "temperature", "bound"), [(0, 0.25, "lowest"), (1, 4.0, "highest")], ids=["right", "wrong"]
)
def test_a_network_that_is_always_right_or_wrong_gets_a_bound_and_is_told(
    capsys, truth, temperature, bound
):
    found = calibrate(Lookup([8, 0]), of_pixels(np.zeros((1, 4, 4)), np.full((1, 4, 4), truth)), 1)
    assert found.temperature == temperature
    assert f"temperature {temperature:g} (the {bound} allowed): it takes" in capsys.readouterr().out


def test_logits_of_any_size_overflow_nowhere():
    found = calibrate(Lookup([3e4, 0, -3e4]), of_pixels(np.zeros((1, 2, 2)), [[[0, 0], [0, 2]]]), 1)
    assert found == Calibration(4.0, 15000.0, 3750.0)


def test_without_a_pixel_that_counts_the_temperature_is_1_and_it_says_why(capsys):
    nothing = of_pixels(np.zeros((2, 4, 4)), np.full((2, 4, 4), IGNORE))
    assert calibrate(Lookup([8, 0]), nothing, 1) == Calibration(1.0, None, None)
    assert "temperature 1: no validation pixel counts" in capsys.readouterr().out


def test_samples_in_the_shards_give_what_those_in_memory_do(finished_project):
    manifest = open_records(finished_project / "data/records")
    network = Lookup(*np.random.default_rng(0).standard_normal((256, 3)))
    in_memory, in_shards = (read(manifest, "val") for read in (samples.load, samples.locate))
    assert calibrate(network, in_memory, 4) == calibrate(network, in_shards, 4)


def test_the_saved_models_logits_are_those_of_training_divided_and_their_masks_the_same(
    arrays,  # noqa: F811
    tmp_path,
):
    params = with_changes(epochs=6, learning_rate=0.01)
    network, progress = train(arrays, tmp_path, params)
    raw = network.predict_on_batch(arrays.images)
    work = work_of(arrays, tmp_path, params)
    summary = loop.save_calibrated(network, work, progress, tmp_path / "model.keras")
    found = summary.pop("calibration")
    assert summary == progress.summary(params.train)
    assert found["temperature"] != 1
    assert found["val_nll"] < found["val_nll_before"]
    card = read_card(tmp_path / "model.keras")
    assert card["temperature"] == card["training"]["calibration"]["temperature"] == found["temperature"]
    logits = keras.models.load_model(tmp_path / "model.keras").predict_on_batch(arrays.images)
    assert logits == pytest.approx(raw / found["temperature"], rel=1e-5, abs=1e-5)
    assert (logits.argmax(-1) == raw.argmax(-1)).all()


def test_a_model_trained_in_16_bits_is_calibrated_too(arrays, tmp_path):  # noqa: F811
    with computing_in("bfloat16") as params:
        network, progress = train(arrays, tmp_path, params)
        work = work_of(arrays, tmp_path, params)
        summary = loop.save_calibrated(network, work, progress, tmp_path / "model.keras")
    saved = keras.models.load_model(tmp_path / "model.keras")
    again = calibrate(saved, arrays, 4)
    assert again.temperature == pytest.approx(1, abs=0.01), "16 bits, and no more, apart"
    assert again.val_nll_before == pytest.approx(summary["calibration"]["val_nll"], rel=0.01)


def test_a_run_resumed_after_its_last_epoch_is_not_calibrated_twice(arrays, tmp_path):  # noqa: F811
    params = with_changes()
    for name in ("one", "two"):
        network, progress = train(arrays, tmp_path, params)
        work = work_of(arrays, tmp_path, params)
        loop.save_calibrated(network, work, progress, tmp_path / f"{name}.keras")
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_the_stage_leaves_a_model_whose_best_temperature_is_1(finished_project):
    """And fits it on the validation split."""
    manifest = open_records(finished_project / "data/records")
    model = load_for_records(finished_project / "models/model.keras", manifest)
    summary = json.loads((finished_project / "results/train/summary.json").read_text())
    again = calibrate(model, samples.load(manifest, "val"), 4)
    assert again.temperature == pytest.approx(1, abs=1e-3)
    assert again.val_nll_before == pytest.approx(summary["calibration"]["val_nll"], rel=1e-5)
