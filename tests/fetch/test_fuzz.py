"""A JSON file, however odd, gives samples, problems and notes, and takes little time and memory."""

import json

import pytest
from fuzz import SETTINGS, mutated, outcome
from hypothesis import given
from own_folders import FOLDERS

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.fetch.raw import Checked

TABLE = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("cat", ("traffic light", "car body"), "#e69f00"),
        SegmentationClass("other", "wheel", "#0072b2"),
    )
)


@pytest.mark.parametrize("layout", ["COCO", "Labelme"])
def test_no_file_however_odd_breaks_its_reader(tmp_path, rng, layout):
    name, draw = FOLDERS[layout]
    draw(tmp_path, rng)
    first, *others = sorted(tmp_path.rglob("*.json"), key=lambda path: ("captions" in path.name, path))
    for other in others:
        other.unlink()
    for picture in sorted(tmp_path.rglob("*.jpg"))[2:]:
        picture.unlink()
    text = smaller(first.read_text())

    @SETTINGS
    @given(data=mutated(text))
    def broken(data):
        first.write_bytes(data)
        outcome(name, tmp_path, TABLE)

    broken()
    first.write_text(text)
    assert any(isinstance(one, Checked) for one in outcome(name, tmp_path, TABLE))


def smaller(text, images=2):
    """A file of COCO's with the first images alone, which takes less time to mutate."""
    content = json.loads(text)
    if "images" in content:
        content["images"] = content["images"][:images]
        known = {image["id"] for image in content["images"]}
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] in known]
    return json.dumps(content)
