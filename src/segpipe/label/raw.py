"""Which pictures of a pool data/raw has already."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.progress import track

from segpipe.common.bands import Bands
from segpipe.common.index import INDEX, read_index
from segpipe.common.parallel import in_order, usable_cores
from segpipe.common.raw import RAW, read_named
from segpipe.fetch.duplicates import picture_hash
from segpipe.fetch.pictures import Decoded, decode_picture
from segpipe.fetch.sample import BadSampleError
from segpipe.predict.inputs import Source


def already_labelled(sources: Sequence[Source], bands: Bands) -> set[Source] | None:
    """Return the pictures that data/raw has with equal pixels; None where there is no data/raw.

    Only pictures of equal perceptual hash are compared. A flat picture has none, and is not found.
    """
    if not (RAW / INDEX).is_file():
        return None
    names: dict[str, set[str]] = {}
    for entry in read_index(RAW):
        if entry.hash:
            names.setdefault(entry.hash, set()).add(entry.name)
    with ThreadPoolExecutor(usable_cores()) as pool:
        hashes = in_order(lambda source: pool.submit(_hash, source, bands), sources, 64)
        shown = track(hashes, "Comparing with data/raw", total=len(sources))
        alike = {source: value for source, value in zip(sources, shown, strict=True) if value in names}
    if not alike:
        return set()
    # data/raw has the chosen bands alone.
    own: Bands = "rgb" if bands == "rgb" else (*range(1, len(bands) + 1),)
    wanted = set[str]().union(*(names[value] for value in alike.values()))
    digests = {
        decode_picture(sample["image"], sample["name"].decode(), own).digest
        for sample in read_named(wanted, "Reading data/raw")
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
