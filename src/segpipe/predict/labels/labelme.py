"""Labelme's JSON beside each picture (https://github.com/wkentaro/labelme), with polygons.

Labelme draws later shapes over earlier ones. `labelme --config labelme.yaml .` opens the folder with
the classes' names and colours.
"""

import functools
import json
from typing import Any

import numpy as np
import yaml
from PIL import Image

from segpipe.fetch.layouts import polygons
from segpipe.fetch.layouts.polygons import IGNORE_LABEL
from segpipe.predict.labels.outlines import Outline, outlines
from segpipe.predict.labels.tool import Entry, Tool

_VERSION = "5.0.0"  # of the format


class Labels(Tool):
    """Writes a JSON file beside each picture, and `labelme.yaml`."""

    pictures = "."

    def encoded(self, mask: np.ndarray) -> list[Outline]:
        """Return the shapes of a mask, those below first."""
        return outlines(
            mask, self.table.uncovered, len(self.table), functools.partial(_draw, mask.shape)
        )

    def add(self, entry: Entry) -> None:
        """Write the file of a picture."""
        shapes = [
            {"label": self.label(outline.index), "points": outline.corners.tolist(), "group_id": None,
             "description": "", "shape_type": "polygon", "flags": {}, "mask": None}
            for outline in entry.labels
        ]  # fmt: skip
        picture = self.folder / entry.name
        content: dict[str, Any] = {
            "version": _VERSION, "flags": {}, "shapes": shapes, "imagePath": picture.name,
            "imageData": None, "imageHeight": entry.size[0], "imageWidth": entry.size[1],
        }  # fmt: skip
        self.write(picture.with_suffix(".json"), json.dumps(content, ensure_ascii=False) + "\n")

    def finish(self) -> None:
        """Write the configuration."""
        content: dict[str, Any] = {
            "labels": [*self.table.names, IGNORE_LABEL], "shape_color": "manual",
            "label_colors": {c.name: [*c.rgb] for c in self.table.classes} | {IGNORE_LABEL: [255] * 3},
        }  # fmt: skip
        self.write(self.folder / "labelme.yaml", yaml.safe_dump(content, allow_unicode=True))


def _draw(size: tuple[int, int], corners: list[np.ndarray]) -> np.ndarray:
    canvas = Image.new("I", size[::-1])
    for number, points in enumerate(corners, 1):
        polygons.fill(canvas, points, number)
    return np.asarray(canvas)
