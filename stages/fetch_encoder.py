"""Stage `fetch_encoder`: the encoder's pretrained weights as versioned data in `data/encoder`."""

import _keras  # noqa: F401
import _stage  # noqa: F401

from pathlib import Path

from segpipe.common.errors import exits_cleanly
from segpipe.common.quiet import quiet
from segpipe.model.pretrained import fetch_backbone
from segpipe.params.load import load_params


@exits_cleanly
def main() -> None:
    """Read params, fetch, say what it is."""
    params = load_params().model.encoder
    with quiet():  # the first computation finds the devices, and says so
        backbone = fetch_backbone(params, Path("data/encoder"))
    kind = "pretrained weights" if backbone.pretrained else "random weights, drawn by train"
    print(f"encoder {backbone.name}, alpha {backbone.alpha}: {kind}")


if __name__ == "__main__":
    main()
