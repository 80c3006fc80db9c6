"""Stage `fetch_encoder`: the encoder's pretrained weights as versioned data in `data/encoder`."""

import _stage  # noqa: F401

from pathlib import Path

from segpipe.config import load_params
from segpipe.errors import exits_cleanly
from segpipe.pretrained import fetch_backbone


@exits_cleanly
def main() -> None:
    """Read params, fetch, say what it is."""
    params = load_params().model.encoder
    backbone = fetch_backbone(params, Path("data/encoder"))
    kind = "pretrained weights" if backbone.pretrained else "random weights, drawn by train"
    print(f"encoder {backbone.name}, alpha {backbone.alpha}: {kind}")


if __name__ == "__main__":
    main()
