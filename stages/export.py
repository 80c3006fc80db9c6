"""Stage `export`: the model in another format, in `models/export`, proven on the test split."""

import _keras  # noqa: F401
import _stage  # noqa: F401

import sys
from pathlib import Path

from segpipe.common.errors import exits_cleanly
from segpipe.common.records import open_records
from segpipe.export import run
from segpipe.params.load import load_params


@exits_cleanly
def main() -> None:
    """Read params and the format's name, export, say how good it is."""
    params, name = load_params().export, sys.argv[1]
    target, whole = run.default_target(name), name in params.whole
    run.FORMATS[name].check(target, whole)
    trained = run.open_trained(Path("models/model.keras"), open_records(Path("data/records")))
    findings = run.export_to(trained, name, params, target, whole)
    print(
        f"{target}: mean IoU {findings['original']['mean_iou']:.4f}, {-findings['drop']:+.4f} to the "
        f"model's; {findings['bytes'] / 1e6:.1f} MB, {findings['latency_ms']:.1f} ms an image"
    )


if __name__ == "__main__":
    main()
