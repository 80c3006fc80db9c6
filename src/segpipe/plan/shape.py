"""The network's input that keeps the thinnest class visible."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from segpipe.common.records import Resize
from segpipe.common.words import extent

LEAST, WANTED = 2.0, 3.0  # thickness of the thinnest class at the network, pixels
# Measured on drawn cells and streets: true masks scaled to 2 px and back keep an IoU of 0.74, to 3 px
# of 0.83, to 4 px of 0.85.
_EDGES = (128, 192, 256, 320)  # shorter edges of a stretched picture, pixels
_LONGEST = 4096  # pixels: the longest edge that `data.image_size` may have
_TILES = (128, 192, 256)  # edges of a tile
_OBJECTS = 8  # a tile's edge is at least so many times the thickness of typical objects
_FEWEST_OBJECTS = 4  # a tile that is narrower than so many shows parts of objects
_SQUARE = 1.25  # pictures up to this ratio of their edges are stretched to a square

Size = tuple[int, int]  # height and width, pixels


@dataclass(frozen=True)
class Input:
    """How pictures become the network's input: `data.resize`, `image_size` and `tiles.scale`."""

    resize: Resize
    size: Size
    scale: float = 1.0  # used for tiles alone

    def factor(self, picture: Size) -> float:
        """Return the factor between a picture and what the network sees, of the edge that loses most."""
        if self.resize == "tiles":
            return self.scale
        return min(edge / whole for edge, whole in zip(self.size, picture, strict=True))


@dataclass(frozen=True)
class Proposal:
    """An input, and the reason for each of its params."""

    input: Input
    resize: str
    size: str
    scale: str = ""


def typical_size(sizes: Sequence[Size]) -> Size:
    """Return the size of the picture in the middle, by area."""
    return sorted(sizes, key=lambda size: (size[0] * size[1], size))[len(sizes) // 2]


def too_thin(thickness: Mapping[str, float], picture: Size, now: Input) -> tuple[str, float] | None:
    """Return the thinnest class and its pixels at the network if these are too few to learn it."""
    if not thickness:
        return None
    name = min(thickness, key=thickness.__getitem__)
    here = thickness[name] * now.factor(picture)
    return (name, here) if here < LEAST else None


def propose(thickness: Mapping[str, float], picture: Size, now: Input) -> Proposal:
    """Propose an input for classes of some thickness, thinnest first, in pictures of a typical size."""
    if not thickness:
        return Proposal(now, "no class could be measured", "as it is")
    name, thin = min(thickness.items(), key=lambda item: item[1])
    measured = f"{name} is {thin:.3g} px thick in pictures of {extent(picture)}"

    def described(chosen: Input) -> str:
        return f"{measured}, and {thin * chosen.factor(picture):.2g} px at the network"

    if now.resize != "tiles" and not too_thin(thickness, picture, now):
        return Proposal(now, described(now), "enough for the thinnest class")
    for edge in _EDGES:
        chosen = Input("stretch", _with_aspect(edge, picture))
        factor = chosen.factor(picture)
        if max(chosen.size) > _LONGEST:
            break
        if thin * factor >= WANTED or factor >= 1:
            enlarged = f"{factor:.3g} times the pictures' own resolution"
            why = enlarged if factor >= 1 else "the smallest that keeps it"
            return Proposal(chosen, described(chosen), why)
    tiles, why = _tiles(thickness, picture, thin)
    largest = Input("stretch", _with_aspect(_EDGES[-1], picture)).factor(picture)
    squeezed = f"{measured}; stretched to {_EDGES[-1]} px it would be {thin * largest:.2g} px"
    return Proposal(tiles, squeezed, why, f"makes {name} {thin * tiles.scale:.2g} px thick")


def _tiles(thickness: Mapping[str, float], picture: Size, thin: float) -> tuple[Input, str]:
    """Return tiles that show the thinnest class, and why they have their size."""
    if thin >= LEAST:
        scale = max(0.1, round(20 * min(1.0, WANTED / thin)) / 20)
    else:
        scale = min(2.0, math.ceil(20 * LEAST / thin - 1e-9) / 20)  # rounded down, it would be too thin
    needed = _OBJECTS * _typical_object(thickness, picture) * scale
    edge = next((edge for edge in _TILES if edge >= needed), _TILES[-1])
    return Input("tiles", (edge, edge), scale), _of_objects(thickness, picture, scale)


def coarser(thickness: Mapping[str, float], picture: Size, now: Input) -> tuple[float, Input] | None:
    """Return the thickness of typical objects at the network, and tiles that fit, if tiles are too fine.

    Tiles are too fine if they are less than 4 such objects wide, and half their scale is enough.
    """
    if now.resize != "tiles" or not thickness:
        return None
    thick = _typical_object(thickness, picture) * now.scale
    tiles, _ = _tiles(thickness, picture, min(thickness.values()))
    too_fine = min(now.size) < _FEWEST_OBJECTS * thick and tiles.scale <= now.scale / 2
    return (thick, tiles) if too_fine else None


def finer(
    proposal: Proposal, thickness: Mapping[str, float], picture: Size, fits: Callable[[float], bool]
) -> Proposal:
    """Return tiles of a larger scale, up to the pictures' own, if the time has room for them.

    `fits` gets the factor by which the number of tiles grows. A tile keeps its size, and remains many
    times as wide as typical objects are thick.
    """
    now = proposal.input
    if now.resize != "tiles" or not thickness:
        return proposal
    most = min(1.0, now.size[0] / (_OBJECTS * _typical_object(thickness, picture)))
    scales = [n / 20 for n in range(round(20 * now.scale) + 1, int(20 * most) + 1)]
    scale = next((scale for scale in reversed(scales) if fits((scale / now.scale) ** 2)), now.scale)
    if scale == now.scale:
        return proposal
    name, thin = min(thickness.items(), key=lambda item: item[1])
    why = f"makes {name} {thin * scale:.2g} px thick; the time has room for so many tiles"
    size = _of_objects(thickness, picture, scale)
    return Proposal(dataclasses.replace(now, scale=scale), proposal.resize, size, why)


def _of_objects(thickness: Mapping[str, float], picture: Size, scale: float) -> str:
    thick = _typical_object(thickness, picture) * scale
    return f"typical objects are {thick:.2g} px thick at the network"


def _typical_object(thickness: Mapping[str, float], picture: Size) -> float:
    """Return the median thickness of the classes without the background (thickest) and large regions."""
    *objects, _ = sorted(thickness.values())
    return median([t for t in objects if t <= min(picture) / 4] or [min(thickness.values())])


def _with_aspect(edge: int, picture: Size) -> Size:
    """Return a size with this shorter edge and nearly the shape of a picture, in multiples of 32."""
    ratio = max(picture) / min(picture)
    longer = edge if ratio <= _SQUARE else round(edge * ratio / 32) * 32
    return (edge, longer) if picture[1] >= picture[0] else (longer, edge)
