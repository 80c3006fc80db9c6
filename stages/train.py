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
from segpipe.common.records import open_records
from segpipe.model.pretrained import open_backbone
from segpipe.params.load import load_params
from segpipe.train import loop, memory, provenance
from segpipe.train.arrays import load, locate, subset
from segpipe.train.previews import drawer
from segpipe.train.saving import save_model
from segpipe.train.unfinished import claim

RESULTS = Path("results/train")
LOGS = Path("logs")


@exits_cleanly
def main() -> None:
    """Read params, train from where an earlier process got to, write the model and what happened."""
    params = load_params()
    manifest, backbone = open_records(Path("data/records")), open_backbone(Path("data/encoder"))
    resolved = provenance.resolved(params.seed, params.model, params.train, backbone)
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
        draw = drawer(shown, manifest.classes, run.folder / "previews", RESULTS / "previews")
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
    deps = [Path(dep) for dep in pipeline["stages"]["train"]["deps"]]
    files = (file for dep in deps for file in (dep, *dep.rglob("*.py")))
    return [file for file in files if file.suffix == ".py"]


if __name__ == "__main__":
    main()
