"""COCO's JSON (https://cocodataset.org/#format-data), with compressed run lengths.

A class of a picture is one annotation, as in COCO-Stuff; ignored pixels are a crowd region. COCO does
not say whether masks lie on the picture as EXIF turns it: these do.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as runs

from segpipe.common.classes import IGNORE, ClassTable
from segpipe.fetch.pictures import stored_size
from segpipe.fetch.pillow import SWAPPING
from segpipe.predict.labels.tool import Entry, Tool


class Labels(Tool):
    """Writes `annotations/instances_default.json`, the name that CVAT looks for, beside `images`."""

    def __init__(self, folder: Path, table: ClassTable) -> None:
        super().__init__(folder, table)
        categories = [
            {"id": index, "name": c.name, "supercategory": "", "color": [*c.rgb]}
            for index, c in enumerate(table.classes, 1)
        ]
        self._images: list[dict[str, Any]] = []
        self._annotations = 0
        self._file = self.open("annotations/instances_default.json")
        self._file.write(f'{{"categories": {json.dumps(categories, ensure_ascii=False)},\n')
        self._file.write('"annotations": [')

    def encoded(self, mask: np.ndarray) -> list[dict[str, Any]]:
        """Return the annotations of a mask, without ids."""
        annotations = []
        for index, covered in self.present(mask):
            packed = runs.encode(np.asfortranarray(covered.view(np.uint8)))
            ignored = index == IGNORE
            annotations.append({
                "category_id": 1 if ignored else index + 1, "iscrowd": int(ignored),
                "area": int(covered.sum()), "bbox": runs.toBbox(packed).tolist(),
                "segmentation": {"size": [*mask.shape], "counts": packed["counts"].decode()},
            })  # fmt: skip
        return annotations

    def remark(self, picture: Path) -> str:
        """Say where EXIF turns a picture and leaves its size: sizes do not tell the view then."""
        (height, width), turn = stored_size(picture.read_bytes(), str(picture))
        if turn == 1 or (turn in SWAPPING and height != width):
            return ""
        return "EXIF turns it, and COCO does not say so: its labels lie on the upright picture"

    def add(self, entry: Entry) -> None:
        """Write the annotations of a picture."""
        height, width = entry.size
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": entry.name, "height": height, "width": width})
        for annotation in entry.labels:
            self._file.write(",\n" if self._annotations else "\n")
            self._annotations += 1
            ids = {"id": self._annotations, "image_id": number}
            self._file.write(json.dumps(ids | annotation))

    def finish(self) -> None:
        """Write the pictures' names; annotations come first, so that they need not wait in memory."""
        self._file.write(f'],\n"images": {json.dumps(self._images, ensure_ascii=False)}}}\n')
