"""The counts of each test image from which scores come, small enough for Git (`counts.json`).

The file holds a CSV table, packed by `common.packed`: a row an image, with its name and its pixels by
class.

Counts are nearly random numbers, which no compression makes much smaller: those of 4,000 images with 20
classes in each take 500 kB as they are. If the file would exceed `_SMALL` bytes, and `_BYTES_AN_IMAGE`
for each image, the counts are rounded to as many significant bits as fit. Rounding errors of the images
are independent, so the sum over them, which is scored, is more exact.
"""

import io
import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from segpipe.common.packed import pack, unpack

EXACT = 62  # significant bits that round no count
_BITS = (EXACT, *range(10, 2, -1))
_SMALL = 200_000  # bytes
_BYTES_AN_IMAGE = 50
_ABOUT = (
    "Pixels of each test image by class, read by segpipe.evaluate.counts. Next come the significant "
    "bits that are left of each count (62: all), and CSV in bzip2 in base85."
)


@dataclass(frozen=True)
class Counts:
    """The counts of test images."""

    images: list[str]  # names of the images
    classes: list[str]
    pixels: np.ndarray  # int64 [images, 3, classes], as `metrics.counts` returns them
    bits: int = EXACT  # significant bits of a count, which is off by at most 2**-bits of itself


def encode(counts: Counts) -> str:
    """Return the content of `counts.json`; counts are rounded where it would be too large."""
    most = max(_SMALL, _BYTES_AN_IMAGE * len(counts.images))
    for bits in (bits for bits in _BITS if bits <= counts.bits):
        text = json.dumps([_ABOUT, bits, _table(counts, bits)], indent=2) + "\n"
        if len(text) <= most:
            break
    return text


def decode(text: str) -> Counts:
    """Read a text that `encode` wrote. Raises ValueError where the text is something else."""
    try:
        _, bits, packed = json.loads(text)
        unpacked = io.BytesIO(unpack(packed))
        table = pd.read_csv(unpacked, dtype={"name": str}, keep_default_na=False)
        classes = [name.removeprefix("truth_") for name in table if name.startswith("truth_")]
        truth, missed, more = (
            table[[f"{kind}_{name}" for name in classes]].to_numpy(np.int64)
            for kind in ("truth", "missed", "more")
        )
        numbers = np.stack([truth - missed, truth, truth + more], axis=1)
        return Counts(table["name"].tolist(), classes, from_levels(numbers, bits), bits)
    except (OSError, TypeError, KeyError) as error:
        raise ValueError(f"it holds no such table: {error}") from None


def _table(counts: Counts, bits: int) -> str:
    """Return the packed table.

    It holds the levels of the true pixels, and how far the levels of hits and predicted pixels are from
    them: these are smaller numbers, which take less room.
    """
    hits, truth, predicted = np.moveaxis(levels(counts.pixels, bits), 1, 0)
    columns: dict[str, np.ndarray | list[str]] = {"name": counts.images}
    for number, name in enumerate(counts.classes):
        columns[f"truth_{name}"] = truth[:, number]
        columns[f"missed_{name}"] = truth[:, number] - hits[:, number]
        columns[f"more_{name}"] = predicted[:, number] - truth[:, number]
    return pack(pd.DataFrame(columns).to_csv(index=False, lineterminator="\n"))


def levels(counts: np.ndarray, bits: int) -> np.ndarray:
    """Number the counts that have at most `bits` significant bits: 0, 1, 2 and so on; round to these.

    Counts below 2**bits are their own numbers. Above, the steps double with each power of 2.
    """
    _, length = np.frexp(counts)
    shift = np.maximum(length.astype(np.int64) - bits, 0)
    return shift * 2 ** (bits - 1) + np.rint(counts / 2.0**shift).astype(np.int64)


def from_levels(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Return the counts of the numbers that `levels` gave."""
    shift = np.maximum(numbers // 2 ** (bits - 1) - 1, 0)
    return (numbers - shift * 2 ** (bits - 1)) << shift
