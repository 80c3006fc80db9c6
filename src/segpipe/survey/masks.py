"""Statistics of one mask: the pixels of each value and colour, from one decode."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from segpipe.fetch.integrity import mask_pixels, refuse_alpha
from segpipe.fetch.pillow import open_whole, orientation_of
from segpipe.fetch.sample import BadSampleError, Mask
from segpipe.fetch.stored import Stored, format_of, open_stored

_PNG_DEPTH = 24  # where a PNG says how many bits a sample has
MANY = 1024  # masks of more colours get no class table, so these are not counted

WHITE_AS_0 = " with white as 0"
"""Ends the kind of such masks. Their numbers count as stored, since tifffile writes booleans so, with
True as 1; their colours count as seen."""

Counts = Mapping[int | str, int]  # pixels by number, or by colour as `#rrggbb`

_MODES = {"1": "1 bit", "L": "grey", "LA": "grey", "P": "palette", "RGBA": "RGB"}


@dataclass(frozen=True)
class MaskStats:
    """The values and colours of one mask."""

    size: tuple[int, int]  # height and width, as stored
    kind: str  # format and mode of the file
    numbers: Counts | None  # the mask as numbers; None where it can only be read by colour
    colours: Counts | None = None  # the mask as colours; None where they are too many, or none
    palette: Mapping[int, str] = field(default_factory=dict)  # colours that the file gives to numbers
    lossy: bool = False  # whether the format changes values
    orientation: int = 1  # EXIF's


def mask_stats(mask: Mask, file: str) -> MaskStats:
    """Count a mask's values as `fetch` reads them. Raises BadSampleError, which names `file`."""
    if not isinstance(mask, bytes):
        return MaskStats((mask.shape[0], mask.shape[1]), "drawn", _counted(mask))
    if known := format_of(mask):
        return _of_other(mask, known, file)
    drawing = open_whole(mask, file)
    refuse_alpha(drawing, file)
    size, mode = (drawing.height, drawing.width), _MODES.get(drawing.mode, drawing.mode)
    # Programs that write a GIF renumber its palette, so that its indices mean nothing.
    by_index = mode in ("1 bit", "grey", "palette") and (drawing.format != "GIF" or mode == "grey")
    numbers, colours, palette = _of_one_channel(drawing) if by_index else _of_colours(drawing)
    depth = mask[_PNG_DEPTH] if drawing.format == "PNG" and mode == "grey" else 8
    bits = f" of {depth} bits" if depth < 8 else ""
    lossy = drawing.format == "JPEG" or (drawing.format == "WEBP" and _is_lossy_webp(mask))
    turn = orientation_of(drawing)
    return MaskStats(size, f"{drawing.format} {mode}{bits}", numbers, colours, palette, lossy, turn)


def _is_lossy_webp(data: bytes) -> bool:
    """Return whether the pixels are in a chunk `VP8 `; `VP8L` is lossless."""
    place = 12
    while (chunk := data[place : place + 4]) not in (b"VP8 ", b"VP8L", b""):
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return chunk == b"VP8 "


def _of_other(mask: bytes, known: str, file: str) -> MaskStats:
    """Count the values of a mask that Pillow does not read."""
    stored = open_stored(mask, file)
    counted = _counts_of(stored, mask, known, file)
    return dataclasses.replace(counted, lossy=stored.lossy, orientation=stored.orientation)


def _counts_of(stored: Stored, mask: bytes, known: str, file: str) -> MaskStats:
    by_index = stored.colours in ("grey", "palette")
    pixels, _ = mask_pixels(mask, file, not by_index)
    if not by_index:
        numbers, colours, _ = _of_colours(Image.fromarray(pixels))
        return MaskStats(stored.size, f"{known} {stored.colours}", numbers, colours)
    counts, kind = _counted(pixels), f"{known} {stored.colours}"
    if stored.palette is None and (stored.inverted or stored.bits < 8):  # numbers are not what is seen
        kind += WHITE_AS_0 if stored.inverted else ""
        return MaskStats(stored.size, kind, counts, _seen_colours(mask, file))
    shown = stored.palette if stored.palette is not None else np.arange(256).repeat(3).reshape(-1, 3)
    codes = {int(value): _code(shown[int(value)].tolist()) for value in counts}
    colours = Counter[int | str]()
    for value, count in counts.items():
        colours[codes[int(value)]] += count
    palette = codes if stored.palette is not None else {}
    return MaskStats(stored.size, kind, counts, colours, palette)


def _counted(values: np.ndarray) -> dict[int | str, int]:
    return {value: count for value, count in enumerate(np.bincount(values.ravel()).tolist()) if count}


def _of_one_channel(drawing: Image.Image) -> tuple[Counts, Counts, dict[int, str]]:
    channel = drawing.getchannel(0)
    counts = {level: count for level, count in enumerate(channel.histogram()) if count}
    every = channel.crop((0, 0, 256, 1))  # keeps the palette
    every.putdata(range(256))
    rgb = np.asarray(every.convert("RGB"))[0]
    codes = {level: _code(rgb[level].tolist()) for level in counts}
    colours, numbers = Counter[int | str](), Counter[int | str]()
    for level, count in counts.items():
        colours[codes[level]] += count
        numbers[int(level > 0) if drawing.mode == "1" else level] += count
    return numbers, colours, codes if drawing.mode == "P" else {}


def _of_colours(drawing: Image.Image) -> tuple[Counts | None, Counts | None, dict[int, str]]:
    pairs: Any = drawing.convert("RGB").getcolors(MANY)
    if not pairs:
        return None, None, {}
    grey = drawing.mode != "CMYK" and all(red == green == blue for _, (red, green, blue) in pairs)
    numbers = {red: count for count, (red, _, _) in pairs} if grey else None
    return numbers, {_code(colour): count for count, colour in pairs}, {}


def _seen_colours(mask: bytes, file: str) -> Counts | None:
    """Count the colours that `fetch` reads; None where its numbers are no colours, such as floats."""
    with contextlib.suppress(BadSampleError):
        return _of_colours(Image.fromarray(mask_pixels(mask, file, True)[0]))[1]
    return None


def _code(rgb: Iterable[int]) -> str:
    """Return a colour as `#rrggbb`."""
    return "#" + bytes(rgb).hex()
