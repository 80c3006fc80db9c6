"""Files that are written for one picture, each whole or not at all."""

import contextlib
import errno
import hashlib
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageColor

from segpipe.common.bands import displayed
from segpipe.common.classes import ClassTable
from segpipe.common.errors import brief
from segpipe.fetch.sample import BadSampleError

ProbabilityFormat = Literal["npz", "png"]

# With zlib's run-length strategy: twice as fast on masks as its default, and smaller.
PNG_OF_MASKS = {"compress_level": 1, "compress_type": 3}
_STRIP = 512  # rows
_MOST_JPEG = 65_500  # pixels: the longest edge that libjpeg writes


def write_mask(path: Path, mask: np.ndarray, table: ClassTable) -> None:
    """Write a mask (class indices, uint8 [height, width]) as a PNG that training reads as such."""
    picture = mask_picture(mask, table)
    with written_atomically(path) as partial:
        picture.save(partial, "PNG", **PNG_OF_MASKS)


def mask_picture(mask: np.ndarray, table: ClassTable) -> Image.Image:
    """Return a mask (class indices, uint8 [height, width]) as a picture with a palette."""
    values, palette = file_values(table)
    picture = Image.fromarray(values[mask])
    picture.putpalette(palette.tobytes())
    return picture


def file_values(table: ClassTable) -> tuple[np.ndarray, np.ndarray]:
    """Return the value of each class index in mask files, uint8 [256], and their palette, uint8 [n, 3].

    Pixels hold the table's file values, the palette its colours. Where file values are colours, pixels
    hold class indices, and the palette the file values.
    """
    palette = np.zeros((256, 3), np.uint8)
    values = np.zeros(256, np.uint8)
    for index, (c, value) in enumerate(zip(table.classes, table.file_values, strict=True)):
        value, colour = (index, value) if isinstance(value, str) else (value, c.colour)
        values[index] = value
        palette[value] = ImageColor.getrgb(colour)
    return values, palette[: int(values.max()) + 1]


def numbers(table: ClassTable) -> str:
    """Return the pixel of each class in mask files in one line, for people."""
    values, _ = file_values(table)
    return ", ".join(f"{value} = {name}" for value, name in zip(values, table.names, strict=False))


def write_overlay(path: Path, pixels: np.ndarray, mask: np.ndarray, table: ClassTable) -> None:
    """Write the overlay of a picture as JPEG."""
    picture = overlay(pixels, mask, table)
    with written_atomically(path) as partial:
        picture.save(partial, "JPEG", quality=90)


def overlay(pixels: np.ndarray, mask: np.ndarray, table: ClassTable) -> Image.Image:
    """Return pixels, uint8 [height, width, bands], half and half with the classes' colours.

    A picture too large for JPEG is reduced to every n-th pixel.
    """
    step = -(-max(mask.shape) // _MOST_JPEG)
    pixels, mask = pixels[::step, ::step], mask[::step, ::step]
    picture = Image.new("RGB", mask.shape[::-1])
    # Strip by strip: more copies of a large picture may not fit into memory.
    for top in range(0, picture.height, _STRIP):
        strip = Image.fromarray(np.ascontiguousarray(displayed(pixels[top : top + _STRIP])))
        colours = Image.fromarray(mask[top : top + _STRIP])
        colours.putpalette(table.palette.tobytes())
        picture.paste(Image.blend(strip, colours.convert("RGB"), 0.5), (0, top))
    return picture


def write_npz(path: Path, channels: Iterable[np.ndarray], names: list[str]) -> None:
    """Write probabilities to `PATH.npz`: an array a class, by its name, uint16, where 65535 is 1.

    `channels` are float32 [height, width] in 0..1, class after class.
    """
    with (
        written_atomically(path.with_name(f"{path.name}.npz")) as partial,
        zipfile.ZipFile(partial, "w") as archive,
    ):
        for name, channel in zip(names, channels, strict=True):
            member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: equal bytes every time
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, _in_16_bits(channel), allow_pickle=False)


def write_pngs(folder: Path, channels: Iterable[np.ndarray], names: list[str]) -> None:
    """Write probabilities as 16-bit grey PNGs, `INDEX_NAME.png`; arguments as `write_npz`."""
    for index, (name, channel) in enumerate(zip(names, channels, strict=True)):
        safe = re.sub(r"[^\w-]", "_", name)
        with written_atomically(folder / f"{index}_{safe}.png") as partial:
            Image.fromarray(_in_16_bits(channel)).save(partial, "PNG", compress_level=1)


def valid_pixels_by_class(mask: np.ndarray, invalid: np.ndarray | None, table: ClassTable) -> np.ndarray:
    """Return the number of valid pixels of each class, int64 [classes].

    `mask` holds class indices, uint8 [height, width]; `invalid` is bool of that shape, or None.
    """
    counts = np.zeros(len(table), np.int64)
    for top in range(0, len(mask), _STRIP):  # bincount takes 8 bytes a pixel
        rows = mask[top : top + _STRIP]
        valid = rows if invalid is None else rows[~invalid[top : top + _STRIP]]
        counts += np.bincount(valid.ravel(), minlength=len(table))
    return counts


WRITERS = {"npz": write_npz, "png": write_pngs}


def _in_16_bits(channel: np.ndarray) -> np.ndarray:
    return (channel * np.float32(65535)).round().astype(np.uint16)


@contextlib.contextmanager
def blamed_on(picture: Path) -> Iterator[None]:
    """Turn an error that concerns one picture alone into a BadSampleError, which names the picture.

    Other errors, such as a full disk, concern every picture.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            found = "a name that is too long for a file that is written of it"
            raise BadSampleError(str(picture), found, "a shorter name") from None
        if error.errno is None:  # of a library
            found = f"what is written of it cannot be ({brief(error)})"
            raise BadSampleError(str(picture), found, "a picture that files can hold") from None
        raise


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to `path` if the block succeeds.

    Unlike `files.replaces` it does not wait for the disk, which takes longer than the prediction: after
    a power cut the same command writes all files again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    partial = path.with_name(f".{short}.partial")  # the longest file names cannot be made longer
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
