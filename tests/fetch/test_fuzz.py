"""A JSON file, however odd, gives samples, problems and notes, and takes little time and memory."""

import json

import hypothesis.strategies as st
import pytest
from fuzz import SETTINGS, mutated, outcome
from hypothesis import given, settings
from own_exports import EXPORTS
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


ALL = dict((*FOLDERS.values(), *EXPORTS.values()))
"""A folder of each layout; the last one drawn of those that are several."""


@st.composite
def slips(draw, count):
    """Up to three files of a folder, each emptied, cut, overwritten in one place, or gone."""
    kinds = st.sampled_from(["empty", "cut", "overwritten", "gone"])
    slip = st.tuples(st.integers(0, count - 1), kinds, st.floats(0, 0.99), st.binary(max_size=3))
    return draw(st.lists(slip, max_size=3))


def slipped(data, kind, share, other):
    """The bytes of a file after a slip; None where it is gone."""
    at = int(share * len(data))
    return {"empty": b"", "cut": data[:at], "overwritten": data[:at] + other + data[at + len(other) :],
            "gone": None}[kind]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("layout", ALL)
def test_no_folder_however_damaged_breaks_its_reader(tmp_path, rng, layout):
    ALL[layout](tmp_path, rng)
    whole = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    # Texts and lists first: a damaged picture is every reader's.
    paths = sorted(whole, key=lambda path: path.suffix in (".jpg", ".png"))

    @settings(SETTINGS, max_examples=40)
    @given(slips(len(paths)))
    def broken(changes):
        for place, *slip in changes:
            data = slipped(whole[paths[place]], *slip)
            paths[place].unlink(missing_ok=True)
            if data is not None:
                paths[place].write_bytes(data)
        try:
            assert outcome(layout, tmp_path, TABLE), "nothing was said"
        finally:
            for place, *_ in changes:
                paths[place].write_bytes(whole[paths[place]])

    broken()
