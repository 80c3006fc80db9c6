"""CVAT for images 1.1 (https://docs.cvat.ai): a class of a picture is one mask, in run lengths.

CVAT wants its labels before it takes annotations: `labels.json` is for the field *Raw* of a new task.
"""

import json
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.fetch.sample import BadSampleError
from segpipe.predict.labels.tool import Entry, Tool


class Labels(Tool):
    """Writes `annotations.xml` and `labels.json` beside `images`."""

    def __init__(self, folder: Path, table: ClassTable) -> None:
        super().__init__(folder, table)
        self._count = 0
        self._file = self.open("annotations.xml")
        self._file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
        self._file.write("<version>1.1</version>\n<meta><task><labels>\n")
        self._file.writelines(_declared(c) for c in table.classes)
        self._file.write("</labels></task></meta>\n")

    def copy(self, picture: Path, name: str) -> str:
        """Copy a picture as any tool; XML holds fewer letters than other files. Raises as `of`."""
        if {*name} & {"\ufffe", "\uffff"}:
            found, mend = "a letter in its name that no XML file holds", "another name, or --labels coco"
            raise BadSampleError(str(picture), found, mend)
        return super().copy(picture, name)

    def encoded(self, mask: np.ndarray) -> str:
        """Return the elements of a mask."""
        elements = (_element(self.label(index), covered) for index, covered in self.present(mask))
        return "".join(elements)

    def add(self, entry: Entry) -> None:
        """Write the element of a picture."""
        height, width = entry.size
        self._file.write(
            f'<image id="{self._count}" name={quoteattr(entry.name)} width="{width}" '
            f'height="{height}">\n{entry.labels}</image>\n'
        )
        self._count += 1

    def finish(self) -> None:
        """Write the end, and the labels for a new task."""
        self._file.write("</annotations>\n")
        rows = [
            {"name": name, "color": colour, "type": "any", "attributes": []}
            for name, colour in self.colours.items()
        ]
        text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
        self.write(self.folder / "labels.json", text)


def _declared(c: SegmentationClass) -> str:
    return f"<label><name>{escape(c.name)}</name><color>{c.colour}</color><type>any</type></label>\n"


def _element(label: str, covered: np.ndarray) -> str:
    """Return a mask as runs of 0 and of 1 in turn, along the rows of the box around it."""
    rows, columns = (np.flatnonzero(covered.any(axis)) for axis in (1, 0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    pixels = covered[top:bottom, left:right].ravel()
    changes = np.flatnonzero(np.diff(pixels)) + 1
    ends = np.concatenate([[0] * bool(pixels[0]), changes, [pixels.size]])  # the first run is of 0
    runs = ", ".join(map(str, np.diff(ends, prepend=0).astype(int).tolist()))
    return (
        f'<mask label={quoteattr(label)} source="semi-auto" occluded="0" rle="{runs}" left="{left}" '
        f'top="{top}" width="{right - left}" height="{bottom - top}" z_order="0"></mask>\n'
    )
