"""YOLO's polygons as Ultralytics has them: a text file a picture, a line an object, `data.yaml`.

Small objects lie over large ones, so an object in a hole stays visible.
"""

import functools

import numpy as np
import yaml

from segpipe.fetch.layouts import yolo
from segpipe.fetch.layouts.polygons import IGNORE_LABEL
from segpipe.fetch.layouts.yolosplits import label_of
from segpipe.predict.labels.outlines import outlines
from segpipe.predict.labels.tool import Entry, Tool


class Labels(Tool):
    """Writes `labels/NAME.txt` for `images/NAME.jpg`, and `data.yaml`."""

    def encoded(self, mask: np.ndarray) -> list[str]:
        """Return the lines of a mask: the number of a class, corners as parts of width and height."""
        scale = np.array(mask.shape[::-1], np.float64)
        polygons = outlines(
            mask, self.table.uncovered, len(self.table), functools.partial(_draw, mask.shape)
        )
        return [
            " ".join([str(min(polygon.index, len(self.table))), *_texts(polygon.corners / scale)])
            for polygon in polygons
        ]

    def add(self, entry: Entry) -> None:
        """Write the file of a picture."""
        path = self.folder / label_of(f"{self.pictures}/{entry.name}")
        self.write(path, "".join(f"{line}\n" for line in entry.labels))

    def finish(self) -> None:
        """Write the names of the classes."""
        names = [*self.table.names, *([IGNORE_LABEL] if self.ignores else [])]
        content = {"path": ".", "train": self.pictures, "names": dict(enumerate(names))}
        self.write(
            self.folder / "data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        )


def _texts(shares: np.ndarray) -> list[str]:
    return [f"{share:.7f}" for share in shares.ravel().tolist()]


def _draw(size: tuple[int, int], corners: list[np.ndarray]) -> np.ndarray:
    return yolo.draw([points / np.array(size[::-1]) for points in corners], size, "the prediction")
