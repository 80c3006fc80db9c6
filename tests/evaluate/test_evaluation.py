"""Scoring: every test image once, at both sizes, in constant memory."""

import tracemalloc

import keras
import numpy as np
import pytest
from helpers import PETS

from segpipe.common import records
from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.errors import UserError
from segpipe.evaluate import metrics
from segpipe.evaluate.evaluation import Evaluation, absent_classes
from segpipe.evaluate.masks import log_softmax, mask_at_size
from segpipe.fetch import synthetic
from segpipe.fetch.params import SyntheticParams
from segpipe.fetch.raw import write_raw
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records


class Oracle:
    """A model that is right about everything that the network size can show, or about nothing."""

    def __init__(self, manifest, confidence=9.0):
        self.samples = {s["image"].tobytes(): s["mask"] for s in records.read(manifest, "test")}
        self.confidence, self.classes = confidence, len(manifest.classes)
        self.seen = 0

    def predict(self, images):
        self.seen += len(images)
        masks = np.stack([self.samples[image.tobytes()] for image in images])
        return self.confidence * np.eye(256, self.classes, dtype=np.float32)[masks]


@pytest.fixture(scope="module")
def make_manifest(tmp_path_factory):
    def make(test=7, table=PETS, size=(32, 32), how="stretch"):
        folder = tmp_path_factory.mktemp("data")
        params = SyntheticParams(train=12, test=test, size=48, seed=0)
        write_raw("a test", synthetic.samples(params), table, False, 100, folder / "raw", 1)
        format_ = RecordFormat(size, how)
        write_records(folder / "raw", table, format_, SplitRule(0.3), 100, folder / "records", 1)
        return records.open_records(folder / "records")

    return make


def evaluate(manifest, batch_size=3, model=None):
    model = model or Oracle(manifest)
    evaluation = Evaluation(model.predict, manifest, batch_size)
    return evaluation, list(evaluation.predictions())


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_every_test_image_is_scored_exactly_once_whatever_the_batch(make_manifest, batch_size):
    manifest = make_manifest()
    evaluation, predictions = evaluate(manifest, batch_size, model := Oracle(manifest))
    assert [name for name, _ in predictions] == [f"test-{n:06d}" for n in range(7)]
    assert (evaluation.metrics()["images"], model.seen) == (7, 7)
    assert evaluation.network_confusion.sum() == 7 * 32 * 32
    pixels = sum(s["original_mask"].size for s in records.read(manifest, "test"))
    assert evaluation.original_confusion.sum() == pixels


def test_a_perfect_model_scores_one_at_network_size_and_nearly_so_at_original_size(make_manifest):
    scores = evaluate(make_manifest(size=(64, 64)))[0].metrics()
    assert scores["network"]["mean_iou"] == scores["network"]["pixel_accuracy"] == 1
    assert 0.85 < scores["original"]["mean_iou"] < 1


def test_loss_is_the_mean_cross_entropy_at_network_size(make_manifest):
    manifest = make_manifest()
    loss = evaluate(manifest, model=Oracle(manifest, 2.0))[0].metrics()["loss"]
    assert loss == pytest.approx(np.log(np.exp(2) + 2) - 2, rel=1e-6)


def test_ignored_pixels_count_in_neither_loss_nor_score(make_manifest):
    table = ClassTable(PETS.classes[:2], ignore=(3,))
    evaluation, _ = evaluate(make_manifest(table=table))
    manifest = evaluation.manifest
    counted = sum((s["mask"] != IGNORE).sum() for s in records.read(manifest, "test"))
    assert evaluation.network_confusion.sum() == counted
    assert evaluation.metrics()["network"]["mean_iou"] == 1


def test_padding_counts_nowhere_and_is_undone_at_original_size(make_manifest):
    """A model that is right about the picture and wrong about every padded pixel."""
    manifest = make_manifest(size=(64, 160), how="pad")
    scores = evaluate(manifest)[0].metrics()
    padded = sum((s["mask"] == IGNORE).sum() for s in records.read(manifest, "test"))
    assert padded > 7 * 64 * 160 / 4
    assert scores["network"]["pixel_accuracy"] == 1
    assert scores["original"]["mean_iou"] > 0.8


def test_a_test_split_of_nothing_but_ignored_pixels_is_an_error(make_manifest):
    manifest = make_manifest()
    with pytest.raises(UserError, match="every pixel of the test split is ignored"):
        Evaluation(Oracle(manifest).predict, manifest, 2).metrics()


def test_a_model_that_predicts_no_numbers_is_an_error(make_manifest):
    manifest = make_manifest()
    with pytest.raises(UserError, match=r"predicts NaN or infinity; lower train\.learning_rate"):
        evaluate(manifest, model=Oracle(manifest, float("nan")))


def test_an_absent_class_is_named(make_manifest):
    evaluation, _ = evaluate(make_manifest())
    evaluation.original_confusion[2, :] = evaluation.original_confusion[:, 2] = 0
    assert absent_classes(evaluation.metrics()["original"]) == ["border"]


def test_per_image_scores_and_confusion_agree_with_the_metrics(make_manifest):
    evaluation, _ = evaluate(make_manifest())
    table = evaluation.per_image()
    assert list(table) == [
        "name", "height", "width", "pixel_accuracy", "mean_iou",
        "iou_pet", "iou_background", "iou_border",
        "hits_pet", "hits_background", "hits_border",
        "truth_pet", "truth_background", "truth_border",
        "predicted_pet", "predicted_background", "predicted_border",
    ]  # fmt: skip
    matrix = evaluation.confusion().pivot(index="truth", columns="prediction", values="pixels")
    names = PETS.names
    found = evaluation.metrics()["original"]
    del found["interval"], found["boundary_f1"]
    scores = metrics.summarise(matrix.loc[names, names].to_numpy(), names)
    assert scores == found
    for row, pixels in enumerate(("hits", "truth", "predicted")):
        columns = table[[f"{pixels}_{name}" for name in names]]
        assert (columns.sum() == metrics.counts(evaluation.original_confusion)[row]).all()
        assert (columns.to_numpy() == evaluation.counts().pixels[:, row]).all()
    assert evaluation.counts().images == table["name"].tolist()
    weights = table["height"] * table["width"]
    accuracy = (table["pixel_accuracy"] * weights).sum() / weights.sum()
    assert accuracy == pytest.approx(scores["pixel_accuracy"])


def test_scores_by_class_are_those_worked_out_by_hand_and_empty_where_there_is_none(make_manifest):
    evaluation = Evaluation(None, make_manifest(), 1)
    evaluation.original_confusion[:] = [[6, 2, 0], [1, 1, 0], [0, 0, 0]]
    evaluation.boundaries[0, :, 0] = (
        8,
        2,
        4,
        2,
    )  # true ones and those found, predicted ones and right ones
    evaluation.boundaries[1, :, 0] = 8, 8, 4, 4
    evaluation.boundaries[:, 0, 1] = 4
    assert evaluation.per_class().to_csv(index=False).splitlines() == [
        "class,iou,dice,precision,recall,"
        "boundary_precision_2px,boundary_recall_2px,boundary_f1_2px,"
        "boundary_precision_5px,boundary_recall_5px,boundary_f1_5px",
        f"pet,{6 / 9},{12 / 15},{6 / 7},{6 / 8},{1 / 2},{1 / 4},{1 / 3},1.0,1.0,1.0",
        f"background,{1 / 4},{2 / 5},{1 / 3},{1 / 2},,0.0,0.0,,0.0,0.0",
        "border,,,,,,,,,,",
    ]


def test_boundaries_are_scored_at_original_size_and_summed_over_the_images(make_manifest):
    manifest = make_manifest(size=(64, 64))
    assert evaluate(manifest)[0].metrics()["original"]["boundary_f1"]["2px"] > 0.98
    model = Oracle(manifest)
    model.samples = {image: np.roll(mask, 4, 1) for image, mask in model.samples.items()}
    evaluation, _ = evaluate(manifest, model=model)
    total = 0
    for sample in records.read(manifest, "test"):
        probabilities = np.exp(log_softmax(model.predict(sample["image"][None])[0]))
        truth = sample["original_mask"]
        mask = mask_at_size(probabilities, truth.shape, "stretch")
        total += metrics.boundary_counts(truth, mask, 3)
    found = evaluation.metrics()["original"]["boundary_f1"]
    assert found == metrics.summarise_boundaries(total)
    assert found["2px"] < found["5px"] < 1
    assert evaluation.per_class()["boundary_f1_2px"].mean() == pytest.approx(found["2px"])


def test_calibration_tells_how_sure_the_model_was_and_how_often_right(make_manifest):
    """The oracle is always right and always as sure: e^2 of e^2 + 2."""
    manifest = make_manifest()
    evaluation, _ = evaluate(manifest, model=Oracle(manifest, 2.0))
    sure = np.exp(2) / (np.exp(2) + 2)  # 0.787, in the bin from 11/15 to 12/15
    (only,) = evaluation.calibration().query("pixels > 0").to_dict("records")
    assert only == pytest.approx(
        {"low": 11 / 15, "high": 12 / 15, "pixels": 7 * 32 * 32, "confidence": sure, "accuracy": 1}
    )
    assert evaluation.metrics()["calibration_error"] == pytest.approx(1 - sure)


def test_accuracy_by_distance_to_a_boundary_adds_up_to_the_pixel_accuracy(make_manifest):
    table = ClassTable(PETS.classes[:2], ignore=(3,))
    manifest = make_manifest(table=table)
    model = Oracle(manifest)
    model.samples = {image: np.zeros_like(mask) for image, mask in model.samples.items()}
    evaluation, _ = evaluate(manifest, model=model)
    by_distance = evaluation.by_distance()
    assert by_distance["distance"].tolist() == ["1", "2", "3-4", "5-8", "9-16", ">16"]
    assert by_distance["share"].sum() == pytest.approx(1)
    accuracy = (by_distance["share"] * by_distance["accuracy"]).sum()
    assert accuracy == pytest.approx(evaluation.metrics()["network"]["pixel_accuracy"])


def test_memory_does_not_grow_with_the_number_of_test_images(make_manifest):
    def peak(count):
        manifest = make_manifest(count)
        model = Oracle(manifest)
        tracemalloc.start()
        for _ in Evaluation(model.predict, manifest, 4).predictions():
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak(10)  # imports and caches
    few, many = peak(20), peak(100)
    assert many < few + 80 * 2000, "two kilobytes an image for its row in the table, and no pictures"


def test_log_softmax_is_that_of_keras(rng):
    logits = rng.normal(0, 30, (4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(log_softmax(logits), keras.ops.log_softmax(logits), atol=1e-5)


def test_a_mask_is_scaled_by_bilinear_probabilities():
    probabilities = np.zeros((2, 2, 2), np.float32)
    probabilities[:, 0, 0] = probabilities[:, 1, 1] = 1
    assert mask_at_size(probabilities, (3, 4), "stretch").tolist() == [[0, 0, 1, 1]] * 3
    skewed = probabilities * [0.5, 1.0]  # at 3 of 8: 0.5 * 0.625 against 0.375
    assert mask_at_size(skewed.astype(np.float32), (1, 8), "stretch").tolist() == [
        [0, 0, 0, 1, 1, 1, 1, 1]
    ]


def test_the_padding_of_a_mask_is_cut_off_before_it_is_scaled():
    probabilities = np.zeros((4, 4, 3), np.float32)
    probabilities[..., 2] = 1  # padding, above and below a wide picture
    probabilities[1:3, :2] = [1, 0, 0]
    probabilities[1:3, 2:] = [0, 1, 0]
    assert mask_at_size(probabilities, (4, 8), "pad").tolist() == [[0] * 4 + [1] * 4] * 4


def test_a_mask_at_network_size_is_the_argmax(rng):
    probabilities = rng.random((16, 16, 5), np.float32)
    assert (mask_at_size(probabilities, (16, 16), "stretch") == probabilities.argmax(-1)).all()
