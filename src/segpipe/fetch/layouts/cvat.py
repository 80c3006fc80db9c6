"""CVAT for images 1.1: `annotations.xml` with the shapes of all pictures (https://docs.cvat.ai).

Polygons, masks, boxes and ellipses are drawn by their `z_order`, equal ones in the order of the file, as
CVAT shows them. Lines, points, cuboids and skeletons are counted, not drawn. A picture without shapes
has nothing on it. The split is the picture's subset, else the word `train`, `val` or `test` in the name
of the XML file or of a folder.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

import numpy as np

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, regions, texts
from segpipe.fetch.sample import Note, Problem, Samples

_DRAWN = ("polygon", "mask", "box", "ellipse")


@dataclass(frozen=True)
class Shape:
    """One shape, with the attributes that the file gives it."""

    kind: str
    attributes: dict[str, str]

    @property
    def label(self) -> str:
        """The name of its label."""
        return self.attributes.get("label", "")

    def draw(self, drawing: np.ndarray, number: int) -> None:
        """Set its pixels to `number` (see `regions.Region`)."""
        if self.kind == "mask":
            self._stamp(drawing, number)
        elif self.kind == "polygon":
            pairs = (pair.split(",") for pair in self.attributes["points"].split(";"))
            regions.fill(drawing, [(float(x), float(y)) for x, y in pairs], number)
        else:
            regions.fill(drawing, self._turned(), number)

    def _turned(self) -> np.ndarray:
        """Return the outline of a box or an ellipse; both turn around their middle."""
        if self.kind == "box":
            left, top, right, bottom = self._numbers("xtl", "ytl", "xbr", "ybr")
            points = regions.rectangle(left, top, right, bottom)
            x, y = (left + right) / 2, (top + bottom) / 2
        else:
            x, y, across, down = self._numbers("cx", "cy", "rx", "ry")
            points = regions.ellipse(x, y, across, down)
        return regions.turned(points, float(self.attributes.get("rotation", 0)), x, y)

    def _numbers(self, *keys: str) -> list[float]:
        return [float(self.attributes[key]) for key in keys]

    def _stamp(self, drawing: np.ndarray, number: int) -> None:
        """Set the pixels of a mask: runs of 0 and of 1 in turn along the rows of its box."""
        left, top, width, height = (
            int(self.attributes[key]) for key in ("left", "top", "width", "height")
        )
        box = f"{width}x{height} pixels at {left}, {top}"
        fits = left + width <= drawing.shape[1] and top + height <= drawing.shape[0]
        if not fits or min(left, top) < 0 or min(width, height) < 1:
            raise ValueError(f"a mask of {box}, beyond the picture")
        text = self.attributes["rle"]
        if not text.strip() or text.count(",") > width * height:  # a run has a pixel; the first may not
            raise ValueError(f"{text.count(',')} runs in {box}")
        if not text.isascii():  # numpy 2.4 reads other characters beyond a table, and may crash
            raise ValueError(f"runs that are no numbers in {box}")
        runs = np.loadtxt([text], np.int64, delimiter=",", ndmin=1, comments=None)
        if runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
            raise ValueError(f"runs that do not add up to {box}")
        covered = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
        drawing[top : top + height, left : left + width][covered] = number


@dataclass
class _Export:
    """The content of a file: labels in their order, and pictures with their attributes and shapes."""

    labels: list[str] = field(default_factory=list)
    pictures: list[tuple[dict[str, str], list[Shape]]] = field(default_factory=list)
    not_drawn: Counter[str] = field(default_factory=Counter)
    tracks: int = 0
    _inside: list[str] = field(default_factory=list)  # the elements around the place that is read

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Take the start of an element."""
        if self._inside == ["annotations"]:
            self.tracks += tag == "track"
            if tag == "image":
                self.pictures.append((attributes, []))
        elif self._inside == ["annotations", "image"]:
            if tag in _DRAWN:
                self.pictures[-1][1].append(Shape(tag, attributes))
            elif tag != "tag":
                self.not_drawn[tag] += 1
        elif self._inside[-1:] == ["label"] and tag == "name":
            self.labels.append("")
        self._inside.append(tag)

    def text(self, text: str) -> None:
        """Take the text in an element."""
        if self._inside[-2:] == ["label", "name"]:
            self.labels[-1] += text

    def end(self, tag: str) -> None:
        """Take the end of an element."""
        self._inside.pop()


def seen(root: Path) -> str | None:
    """Look for the XML files."""
    files = ", ".join(matching.relative(root, file) for file in _files(root))
    return f"CVAT's XML: {files}" if files else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples.

    Raises UserError where no XML file is CVAT's, or one is damaged or of a video.
    """
    pictures, not_drawn, empty = regions.Pictures(root), Counter[str](), 0
    contents: list[regions.Content] = []
    for file in _checked(root):
        export = _read(file)
        not_drawn += export.not_drawn
        empty += sum(not shapes for _, shapes in export.pictures)
        contents += [_content(file, *picture, pictures, table) for picture in export.pictures]
    if not_drawn:
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(not_drawn.items()))
        yield Note(f"not drawn: {counted}; only {', '.join(_DRAWN)} cover pixels")
    if empty:
        share = f"{empty} of {len(contents)} pictures"
        yield Note(f"{share} have no shape that is drawn: nothing is on them")
    yield from pictures.unused("XML file of CVAT's")
    yield from regions.samples(root, contents)


def labels(root: Path) -> dict[str, int]:
    """Return the labels of shapes that are drawn, in CVAT's order (see `segpipe.fetch.layouts`)."""
    exports = [_read(file) for file in _checked(root)]
    used = {shape.label for export in exports for _, shapes in export.pictures for shape in shapes}
    ordered = [label for export in exports for label in export.labels if label in used]
    return dict.fromkeys([*ordered, *sorted(used)], 0)


def _files(root: Path) -> Iterator[Path]:
    """Yield CVAT's files: any name in the folder itself, `annotations*.xml` below."""
    for file in texts.visible(root, "*.xml"):
        named = file.parent == root or _is_annotations(file)
        if named and "<annotations" in texts.head(file):  # Pascal VOC's have <annotation>
            yield file


def _is_annotations(file: Path) -> bool:
    return file.name.lower().startswith("annotations")


def _checked(root: Path) -> list[Path]:
    files = [*_files(root)]
    if not files:
        raise UserError(
            f"{root}: no XML file of CVAT's; export as `CVAT for images 1.1` and unpack it here"
        )
    for file in filter(_is_annotations, texts.visible(root, "*.xml")):
        if reason := texts.lost(file):
            raise UserError(f"{file}: {reason}")
    return files


def _read(file: Path) -> _Export:
    """Read a file. Raises UserError where it is no whole XML, defines entities, or is of a video."""
    export, parser = _Export(), expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = export.start, export.end
    parser.CharacterDataHandler = export.text

    def refuse(*_: object) -> None:  # entities can make gigabytes of a few lines
        raise UserError(f"{file}: holds a document type; CVAT writes none, so export the file again")

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(texts.content(file), True)  # by blocks, a long attribute takes minutes
    except expat.ExpatError as error:
        raise UserError(f"{file}: no whole XML file ({error}); export it again") from None
    if export.tracks:
        mend = "export as `CVAT for images 1.1`"
        raise UserError(f"{file}: holds {export.tracks} tracks of a video; {mend}")
    return export


def _content(
    file: Path, attributes: dict[str, str], shapes: list[Shape], pictures: regions.Pictures,
    table: ClassTable,
) -> regions.Content:  # fmt: skip
    name, subset = texts.local(attributes.get("name", "")), attributes.get("subset", "")
    place = matching.relative(pictures.root, file)
    called = f"{place} (image {name})"
    word = matching.split_word(subset) or matching.split_word(place, *name.parent.parts)
    image = pictures.one(texts.local(subset) / name, file.parent, called, len(name.parent.parts))
    if isinstance(image, Problem):
        return word, called, image
    stem = matching.without_suffix(pictures.root, image)
    try:
        height, width = (
            int(attributes[key]) if key in attributes else None for key in ("height", "width")
        )
        shapes.sort(key=lambda shape: int(shape.attributes.get("z_order", 0)))
    except ValueError as error:
        expected = "whole numbers for height, width and z_order"
        return word, stem, Problem(called, str(error), expected)
    return word, stem, regions.Annotated(image.resolve(), height, width, shapes, table, called)
