"""Stage `train`: records and encoder to `models/model.keras` and `results/train`."""

import _backend  # noqa: F401
import _keras  # noqa: F401
import _stage  # noqa: F401

from pathlib import Path

import pandas as pd
import yaml

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import write_json, write_text
from segpipe.common.records import open_records
from segpipe.model.pretrained import open_backbone
from segpipe.model.warm_start import open_init
from segpipe.params.load import load_params
from segpipe.train import hosts, provenance, resume
from segpipe.train.job import Job

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
        job = Job(
            seed=params.seed, model=params.model, params=params.train, resolved=resolved,
            identity=identity, manifest=manifest, backbone=backbone, run=run,
            saved=Path("models/model.keras"), previews=RESULTS / "previews", logs=LOGS,
        )  # fmt: skip
        device, progress, summary = hosts.train(job)
        write_text(RESULTS / "history.csv", pd.DataFrame(progress.history).to_csv(index=False))
        write_text(RESULTS / "params.yaml", yaml.safe_dump(resolved, sort_keys=False))
        write_json(RESULTS / "summary.json", summary)
        log = {"fingerprint": run.fingerprint, **circumstances, "device": device}
        write_json(LOGS / "train.json", {**log, "seconds": progress.seconds})
    print(f"best validation mean IoU {progress.best_mean_iou:.4f}, in epoch {progress.best_epoch}")


if __name__ == "__main__":
    main()
