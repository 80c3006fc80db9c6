"""Georeferenced rasters: their masks have the same place on earth; both are read and written by window.

Needs the extra `geo` (rasterio). A row of tiles is read, predicted and written at a time, so memory
grows with the raster's width alone.
"""

import importlib.util
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from tifffile import PHOTOMETRIC

from segpipe.common.classes import IGNORE, ClassTable
from segpipe.common.codec import invalid_pixels
from segpipe.fetch.pictures import DEPTHS
from segpipe.fetch.sample import BadSampleError
from segpipe.fetch.tiff import single_page
from segpipe.predict.images import Input
from segpipe.predict.outputs import file_values, valid_pixels_by_class, written_atomically

_PLACES = (34735, 33550, 33922, 34264)  # GeoTIFF's tags of keys, scale, tie points and transform
_ORIENTATION = 274
_PLAIN = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)
_CACHE_MB = 128  # of GDAL: by default it takes a twentieth of the memory
_SAMPLED = 1024  # pixels: the longer edge, at most, of the sample that `Raster.remark` judges
_STRIP = 512  # rows
_OVERLAY = 4096  # pixels: the longer edge of an overlay, at most
_DAMAGED = (OSError, ValueError, TypeError, IndexError, struct.error, tifffile.TiffFileError)


AVAILABLE = importlib.util.find_spec("rasterio") is not None
_PNG = "a GeoTIFF, whose mask is a PNG without its place"


def not_placed(path: Path) -> str:
    """Say why a mask has no place although its picture has one; empty where the picture has none."""
    try:
        with tifffile.TiffFile(path) as opened:
            page: Any = opened.pages[0]
            placed = any(tag in page.tags for tag in _PLACES)
    except _DAMAGED:
        return ""
    why = "since GDAL reads it otherwise" if AVAILABLE else "pip install -e '.[geo]' places it"
    return f"{_PNG}; {why}" if placed else ""


def georeferenced_size(path: Path) -> tuple[int, int] | None:
    """Return the height and width of a TIFF that says where on earth it lies; None for other files.

    None too where GDAL would not read it as training does: its numbers are not its pixels (a palette,
    white as 0, less than 8 bits), or it has several pages.
    """
    try:
        with tifffile.TiffFile(path) as opened:
            page: Any = single_page(opened, str(path))
            if page.index:
                return None
            placed = any(tag in page.tags for tag in _PLACES) and page.tags.valueof(_ORIENTATION, 1) == 1
            plain = page.photometric in _PLAIN and page.bitspersample >= 8
            return (page.imagelength, page.imagewidth) if placed and plain else None
    except (*_DAMAGED, BadSampleError):
        return None


@dataclass(frozen=True)
class Raster:
    """An open raster, as the network's input sees it."""

    dataset: Any  # of rasterio
    input: Input
    file: str
    bands: list[int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.dataset.height, self.dataset.width

    def read(self, top: int, left: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Read a window: uint8 [*size, bands], black beyond the raster, and its invalid pixels.

        Those are bool [height, width] within the raster; None where all are valid.
        """
        height, width = (min(size[0], self.size[0] - top), min(size[1], self.size[1] - left))
        window = ((top, top + height), (left, left + width))
        pixels = np.moveaxis(self._samples(window), 0, -1)
        invalid = invalid_pixels(pixels, self.dataset.nodata)
        seen = self.input.levels.in_8_bits(pixels, invalid)
        if (height, width) == size:
            return seen, invalid
        filled = np.zeros((*size, seen.shape[2]), np.uint8)
        filled[:height, :width] = seen
        return filled, invalid

    def tile(self, top: int, left: int) -> np.ndarray:
        """Read a tile of the network's size."""
        return self.read(top, left, self.input.size)[0]

    def remark(self) -> str:
        """Say why the model may not know such pictures, by every n-th pixel; empty if it should."""
        step = -(-max(self.size) // _SAMPLED)
        shape = (-(-self.size[0] // step), -(-self.size[1] // step))
        pixels = np.moveaxis(self._samples(None, (len(self.bands), *shape)), 0, -1)
        return self.input.remark(pixels, invalid_pixels(pixels, self.dataset.nodata))

    def _samples(self, window: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
        from rasterio.errors import RasterioError

        try:
            samples = self.dataset.read(self.bands, window=window, out_shape=shape)
        except RasterioError as error:
            raise BadSampleError(
                self.file, f"an unreadable raster ({error})", "a whole GeoTIFF"
            ) from None
        if samples.dtype.name in DEPTHS:
            return samples
        return samples.astype(np.int16 if samples.dtype == np.int8 else np.float32)


@contextmanager
def opened(path: Path, model_input: Input) -> Iterator[Raster]:
    """Open a raster, to read it as `model_input` asks, until the block ends.

    Raises BadSampleError where it cannot be read or lacks bands.
    """
    import rasterio
    from rasterio.errors import RasterioError

    try:
        dataset = rasterio.open(path)
    except RasterioError as error:
        raise BadSampleError(str(path), f"an unreadable raster ({error})", "a whole GeoTIFF") from None
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB), dataset:
        yield Raster(dataset, model_input, str(path), _bands(dataset, model_input, str(path)))


def _bands(dataset: Any, model_input: Input, file: str) -> list[int]:
    """Return the numbers of the bands that the network sees."""
    if model_input.bands != "rgb":
        if max(model_input.bands) > dataset.count:
            found = f"{dataset.count} band{'s' * (dataset.count > 1)} in the file"
            raise BadSampleError(file, found, model_input.expected)
        return list(model_input.bands)
    kinds = [kind.name for kind in dataset.colorinterp]
    if dataset.count == 1 or kinds == ["gray", "alpha"]:
        return [1]
    if dataset.count == 3 or kinds[:3] == ["red", "green", "blue"]:
        return [1, 2, 3]
    raise BadSampleError(file, f"{dataset.count} bands that are no RGB", model_input.expected)


@contextmanager
def geotiff_writer(path: Path, raster: Raster, table: ClassTable) -> Iterator[Callable[..., None]]:
    """Write a mask as GeoTIFF with the raster's place; yield the function that writes rows of it.

    The function takes the number of the first row, class indices uint8 [rows, width], and the invalid
    pixels, bool [rows, width] or None: they get the no-data value, which is a value that the table
    ignores, if there is one. The file appears once the block succeeds.
    """
    import rasterio

    values, palette = file_values(table)
    ignored = (value for value in table.ignore if isinstance(value, int))
    free = (number for number in range(255, -1, -1) if number not in values[: len(table)])
    nodata = next(ignored, next(free, None))
    source = raster.dataset
    height, width = raster.size
    with written_atomically(path) as partial, rasterio.open(
        partial, "w", driver="GTiff", dtype="uint8", count=1, height=height, width=width,
        crs=source.crs, transform=source.transform, nodata=nodata, tiled=True, blockxsize=256,
        blockysize=256, compress="deflate", zlevel=1, BIGTIFF="IF_SAFER",
    ) as target:  # fmt: skip
        points, points_crs = source.gcps
        if points:
            target.gcps = (points, points_crs)
        target.write_colormap(1, {n: tuple(map(int, rgb)) for n, rgb in enumerate(palette)})

        def write(top: int, mask: np.ndarray, invalid: np.ndarray | None) -> None:
            rows = values[mask]
            if invalid is not None and nodata is not None:
                rows[invalid] = nodata
            window = ((top, top + len(rows)), (0, width))
            target.write(rows, 1, window=window)

        yield write


def write_mask(path: Path, mask: np.ndarray, raster: Raster, table: ClassTable) -> np.ndarray:
    """Write a whole mask, class indices uint8 [height, width], as GeoTIFF with the raster's place.

    Returns the number of valid pixels of each class.
    """
    counts = np.zeros(len(table), np.int64)
    with geotiff_writer(path, raster, table) as write:
        for top in range(0, len(mask), _STRIP):
            rows = mask[top : top + _STRIP]
            _, invalid = raster.read(top, 0, rows.shape)
            write(top, rows, invalid)
            counts += valid_pixels_by_class(rows, invalid, table)
    return counts


class Overlay:
    """Every n-th pixel of a raster and of its mask, as large as an overlay may be."""

    def __init__(self, raster: Raster) -> None:
        self.step = -(-max(raster.size) // _OVERLAY)
        height, width = (-(-edge // self.step) for edge in raster.size)
        self.pixels = np.zeros((height, width, raster.input.levels.bands), np.uint8)
        self.mask = np.full((height, width), IGNORE, np.uint8)

    def add(self, top: int, pixels: np.ndarray, mask: np.ndarray) -> None:
        """Take rows from `top` on; they must come top to bottom.

        `pixels` are uint8 [rows, width, bands], `mask` is uint8 [rows, width].
        """
        first = -top % self.step
        rows = slice((top + first) // self.step, -(-(top + len(mask)) // self.step))
        self.pixels[rows] = pixels[first :: self.step, :: self.step]
        self.mask[rows] = mask[first :: self.step, :: self.step]
