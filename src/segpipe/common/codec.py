"""Encode and decode the pictures and masks inside our own shards: PNG for 8 bits, TIFF for more."""

import io
import warnings

import numpy as np
from PIL import Image

_NODATA = 42113  # GDAL's tag
Image.MAX_IMAGE_PIXELS = 1 << 28  # Pillow refuses twice as many; 20,000 x 20,000 px are no bomb
# Set for the whole process: filters set around each call are not safe with threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def encode_png(image: Image.Image | np.ndarray) -> bytes:
    """Encode an RGB or single-channel uint8 image as PNG."""
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    # A copy of only the pixels, without EXIF or text chunks of the original. Compression level 1 halves
    # the time to read a mask of 12 million pixels, for a few bytes more.
    fresh = Image.frombytes(picture.mode, picture.size, picture.tobytes())
    fresh.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """Decode one of our own PNGs to a uint8 array, [height, width] or [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(data)))


def encode_tiff(pixels: np.ndarray, nodata: float | None = None) -> bytes:
    """Encode [height, width, bands] of uint8, uint16, int16 or float32 as TIFF, without loss or date.

    `nodata` is the value of pixels that hold nothing.
    """
    import tifffile  # takes a while, and photographs do not need it

    buffer = io.BytesIO()
    tags = [] if nodata is None else [(_NODATA, 2, 0, repr(nodata), True)]
    # A difference of neighbours packs better; floats have a predictor of their own.
    predictor = 3 if pixels.dtype.kind == "f" else 2
    is_grey = pixels.shape[2] == 1
    tifffile.imwrite(
        buffer,
        pixels[..., 0] if is_grey else pixels,
        photometric="minisblack",
        planarconfig=None if is_grey else "contig",
        compression="zlib",
        compressionargs={"level": 1},
        predictor=predictor,
        metadata=None,
        software=False,
        extratags=tags,
        maxworkers=1,
    )
    return buffer.getvalue()


def is_tiff(data: bytes) -> bool:
    """Return whether an encoded picture is one of `encode_tiff`."""
    return data.startswith((b"II*\x00", b"II+\x00"))


def decode_tiff(data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode one of our own TIFFs: pixels [height, width, bands], and which are `invalid_pixels`."""
    import tifffile

    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    pixels = page.asarray(maxworkers=1).reshape(page.imagelength, page.imagewidth, -1)
    nodata = page.tags.valueof(_NODATA)
    return pixels, invalid_pixels(pixels, None if nodata is None else float(nodata))


def decode_image(data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode a picture of data/raw: pixels [height, width, bands], and which are `invalid_pixels`."""
    if is_tiff(data):
        return decode_tiff(data)
    return np.asarray(Image.open(io.BytesIO(data))), None


def invalid_pixels(pixels: np.ndarray, nodata: float | None) -> np.ndarray | None:
    """Return which pixels hold nothing, bool [height, width]; None where all hold something.

    A pixel holds nothing if any band is infinite or no number, or if all bands are `nodata`.
    """
    invalid = np.zeros(pixels.shape[:2], bool)
    if pixels.dtype.kind == "f":
        for band in np.moveaxis(pixels, -1, 0):  # one by one, for less memory
            invalid |= ~np.isfinite(band)
    if nodata is not None:
        empty = np.ones(pixels.shape[:2], bool)
        for band in np.moveaxis(pixels, -1, 0):
            empty &= band == pixels.dtype.type(nodata) if _fits(nodata, pixels.dtype) else False
        invalid |= empty
    return invalid if invalid.any() else None


def _fits(value: float, kind: np.dtype) -> bool:
    return kind.kind == "f" or (value.is_integer() and np.iinfo(kind).min <= value <= np.iinfo(kind).max)
