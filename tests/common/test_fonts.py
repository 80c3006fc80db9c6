"""Figures write what their font can show, on every machine the same."""

import warnings

import numpy as np
import pytest
from PIL import ImageFont

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.fonts import class_labels, dejavu, drawable, font_for, unnamed
from segpipe.report import grids

NAMES = ["ground", "斑马线", "Straße", "кот", "कुत्ता"]


def test_names_whose_letters_the_font_lacks_are_classes_by_number():
    assert [*class_labels(NAMES, dejavu()).values()] == ["ground", "class 1", "Straße", "кот", "class 4"]
    assert drawable("街道 7\nmean IoU 0.5", dejavu()) == "?? 7\nmean IoU 0.5"
    assert unnamed(NAMES, dejavu()) == (
        "Figures lack the letters of some classes; they call 斑马线 class 1, कुत्ता class 4."
    )
    assert unnamed(["ground", "кот"], dejavu()) == ""


@pytest.mark.parametrize("name", ["Straße", "кот"])
def test_previews_take_another_font_only_where_it_is_needed(name):
    plain = ImageFont.load_default(12)
    assert font_for(["ground", "cat_2"], 12).getname() == plain.getname()
    assert drawable(name, plain) != name
    assert drawable(name, font_for(["ground", name], 12)) == name


def test_a_grid_with_names_in_any_script_is_drawn_without_a_warning(tmp_path):
    table = ClassTable(
        tuple(SegmentationClass(name, n, f"#00{n:02x}00") for n, name in enumerate(NAMES))
    )
    mask = np.arange(25, dtype=np.uint8).reshape(5, 5) % len(NAMES)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        grids.save(grids.sample_grid([{"label": "街道", "truth": mask}], table), tmp_path / "grid.png")
    assert [str(one.message) for one in said if "Glyph" in str(one.message)] == []
