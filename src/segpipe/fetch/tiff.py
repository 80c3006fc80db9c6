"""TIFF of any depth and number of bands."""

import io
import logging
import math
import struct
from typing import Any

import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC

from segpipe.fetch.jpeg import MOST_SCANS, scans
from segpipe.fetch.sample import BadSampleError
from segpipe.fetch.stored import Colours, Stored, check_size, several

logging.getLogger("tifffile").disabled = True  # it logs what it then raises, or what is harmless

_COMPRESSIONS = {
    COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.JPEG, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE,
    COMPRESSION.PACKBITS, COMPRESSION.ZSTD, COMPRESSION.LZMA, COMPRESSION.CCITTRLE,
    COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6,
}  # fmt: skip
"""Those whose output cannot outgrow the size that the tags give."""

_MOST_BANDS = _MOST_PAGES = 1000  # a corrupt file may list its pages in a circle
_MOST_TILE = 1 << 28  # bytes
_ORIENTATION, _NODATA = 274, 42113


def open_tiff(data: bytes, file: str) -> Stored:
    """Read the tags of a TIFF; see `open_stored`."""
    opened = tifffile.TiffFile(io.BytesIO(data))
    page = single_page(opened, file)
    _check(page, len(data), file)
    in_palette = page.photometric == PHOTOMETRIC.PALETTE
    return Stored(
        size=(page.imagelength, page.imagewidth),
        bands=3 if in_palette else page.samplesperpixel,
        decode=lambda: _samples(page, data, file),
        colours=_colours(page, file),
        orientation=int(page.tags.valueof(_ORIENTATION, 1)),
        nodata=_nodata(page),
        palette=_palette(page.colormap) if in_palette else None,
        bits=page.bitspersample,
        inverted=page.photometric == PHOTOMETRIC.MINISWHITE,
        lossy=page.compression in (COMPRESSION.OJPEG, COMPRESSION.JPEG),
    )


def single_page(opened: tifffile.TiffFile, file: str) -> tifffile.TiffPage:
    """Return the only page; smaller copies of it and masks of transparency do not count.

    Raises BadSampleError, which names `file`, where there are several or none.
    """
    pages: list[Any] = []
    for index in range(_MOST_PAGES):
        try:
            page: Any = opened.pages[index]
        except IndexError:
            break
        if not (page.is_reduced or page.is_mask):
            pages.append(page)
    if len(pages) == 1 and (opened.is_imagej or opened.is_shaped or opened.is_stk):
        # These may store a whole stack behind the tags of one page.
        planes = opened.series[0].size // max(pages[0].size, 1)
    else:
        planes = len(pages)
    if not planes:
        raise BadSampleError(file, "a TIFF without a page of full size", "one picture a file")
    if planes > 1 or pages[0].imagedepth > 1:
        count = max(planes, pages[0].imagedepth)
        raise several(file, f"{count} or more" if count == _MOST_PAGES else count, "pages")
    return pages[0]


def _check(page: Any, length: int, file: str) -> None:
    """Refuse what is too large, cut short or of a foreign kind, before anything is allocated."""
    if page.dtype is None or not isinstance(page.bitspersample, int):
        bits = f"{page.bitspersample} bits (sample format {page.sampleformat})"
        raise BadSampleError(
            file, f"a TIFF with samples of {bits}", "integers or floating-point numbers"
        )
    if page.compression not in _COMPRESSIONS:
        name = getattr(page.compression, "name", page.compression)
        expected = "none, LZW, Deflate, ZSTD, JPEG or PackBits"
        raise BadSampleError(file, f"a TIFF with compression {name}", expected)
    if page.samplesperpixel > _MOST_BANDS:
        found = f"a picture of {page.samplesperpixel} bands"
        raise BadSampleError(file, found, f"{_MOST_BANDS} at most")
    pixel = page.samplesperpixel * page.dtype.itemsize
    check_size(file, page.imagelength, page.imagewidth, page.imagewidth * pixel)
    if page.is_tiled and page.tilelength * page.tilewidth * pixel > _MOST_TILE:
        tile = f"tiles of {page.tilewidth}x{page.tilelength} pixels"
        raise BadSampleError(file, f"a TIFF in {tile}", f"{_MOST_TILE >> 20} MB a tile at most")
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(parts) != math.prod(page.chunked):
        found = f"a damaged TIFF ({len(parts)} of {math.prod(page.chunked)} strips or tiles)"
        raise BadSampleError(file, found, "a whole TIFF")
    # GDAL leaves out empty tiles: both numbers are 0 then.
    if missing := sum(start + count > length or (start > 0 and not count) for start, count in parts):
        found = f"a TIFF cut short ({missing} of {len(parts)} strips or tiles are missing)"
        raise BadSampleError(file, found, "a whole TIFF")


def _samples(page: Any, data: bytes, file: str) -> np.ndarray:
    if page.compression == COMPRESSION.JPEG:
        # A JPEG has a size of its own, whatever the tags say.
        most = page.tilewidth * page.tilelength if page.is_tiled else page.imagewidth * page.rowsperstrip
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if count and _jpeg_pixels(data[start : start + count]) > max(2 * most, 1 << 16):
                raise BadSampleError(file, "a TIFF with a JPEG larger than its tile", "a whole TIFF")
            if scans(data[start : start + count]) > MOST_SCANS:
                found = f"a TIFF with a progressive JPEG of more than {MOST_SCANS} scans"
                raise BadSampleError(file, found, "fewer; save it anew")
    samples: np.ndarray = page.asarray(maxworkers=1)  # fetch has a process a core
    if page.axes == "SYX":
        samples = np.moveaxis(samples, 0, -1)
    return samples.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)


def _jpeg_pixels(data: bytes) -> int:
    """Return the number of pixels in the frame header of a JPEG; raises struct.error without one."""
    place = 2
    while True:
        marker, length = struct.unpack(">HH", data[place : place + 4])
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return height * width
        place += 2 + length


def _colours(page: Any, file: str) -> Colours:
    kind, samples = page.photometric, page.samplesperpixel
    if kind in (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW):
        raise BadSampleError(
            file, "a camera's raw picture", "a picture that is developed, such as a JPEG"
        )
    if kind in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR) and samples >= 3:
        return "rgb"
    if kind == PHOTOMETRIC.PALETTE:
        return "palette"
    if kind == PHOTOMETRIC.SEPARATED and samples >= 4:
        return "cmyk"
    grey = kind in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
    with_alpha = samples == 2 and tuple(page.extrasamples) in ((1,), (2,))
    if grey and samples == 3:
        return "rgb"  # so do GDAL and others store three bands of more than 8 bits
    return "grey" if grey and (samples == 1 or with_alpha) else "other"


def _palette(colormap: np.ndarray) -> np.ndarray:
    """Return a palette in 8 bits; some programs write 8 bits where 16 are meant."""
    return (colormap >> 8 if colormap.max() > 255 else colormap).astype(np.uint8).T


def _nodata(page: Any) -> float | None:
    """Return the number in GDAL's tag as `Stored` gives the samples; None where there is none.

    None for NaN too, which is always invalid, and where colours or stretched bits take its place.
    """
    text = page.tags.valueof(_NODATA)
    try:
        value = float(str(text).strip().strip("\x00").replace(",", "."))
    except ValueError:
        return None
    if math.isnan(value) or page.photometric == PHOTOMETRIC.PALETTE or page.bitspersample < 8:
        return None
    if page.photometric == PHOTOMETRIC.MINISWHITE and page.dtype.kind in "iu":
        return (1 << page.bitspersample) - 1 - value if page.dtype.kind == "u" else -1 - value
    return value
