"""Stage `preprocess`: `data/raw` to fixed-size TFRecord shards in `data/records`."""

import _stage  # noqa: F401

from pathlib import Path

from segpipe.config import class_table, load_params
from segpipe.data.preprocess import write_records
from segpipe.data.weights import without_pixels
from segpipe.errors import exits_cleanly
from segpipe.words import extent


@exits_cleanly
def main() -> None:
    """Read params, resize, say what was written."""
    data = load_params().data
    manifest = write_records(
        Path("data/raw"),
        class_table(data),
        data.size,
        data.resize,
        data.validation_share,
        data.shard_mb,
        Path("data/records"),
    )
    counts = ", ".join(f"{s['samples']} {name}" for name, s in manifest["splits"].items())
    print(f"wrote {counts} records of {extent(data.size)}")
    for name in without_pixels(manifest["splits"]["train"]):
        print(f"class {name} has no pixel in the training split: nothing will learn it")


if __name__ == "__main__":
    main()
