"""Names, values and colours for classes that a table lacks."""

import colorsys
import itertools
from collections.abc import Iterable, Iterator

from segpipe.common.classes import ClassTable, class_name

_SAFE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
"""Okabe and Ito's palette for colour-blind readers: https://jfly.uni-koeln.de/color/."""

GREY = "#999999"  # for the background


def proposed_rows(missing: Iterable[str | int], table: ClassTable) -> Iterator[str]:
    """Yield a line for `data.classes` for each value, colour or label that a table lacks."""
    colours = free_colours(table.colours.values())
    values = (value for value in range(1, 255) if value not in table.values)
    for entry in missing:
        if isinstance(entry, int):
            name, value, colour = f"class_{entry}", str(entry), next(colours)
        elif table.by_colour:
            name, value, colour = f"class_{entry[1:]}", f"'{entry}'", entry
        else:
            name, value, colour = class_name(entry), str(next(values, "?")), next(colours)
        yield f"{{name: {name}, value: {value}, colour: '{colour}'}}"


def free_colours(taken: Iterable[str] = ()) -> Iterator[str]:
    """Yield colours as `#rrggbb` that differ from each other and from those taken, without end."""
    used = {GREY, "#ffffff", *(colour.lower() for colour in taken)}
    for colour in itertools.chain(_SAFE, map(_hue, itertools.count())):
        if colour not in used:
            used.add(colour)
            yield colour


def _hue(number: int) -> str:
    """Return a hue: steps of the golden ratio never repeat, in three levels of lightness."""
    lightness = (0.35, 0.55, 0.75)[number % 3]
    rgb = colorsys.hls_to_rgb(number * 0.618033988749895 % 1, lightness, 0.65)
    return "#" + bytes(round(255 * channel) for channel in rgb).hex()
