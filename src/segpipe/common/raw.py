"""Read chosen samples of `data/raw`, which `fetch` writes."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from rich.progress import track

from segpipe.common.errors import UserError
from segpipe.common.files import read_json
from segpipe.common.records import SUMMARY
from segpipe.common.tfrecord import read_shard

RAW = Path("data/raw")


def read_named(names: Collection[str], doing: str) -> Iterator[dict[str, Any]]:
    """Yield the samples that have these names, in the order of the shards; `doing` names the progress.

    Raises a UserError where there is no data/raw, or where it lacks one of the samples.
    """
    summary = read_json(RAW / SUMMARY, "fetch")
    all_samples = (
        sample
        for split in summary["splits"].values()
        for shard in split["shards"]
        for sample in read_shard(RAW / shard["file"])
    )
    chosen = (sample for sample in all_samples if sample["name"].decode() in names)
    left = {*names}
    for sample in track(chosen, doing, total=len(names)):
        left.discard(sample["name"].decode())
        yield sample
    if left:
        raise UserError(
            f"{len(left)} of {len(names)} pictures of the records are no longer in {RAW}, "
            f"such as {min(left)}; run `dvc repro`"
        )
