"""Stage `preprocess`: `data/raw` to fixed-size TFRecord shards in `data/records`."""

import _stage  # noqa: F401

from pathlib import Path

from segpipe.config import class_table, load_params
from segpipe.data.preprocess import write_records
from segpipe.errors import exits_cleanly


@exits_cleanly
def main() -> None:
    """Read params, resize, say what was written."""
    data = load_params().data
    manifest = write_records(
        Path("data/raw"),
        class_table(data),
        data.image_size,
        data.validation_share,
        data.shard_mb,
        Path("data/records"),
    )
    counts = ", ".join(f"{s['samples']} {name}" for name, s in manifest["splits"].items())
    print(f"wrote {counts} records of {data.image_size} px")


if __name__ == "__main__":
    main()
