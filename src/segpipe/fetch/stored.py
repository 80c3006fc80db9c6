"""Pictures as their files store them: the header first, the samples on demand.

Pillow reads JPEG, 8-bit PNG, GIF, BMP and WebP (see `segpipe.fetch.pictures`); the other formats are
here and in the modules that `open_stored` imports.
"""

import contextlib
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from segpipe.common.errors import brief
from segpipe.fetch.sample import BadSampleError, TooLargeError

Colours = Literal["grey", "rgb", "cmyk", "palette", "other"]
"""The meaning of a file's bands; bands after the colours are alpha or the like."""

READABLE = "a whole image (JPEG, PNG, TIFF, JPEG 2000, DICOM, GIF, BMP or WebP)"
MOST_BYTES = 1 << 32
"""Bytes that a picture's samples may take in memory. Pillow's own limit applies to its pixels."""

PNG = "PNG of 16 bits"
CODESTREAM = b"\xff\x4f\xff\x51"  # begins JPEG 2000's data
_JPEG_2000 = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", CODESTREAM)
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Stored:
    """A picture whose header was read and passed the checks of its size."""

    size: tuple[int, int]  # height and width, not yet turned
    bands: int  # three for a palette
    decode: Callable[[], np.ndarray]  # [height, width, samples], as the file's bytes mean them
    colours: Colours
    orientation: int = 1  # EXIF's
    nodata: float | None = None  # the value of samples that hold nothing
    palette: np.ndarray | None = None  # uint8 [entries, 3]
    bits: int = 8  # of a sample; fewer than 8 are stretched to 8
    inverted: bool = False  # 0 is white
    lossy: bool = False  # whether the compression changes values


def format_of(data: bytes) -> str:
    """Return the format of a file that Pillow is not to read, by its content; empty for the others."""
    if data.startswith(_TIFF):
        return "TIFF"
    if data.startswith(PNG_SIGNATURE) and data[24:25] == b"\x10":
        return PNG
    if data.startswith(_JPEG_2000):
        return "JPEG 2000"
    if data[128:132] == b"DICM":
        return "DICOM"
    start = _unzipped(data, 352) if data.startswith(b"\x1f\x8b") else data[:352]
    return "NIfTI" if start[344:348] in (b"n+1\x00", b"ni1\x00") else ""


def open_stored(data: bytes, file: str) -> Stored:
    """Read the header of a file that `format_of` knows.

    Raises BadSampleError, which names `file`, where it is damaged, too large, or no single picture.
    """
    opener = _opener(format_of(data))
    with readable(file):
        return opener(data, file)


def _opener(kind: str) -> Callable[[bytes, str], Stored]:
    # Imported where needed: fetching photographs needs none of these libraries.
    if kind == "TIFF":
        from segpipe.fetch.tiff import open_tiff

        return open_tiff
    if kind == "DICOM":
        from segpipe.fetch.dicom import open_dicom

        return open_dicom
    if kind == "NIfTI":
        return _refuse_nifti
    from segpipe.fetch import codecs

    return codecs.open_png if kind == PNG else codecs.open_jpeg_2000


def several(file: str, count: int | str, unit: str, prefix: str = "") -> BadSampleError:
    """Return the error for a file that holds more than one picture."""
    found = f"{prefix}holds {count} {unit}; segpipe takes single pictures"
    return BadSampleError(file, found, "one picture a file")


def check_size(file: str, height: int, width: int, row_bytes: int) -> None:
    """Raise BadSampleError for an empty picture, TooLargeError for a large one; nothing is allocated."""
    most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    if height < 1 or width < 1:
        raise BadSampleError(file, f"a picture of {width}x{height} pixels", READABLE)
    if height * width > most:
        found = f"a picture of {height * width} pixels"
        raise TooLargeError(file, found, f"{most} at most; cut it into parts")
    if height * row_bytes > MOST_BYTES:
        found = f"a picture of {height * row_bytes / 1e9:.1f} GB"
        raise TooLargeError(file, found, f"{MOST_BYTES / 1e9:.1f} GB at most; cut it into parts")


@contextlib.contextmanager
def readable(file: str) -> Iterator[None]:
    """Turn any error of the libraries that read pictures into a BadSampleError that names the file."""
    try:
        yield
    except BadSampleError:
        raise
    except Image.DecompressionBombError as error:
        pixels, limit = re.findall(r"\d+", str(error))
        expected = f"{limit} at most; cut it into parts"
        raise TooLargeError(file, f"a picture of {pixels} pixels", expected) from None
    except UnidentifiedImageError:
        raise BadSampleError(file, "no image format that segpipe reads", READABLE) from None
    except Exception as error:  # damaged bytes raise nearly anything, by library
        raise BadSampleError(file, f"an unreadable image ({brief(error)})", READABLE) from None


def _refuse_nifti(data: bytes, file: str) -> Stored:
    start = _unzipped(data, 352) if data.startswith(b"\x1f\x8b") else data[:352]
    order = "<" if struct.unpack("<i", start[:4])[0] == 348 else ">"
    count, *edges = struct.unpack(f"{order}8h", start[40:56])
    edges = edges[: min(max(count, 0), 7)]
    slices = int(np.prod(edges[2:], dtype=np.int64))
    raise several(file, slices, "slices", f"a NIfTI volume of {'x'.join(map(str, edges))}: ")


def _unzipped(data: bytes, size: int) -> bytes:
    """Return the first bytes of the content of a gzip file."""
    try:
        return zlib.decompressobj(31).decompress(data[:65536], size)
    except zlib.error:
        return b""
