"""Stage `train`: records and encoder to `models/model.keras` and `results/train`."""

import _backend  # noqa: F401
import _keras  # noqa: F401
import _stage  # noqa: F401

from pathlib import Path

import pandas as pd
import yaml

from segpipe.common.devices import take_gpus
from segpipe.common.errors import exits_cleanly
from segpipe.common.files import write_json, write_text
from segpipe.common.quiet import quiet
from segpipe.common.records import open_records
from segpipe.model.pretrained import open_backbone
from segpipe.model.warm_start import open_init
from segpipe.params.load import load_params
from segpipe.train import loop, mosaics, provenance, resume
from segpipe.train.engine import current_engine
from segpipe.train.previews import drawer, sheet
from segpipe.train.samples import preview_samples, read_samples

RESULTS = Path("results/train")
LOGS = Path("logs")


@exits_cleanly
def main() -> None:
    """Read params, train or resume, write the model and what happened."""
    params = load_params()
    manifest = open_records(Path("data/records"))
    backbone = open_backbone(Path("data/encoder"), open_init(params.model.init))
    resolved = provenance.resolved(params.seed, params.model, params.train, backbone)
    code = provenance.code_files(Path("dvc.yaml"), "train")
    identity = provenance.identity(resolved, manifest, backbone, code)
    circumstances = provenance.circumstances()
    with resume.claim(identity) as run:
        engine = current_engine()
        take_gpus(engine.gpus(params.train), params.train.batch_size)
        with quiet():  # TensorFlow looks for GPUs
            device = engine.prepare(params.train)
        print(device)
        training, validation = read_samples(manifest, params.train)
        choose, drawn = (
            (mosaics.tile_samples, mosaics.sheet) if manifest.tiles else (preview_samples, sheet)
        )
        shown = choose(validation, params.train.previews.samples)
        # DVC empties the results before it runs the stage, but not the run's folder.
        draw = drawer(shown, manifest.classes, run.folder / "previews", RESULTS / "previews", drawn)
        network = loop.build_model(backbone, params.model, manifest, params.seed)
        taken = loop.prepare(network, backbone, params.train, manifest, resolved["model"])
        work = loop.Work(
            identity, manifest, training, validation, params.train, params.seed, engine, run,
            shown.images, draw, LOGS, taken,
        )  # fmt: skip
        progress = loop.train(network, work)

        summary = loop.save_calibrated(network, work, progress, Path("models/model.keras"))
        write_text(RESULTS / "history.csv", pd.DataFrame(progress.history).to_csv(index=False))
        write_text(RESULTS / "params.yaml", yaml.safe_dump(resolved, sort_keys=False))
        write_json(RESULTS / "summary.json", summary)
        log = {"fingerprint": run.fingerprint, **circumstances, "device": device}
        write_json(LOGS / "train.json", {**log, "seconds": progress.seconds})
    print(f"best validation mean IoU {progress.best_mean_iou:.4f}, in epoch {progress.best_epoch}")


if __name__ == "__main__":
    main()
