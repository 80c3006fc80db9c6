"""The saved model's logits are divided by the temperature that the validation pictures prove."""

import json
import math
from dataclasses import replace

import keras
import numpy as np
import pytest
from test_training import arrays, computing_in, setup_of, train, with_changes  # noqa: F401

from segpipe.common.classes import IGNORE
from segpipe.common.modelfile import read_card
from segpipe.common.records import Tiles, open_records
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


def calibrated(network, of, batch_size=4):
    return calibrate(network, of, of.names, batch_size)


def test_two_classes_that_are_right_three_times_of_four_have_the_temperature_of_the_closed_form():
    """By hand: the leading class has probability 1 / (1 + exp(-2 / T)), which must be 3/4.

    So T = 2 / ln 3. The cross-entropy is then the entropy of 3/4; before it is that of a sure network.
    Two pictures that agree leave no doubt.
    """
    found = calibrated(Lookup([2, 0]), of_pixels(np.zeros((2, 2, 2)), [[[0, 0], [0, 1]]] * 2))
    expected = round(2 / math.log(3), 4)
    assert (found.temperature, found.best, found.low, found.high) == (expected,) * 4
    assert found.val_nll == pytest.approx(math.log(4) - 0.75 * math.log(3), rel=1e-6)
    assert found.val_nll_before == pytest.approx(math.log(1 + math.exp(-2)) + 0.25 * 2, rel=1e-6)


def test_pictures_that_disagree_leave_an_interval_and_its_end_nearest_to_1_is_taken():
    """By hand: of four pictures' four pixels 0, 1, 1 and 2 are wrong.

    At T = 2 / ln 3 a wrong pixel's slope is 2 - 2/4, a right one's -2/4: the pictures' sums are -2, 0, 0
    and 2, their squares' sum 8. The curvature is 16 pixels times 4 * 3/4 * 1/4 = 12, n / (n - 1) is 4/3,
    and Student's t of 3 degrees at 0.975 is 3.1824.
    """
    masks = [[[0, 0], [0, 0]], [[0, 0], [0, 1]], [[1, 0], [0, 0]], [[0, 1], [1, 0]]]
    found = calibrated(Lookup([2, 0]), of_pixels(np.zeros((4, 2, 2)), masks))
    best = 2 / math.log(3)
    reach = 3.182446 * best * math.sqrt(8 * 4 / 3) / 12
    assert found.low == pytest.approx(best * math.exp(-reach), abs=1e-4)
    assert found.high == 4, "the highest allowed"
    assert found.temperature == 1
    assert found.val_nll == found.val_nll_before
    # Seven times as many pictures: 28 / 27, t of 27 degrees is 2.0518, and the rest by the root of 7.
    many = calibrated(Lookup([2, 0]), of_pixels(np.zeros((28, 2, 2)), masks * 7))
    reach = 2.051831 * best * math.sqrt(7 * 8 * 28 / 27) / (7 * 12)
    assert many.temperature == many.low == pytest.approx(best * math.exp(-reach), abs=1e-4)
    assert many.high == pytest.approx(best * math.exp(reach), abs=1e-4)
    assert many.val_nll < many.val_nll_before


def test_a_single_picture_proves_nothing_and_its_tiles_are_one():
    tiles = of_pixels(np.zeros((2, 2, 2)), [[[0, 0], [0, 1]]] * 2)
    found = calibrate(Lookup([2, 0]), tiles, ["one", "one"], 4)
    assert (found.temperature, found.low, found.high) == (1, 0.25, 4)
    assert found.best == round(2 / math.log(3), 4)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_truth_drawn_at_a_temperature_gives_it_back(rng, temperature):
    table = 3 * rng.standard_normal((256, 5))
    values = rng.integers(0, 256, (8, 128, 256))
    odds = np.exp(table / temperature)
    below = np.cumsum(odds, 1) / odds.sum(1, keepdims=True)
    masks = (rng.random(values.shape)[..., None] > below[values]).sum(-1)
    found = calibrated(Lookup(*table), of_pixels(values, masks), 3)
    assert found.best == pytest.approx(temperature, rel=0.01)
    assert found.low < temperature < found.high < 1.03 * found.low
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    assert found.val_nll <= found.val_nll_before


def surer_by_band(rng, count=7, size=8):
    """A network of four levels of sureness, and samples on which it is right most times."""
    values = rng.integers(0, 4, (count, size, size))
    return Lookup([9, 0], [4, 0], [2, 0], [1, 0]), of_pixels(values, rng.random(values.shape) < 0.2)


def test_ignored_pixels_do_not_count(rng):
    network, counted = surer_by_band(rng)
    values, masks = counted.images[..., 0], counted.masks
    around = ((0, 0), (0, 3), (0, 5))
    wider = of_pixels(
        [*np.pad(values, around), *np.zeros((2, 11, 13))],
        [*np.pad(masks, around, constant_values=IGNORE), *np.full((2, 11, 13), IGNORE)],
    )
    assert calibrated(network, wider) == calibrated(network, counted)


def test_the_temperature_does_not_depend_on_the_batch_and_batches_have_one_shape(rng):
    network, of_seven = surer_by_band(rng)
    found = [calibrated(network, of_seven, size) for size in (1, 3, 7)]
    assert found[0] == found[1] == found[2]
    assert network.shapes == {(size, 8, 8, 3) for size in (1, 3, 7)}
    assert (of_seven.masks != IGNORE).all(), "the samples stay as they were"


def test_of_many_logits_some_pixels_are_drawn_the_same_ones_every_time_and_it_says_so(
    rng, monkeypatch, capsys
):
    network, many = surer_by_band(rng, 8, 64)
    whole = calibrated(network, many)
    assert "8 validation pictures (32,768 pixels) fit" in capsys.readouterr().out
    monkeypatch.setattr(calibration, "MOST_LOGITS", 16_384)  # of 65,536
    drawn = calibrated(network, many)
    said = capsys.readouterr().out
    number = int(said.split("32,768 pixels, ")[1].split(" of them drawn)")[0].replace(",", ""))
    assert number == pytest.approx(8192, rel=0.05)
    assert drawn.best == pytest.approx(whole.best, rel=0.1)
    assert drawn != whole
    assert calibrated(network, many, 3) == drawn


@pytest.mark.parametrize(
    ("truth", "best", "bound"), [(0, 0.25, "lowest"), (1, 4.0, "highest")], ids=["right", "wrong"]
)
def test_a_network_that_is_always_right_or_wrong_meets_a_bound_and_it_says_so(
    capsys, truth, best, bound
):
    found = calibrated(Lookup([8, 0]), of_pixels(np.zeros((9, 4, 4)), np.full((9, 4, 4), truth)))
    assert found.best == best
    assert 0.25 <= found.low <= found.temperature <= found.high <= 4
    assert f"fit {best:g} best (the {bound} allowed), " in capsys.readouterr().out


@pytest.mark.parametrize("rows", [[3e4, 0, -3e4], [0, 0, 0]], ids=["extreme", "equal"])
def test_logits_without_any_doubt_or_difference_stay_as_they_are(rows):
    """Probabilities of exactly 0 and 1, or all the same: no temperature is proven."""
    found = calibrated(Lookup(rows), of_pixels(np.zeros((2, 2, 2)), [[[0, 0], [0, 2]]] * 2))
    assert (found.temperature, found.low, found.high) == (1, 0.25, 4)
    assert found.val_nll == found.val_nll_before


def test_without_a_pixel_that_counts_the_temperature_is_1_and_it_says_why(capsys):
    nothing = of_pixels(np.zeros((2, 4, 4)), np.full((2, 4, 4), IGNORE))
    assert calibrated(Lookup([8, 0]), nothing) == Calibration(1.0, None, None, None, None, None)
    assert "temperature 1: no validation pixel counts" in capsys.readouterr().out


def test_samples_in_the_shards_give_what_those_in_memory_do(finished_project):
    manifest = open_records(finished_project / "data/records")
    network = Lookup(*np.random.default_rng(0).standard_normal((256, 3)))
    in_memory, in_shards = (read(manifest, "val") for read in (samples.load, samples.locate))
    assert calibrated(network, in_memory) == calibrated(network, in_shards)


def saved(arrays, tmp_path, params, name="model"):  # noqa: F811
    """Train and save: the logits before, the loaded model, and `summary.json`."""
    network, progress = train(arrays, tmp_path, params)
    raw = network.predict_on_batch(arrays.images)
    setup = setup_of(arrays, tmp_path, params)
    summary = loop.save_calibrated(network, setup, progress, tmp_path / f"{name}.keras")
    assert summary == progress.summary(params.train) | {"calibration": summary["calibration"]}
    return raw, keras.models.load_model(tmp_path / f"{name}.keras"), summary


def test_the_saved_models_logits_are_those_of_training_divided_and_their_masks_the_same(
    arrays,  # noqa: F811
    tmp_path,
):
    raw, model, summary = saved(arrays, tmp_path, with_changes(epochs=6, learning_rate=0.01))
    found = summary["calibration"]
    assert found["temperature"] != 1
    assert found["val_nll"] < found["val_nll_before"]
    card = read_card(tmp_path / "model.keras")
    assert (card["temperature"], card["training"]) == (found["temperature"], summary)
    logits = model.predict_on_batch(arrays.images)
    assert logits == pytest.approx(raw / found["temperature"], rel=1e-5, abs=1e-5)
    assert (logits.argmax(-1) == raw.argmax(-1)).all()


@pytest.mark.slow
def test_a_model_trained_in_16_bits_is_calibrated_too(arrays, tmp_path):  # noqa: F811
    with computing_in("bfloat16") as params:
        _, model, summary = saved(arrays, tmp_path, params)
    found, again = summary["calibration"], calibrated(model, arrays)
    assert again.best * found["temperature"] == pytest.approx(found["best"], rel=0.01), "16 bits apart"
    assert again.val_nll_before == pytest.approx(found["val_nll"], rel=0.01)


@pytest.mark.slow
def test_a_run_resumed_after_its_last_epoch_is_not_calibrated_twice(arrays, tmp_path):  # noqa: F811
    params = with_changes(epochs=6, learning_rate=0.01)
    _, _, summary = saved(arrays, tmp_path, params, "one")
    assert summary["calibration"]["temperature"] != 1
    saved(arrays, tmp_path, params, "two")
    assert (tmp_path / "one.keras").read_bytes() == (tmp_path / "two.keras").read_bytes()


def test_training_takes_the_tiles_of_a_picture_for_one_picture(arrays, tmp_path, monkeypatch):  # noqa: F811
    seen = []
    given = Calibration(1.0, 1.0, 1.0, 1.0, 0.0, 0.0)
    monkeypatch.setattr(loop, "calibrate", lambda *arguments: seen.append(arguments[2]) or given)
    monkeypatch.setattr(loop, "save_model", lambda *_: None)
    tiles = replace(arrays, names=[f"{'ab@c'[n // 6 :]}@0,{32 * n}" for n in range(12)])
    network, progress = train(tiles, tmp_path)
    setup = setup_of(tiles, tmp_path, with_changes())
    loop.save_calibrated(network, setup, progress, tmp_path)
    setup = replace(setup, manifest=replace(setup.manifest, tiles=Tiles(1.0)))
    loop.save_calibrated(network, setup, progress, tmp_path)
    assert seen == [tiles.names, ["ab@c"] * 6 + ["b@c"] * 6]


def test_the_stage_divides_the_logits_by_what_the_validation_split_proves(finished_project):
    manifest = open_records(finished_project / "data/records")
    model = load_for_records(finished_project / "models/model.keras", manifest)
    summary = json.loads((finished_project / "results/train/summary.json").read_text())
    found, again = summary["calibration"], calibrated(model, samples.load(manifest, "val"))
    assert again.best * found["temperature"] == pytest.approx(found["best"], rel=1e-3)
    assert again.val_nll_before == pytest.approx(found["val_nll"], rel=1e-5)
