"""Stage `fetch`: the source's samples, checked, as canonical shards in `data/raw`; a tally of masks."""

import _stage  # noqa: F401

from pathlib import Path

from segpipe.common.classes import class_table
from segpipe.common.duplicates import report
from segpipe.common.errors import exits_cleanly
from segpipe.common.files import write_text
from segpipe.fetch import tally
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sources import open_source
from segpipe.params.load import load_params

RAW = Path("data/raw")


@exits_cleanly
def main() -> None:
    """Read params, fetch, print the number of samples."""
    data = load_params().data
    table, samples = class_table(data.classes, data.ignore), open_source(data)
    summary = write_raw(
        data.source_name, samples, table, data.skips_bad, data.shard_mb, RAW,
        bands=data.bands, on_near=data.on_near_duplicate, workers=data.workers,
    )  # fmt: skip
    write_text(Path("results/fetch", tally.FILE), (RAW / tally.FILE).read_text(encoding="utf-8"))
    counts = ", ".join(f"{split['samples']} {name}" for name, split in summary["splits"].items())
    for note in summary["notes"]:
        print(f"note: {note}")
    if near := summary["near_duplicates"]:
        print(report(near))
    print(f"fetched {counts} samples; left out {len(summary['left_out'])}")


if __name__ == "__main__":
    main()
