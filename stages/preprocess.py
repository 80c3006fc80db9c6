"""Stage `preprocess`: `data/raw` to fixed-size TFRecord shards in `data/records`."""

import _stage  # noqa: F401

from pathlib import Path

from segpipe.common.bands import in_words
from segpipe.common.classes import class_table
from segpipe.common.duplicates import report
from segpipe.common.errors import exits_cleanly
from segpipe.common.records import without_pixels
from segpipe.common.words import extent
from segpipe.params.load import load_params
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records


@exits_cleanly
def main() -> None:
    """Read params, resize, say what was written."""
    data = load_params().data
    manifest = write_records(
        Path("data/raw"),
        class_table(data.classes, data.ignore),
        RecordFormat.of_params(data),
        SplitRule.of_params(data, data.on_near_duplicate),
        data.shard_mb,
        Path("data/records"),
        workers=data.workers,
    )
    counts = ", ".join(f"{split['samples']} {name}" for name, split in manifest["splits"].items())
    print(f"wrote {counts} records of {extent(data.image_size)}")
    for note in manifest.get("cut", []):
        print(note)
    print(f"validation is {manifest['validation']}")
    if near := manifest["near_duplicates"]:
        print(report(near))
    if manifest["intensity"]:
        print(f"values that became 0 to 255: {in_words(manifest['bands'], manifest['intensity'])}")
    for name in without_pixels(manifest["splits"]["train"]):
        print(f"class {name} has no pixel in the training split: nothing will learn it")


if __name__ == "__main__":
    main()
