"""Label Studio's tasks with predictions (https://labelstud.io/guide/predictions): a class is one brush.

Predictions are no annotations until somebody submits them, and `fetch` reads none of them either.
"""

import json
import urllib.parse
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from segpipe.common import __version__
from segpipe.common.classes import ClassTable
from segpipe.predict.labels.tool import Entry, Tool

_FROM, _TO = "label", "image"  # the names of the brush and of the picture in the labelling interface
_SIZES = (3, 4, 8, 16)  # bits that hold the length of a run


class Labels(Tool):
    """Writes `tasks.json`, and `label_config.xml` for the labelling interface, beside `images`."""

    def __init__(self, folder: Path, table: ClassTable) -> None:
        super().__init__(folder, table)
        self._count = 0
        self._file = self.open("tasks.json")
        self._file.write("[")

    def encoded(self, mask: np.ndarray) -> str:
        """Return the results of a prediction."""
        return json.dumps([_result(self.label(index), part) for index, part in self.present(mask)])

    def add(self, entry: Entry) -> None:
        """Write the task of a picture."""
        place = urllib.parse.quote(f"{self.pictures}/{entry.name}")
        data = json.dumps({_TO: f"/data/local-files/?d={place}"})
        self._file.write(",\n" if self._count else "\n")
        self._file.write(f'{{"data": {data}, "predictions": [{{"model_version": "segpipe {__version__}"')
        self._file.write(f', "result": {entry.labels}}}]}}')
        self._count += 1

    def finish(self) -> None:
        """Write the end, and the labelling interface."""
        self._file.write("\n]\n")
        labels = (
            f'    <Label value={quoteattr(name)} background="{colour}"/>\n'
            for name, colour in self.colours.items()
        )
        self.write(
            self.folder / "label_config.xml",
            f'<View>\n  <Image name="{_TO}" value="${_TO}"/>\n'
            f'  <BrushLabels name="{_FROM}" toName="{_TO}">\n{"".join(labels)}  </BrushLabels>\n'
            "</View>\n",
        )


def _result(label: str, covered: np.ndarray) -> dict[str, Any]:
    height, width = covered.shape
    return {
        "id": label, "type": "brushlabels", "from_name": _FROM, "to_name": _TO,
        "original_width": width, "original_height": height, "image_rotation": 0,
        "value": {"format": "rle", "rle": [*packed(covered)], "brushlabels": [label]},
    }  # fmt: skip


def packed(covered: np.ndarray) -> bytes:
    """Return a stroke, bool [height, width], as `fetch.layouts.brush.alpha` reads it.

    That is an RGBA picture in run lengths, whose four values are 255 where it is covered:
    https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
    """
    pixels = covered.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(pixels)) + 1])
    lengths = 4 * np.diff(starts, append=pixels.size)
    bits = [f"{4 * pixels.size:032b}{8 - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        bits += _run("11111111" if pixels[start] else "00000000", length)
    text = "".join(bits)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big")


def _run(value: str, length: int) -> list[str]:
    """Return the bits of a run: a 1, the number of its length's size, the length less 1, the value."""
    runs = []
    while length:
        size = next((n for n, bits in enumerate(_SIZES) if length <= 1 << bits), len(_SIZES) - 1)
        part = min(length, 1 << _SIZES[size])
        runs.append(f"1{size:02b}{part - 1:0{_SIZES[size]}b}{value}")
        length -= part
    return runs
