"""Stage `train`: records and encoder to `models/model.keras` and `results/train`."""

import _backend  # noqa: F401
import _stage  # noqa: F401

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from segpipe import grids, provenance
from segpipe.classes import ClassTable
from segpipe.config import load_params
from segpipe.data import memory
from segpipe.data.arrays import Arrays, load, locate, subset
from segpipe.data.records import open_records
from segpipe.devices import take_gpus
from segpipe.errors import exits_cleanly
from segpipe.files import write_json, write_text
from segpipe.pretrained import open_backbone
from segpipe.training import loop
from segpipe.training.callbacks import Preview
from segpipe.training.saving import save_model
from segpipe.unfinished import claim

RESULTS = Path("results/train")
LOGS = Path("logs")


@exits_cleanly
def main() -> None:
    """Read params, train from where an earlier process got to, write the model and what happened."""
    params = load_params()
    manifest, backbone = open_records(Path("data/records")), open_backbone(Path("data/encoder"))
    resolved = loop.resolved(params, backbone)
    identity = provenance.identity(resolved, manifest, backbone, _code())
    circumstances = provenance.circumstances()
    with claim(provenance.fingerprint(identity), identity) as run:
        take_gpus(params.train.devices, params.train.batch_size)
        device = loop.prepare(params.train)
        print(device)
        in_memory = memory.keeps(params.train.in_memory, manifest, memory.available())
        print(memory.describe(manifest, in_memory))
        read = load if in_memory else locate
        data = subset(read(manifest, "train"), params.train.samples), read(manifest, "val")
        shown = loop.preview_samples(data[1], params.train.previews.samples)
        # DVC empties the results before it runs the stage; what lies with the run outlasts that.
        previews = run.folder / "previews"
        previews.mkdir(exist_ok=True)
        shutil.copytree(previews, RESULTS / "previews", dirs_exist_ok=True)
        draw = _preview(shown, manifest.classes, previews)
        network = loop.build_model(backbone, params.model, manifest, params.seed)
        work = loop.Work(
            identity, manifest, *data, params.train, params.seed, run, shown.images, draw, LOGS
        )
        progress = loop.train(network, work)

        save_model(network, Path("models/model.keras"), work.card(progress))
        write_text(RESULTS / "history.csv", pd.DataFrame(progress.history).to_csv(index=False))
        write_text(RESULTS / "params.yaml", yaml.safe_dump(resolved, sort_keys=False))
        write_json(RESULTS / "summary.json", progress.summary(params.train))
        log = {"fingerprint": run.fingerprint, **circumstances, "device": device}
        write_json(LOGS / "train.json", {**log, "seconds": progress.seconds})
    print(f"best validation mean IoU {progress.best_mean_iou:.4f}, in epoch {progress.best_epoch}")


def _code() -> list[Path]:
    """The files whose change makes DVC run this stage again: it is then another run."""
    pipeline = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))
    return [Path(dep) for dep in pipeline["stages"]["train"]["deps"] if dep.endswith(".py")]


def _preview(shown: Arrays, table: ClassTable, folder: Path) -> Preview:
    def draw(epoch: int, predictions: np.ndarray) -> None:
        pictures = zip(shown.names, shown.images, shown.masks, predictions, strict=True)
        rows = [{"label": n, "image": i, "truth": t, "prediction": p} for n, i, t, p in pictures]
        path = folder / f"epoch-{epoch:03d}.png"
        when = f"after epoch {epoch}" if epoch else "before training"
        grids.save(grids.sample_grid(rows, table, when), path)
        shutil.copy2(path, RESULTS / "previews")

    return draw


if __name__ == "__main__":
    main()
