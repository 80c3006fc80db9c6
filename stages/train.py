"""Stage `train`: records and encoder to `models/model.keras` and `results/train`."""

import _stage  # noqa: F401

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from segpipe import grids
from segpipe.config import load_params
from segpipe.data.pipeline import load
from segpipe.data.records import open_records
from segpipe.errors import exits_cleanly
from segpipe.files import write_text
from segpipe.pretrained import open_backbone
from segpipe.training import loop
from segpipe.training.saving import save_model

RESULTS = Path("results/train")


@exits_cleanly
def main() -> None:
    """Read params, train, write the model and what happened."""
    params = load_params()
    manifest = open_records(Path("data/records"))
    table = manifest.classes
    data = load(manifest, "train"), load(manifest, "val")
    shown = loop.preview_samples(data[1], params.train.previews.samples)
    backbone = open_backbone(Path("data/encoder"))
    print(loop.describe_device())
    network = loop.build_model(backbone, params.model, manifest.image_size, len(table), params.seed)

    def draw(epoch: int, predictions: np.ndarray) -> None:
        pictures = zip(shown.names, shown.images, shown.masks, predictions, strict=True)
        rows = [{"label": n, "image": i, "truth": t, "prediction": p} for n, i, t, p in pictures]
        when = f"after epoch {epoch}" if epoch else "before training"
        path = RESULTS / "previews" / f"epoch-{epoch:03d}.png"
        grids.save(grids.sample_grid(rows, table, when), path)

    run = loop.train(
        network,
        data,
        params.train,
        params.seed,
        len(table),
        (shown.images, draw),
        Path("logs/live"),
    )
    save_model(run.model, Path("models/model.keras"))
    write_text(RESULTS / "history.csv", pd.DataFrame(run.history).to_csv(index=False))
    write_text(RESULTS / "params.yaml", yaml.safe_dump(loop.resolved(params, backbone), sort_keys=False))
    print(f"best validation mean IoU {run.best_mean_iou:.4f}, in epoch {run.best_epoch}")


if __name__ == "__main__":
    main()
