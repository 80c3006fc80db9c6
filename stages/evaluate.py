"""Stage `evaluate`: the model's scores on the test split, in `results/evaluate`."""

import _keras  # noqa: F401
import _stage  # noqa: F401

from pathlib import Path

from segpipe.common.codec import encode_png
from segpipe.common.devices import take_gpus
from segpipe.common.errors import exits_cleanly
from segpipe.common.files import replaces, write_json, write_text
from segpipe.common.quiet import quiet
from segpipe.common.records import open_records
from segpipe.common.tfrecord import write_shards
from segpipe.evaluate.counts import encode
from segpipe.evaluate.evaluation import Evaluation, absent_classes
from segpipe.evaluate.load import load_for_records
from segpipe.evaluate.tta import augmented
from segpipe.params.load import load_params

RESULTS = Path("results/evaluate")
SHARD_MB = 100


@exits_cleanly
def main() -> None:
    """Read params, predict and score, write the numbers and the predicted masks."""
    params = load_params().evaluate
    manifest = open_records(Path("data/records"))
    take_gpus()
    with quiet():  # TensorFlow looks for GPUs
        model = load_for_records(Path("models/model.keras"), manifest)
    predict = augmented(model, params.tta.flip, params.tta.scales)
    evaluation = Evaluation(predict, manifest, params.batch_size)
    predicted = (
        {"name": name.encode(), "mask": encode_png(mask)} for name, mask in evaluation.predictions()
    )
    with replaces(RESULTS / "predictions") as partial:
        partial.mkdir()
        write_shards(partial, "test", predicted, SHARD_MB)
        scores = evaluation.metrics()
    for name in ("per_image", "per_class", "confusion", "calibration", "by_distance"):
        write_text(RESULTS / f"{name}.csv", getattr(evaluation, name)().to_csv(index=False))
    write_text(RESULTS / "counts.json", encode(evaluation.counts()))
    write_json(RESULTS / "metrics.json", scores)
    for name in absent_classes(scores["original"]):
        print(f"class {name} is in no test mask and no prediction: left out of the means")
    print(f"mean IoU {scores['original']['mean_iou']:.4f} on {scores['images']} test images")


if __name__ == "__main__":
    main()
