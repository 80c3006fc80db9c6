"""The samples of data/raw: those of given names, and which pictures are among them."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.progress import track

from segpipe.common.bands import Bands
from segpipe.common.errors import UserError
from segpipe.common.files import read_json
from segpipe.common.index import INDEX, read_index
from segpipe.common.parallel import in_order, usable_cores
from segpipe.common.records import SUMMARY
from segpipe.common.tfrecord import read_shard
from segpipe.fetch.duplicates import picture_hash
from segpipe.fetch.pictures import Decoded, decode_picture
from segpipe.fetch.sample import BadSampleError
from segpipe.predict.inputs import Source

RAW = Path("data/raw")


def samples(names: Collection[str], doing: str) -> Iterator[dict[str, Any]]:
    """Yield the samples of data/raw that have these names; raise UserError where one is missing."""
    summary = read_json(RAW / SUMMARY, "fetch")
    every = (
        sample
        for split in summary["splits"].values()
        for shard in split["shards"]
        for sample in read_shard(Path(RAW, shard["file"]))
    )
    chosen = (sample for sample in every if sample["name"].decode() in names)
    left = {*names}
    for sample in track(chosen, doing, total=len(names)):
        left.discard(sample["name"].decode())
        yield sample
    if left:
        raise UserError(
            f"{len(left)} of {len(names)} pictures that the model was not trained on are no longer in "
            f"{RAW}, such as {min(left)}; run `dvc repro`"
        )


def labelled(sources: Sequence[Source], bands: Bands) -> set[Source] | None:
    """Return the pictures that data/raw has too, pixel by pixel; None where there is no data/raw.

    Only pictures of equal perceptual hash are compared. A flat picture has none, and is not found.
    """
    if not (RAW / INDEX).is_file():
        return None
    names: dict[str, set[str]] = {}
    for entry in read_index(RAW):
        if entry.hash:
            names.setdefault(entry.hash, set()).add(entry.name)
    with ThreadPoolExecutor(usable_cores()) as pool:
        hashes = in_order(lambda one: pool.submit(_hash, one, bands), sources, 64)
        shown = track(hashes, "Comparing with data/raw", total=len(sources))
        alike = {source: found for source, found in zip(sources, shown, strict=True) if found in names}
    if not alike:
        return set()
    own: Bands = (
        "rgb" if bands == "rgb" else (*range(1, len(bands) + 1),)
    )  # data/raw has the chosen ones
    wanted = set[str]().union(*(names[found] for found in alike.values()))
    digests = {
        decode_picture(sample["image"], sample["name"].decode(), own).digest
        for sample in samples(wanted, "Reading data/raw")
    }
    return {source for source in alike if _decoded(source, bands).digest in digests}


def _hash(source: Source, bands: Bands) -> str:
    """Return the perceptual hash of a picture; nothing where it cannot be read."""
    try:
        return picture_hash(_decoded(source, bands))
    except (BadSampleError, OSError):
        return ""


def _decoded(source: Source, bands: Bands) -> Decoded:
    return decode_picture(source.path.read_bytes(), str(source.path), bands)
