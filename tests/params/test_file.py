"""Changing params.yaml from code: comments and style are the user's."""

import pytest
from helpers import ROOT

from segpipe.common.errors import ParamsError
from segpipe.params.file import changed_params

IGNORE = "  ignore: []                    # values that count in neither loss nor score\n"
ON_LINES = "  ignore:   # why\n  - 7\n  - 255 # the border\n  # behind\n\n"


@pytest.mark.parametrize(
    ("before", "values", "after"),
    [
        (IGNORE, [255], IGNORE.replace("[]  ", "[255]")[:32].ljust(32) + IGNORE[32:]),
        (ON_LINES, [8], "  ignore:   # why\n  - 8   # the border\n  # behind\n\n"),
        (ON_LINES, [], "  ignore: [] # why\n# the border\n  # behind\n\n"),
        ("  ignore:\n  - 7\n\n", [8, 9], "  ignore:\n  - 8\n  - 9\n\n"),
        ("  ignore:\n  - 7\n\n", [], "  ignore: []\n\n"),
        ("  ignore: [7]\n", [8, 9], "  ignore: [8, 9]\n"),
    ],
)
def test_a_list_keeps_its_style_and_the_comments_around_it(tmp_path, before, values, after):
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    path.write_text(text.replace(IGNORE, before))
    path.write_text(changed_params(path, {"data": {"ignore": values}}))
    assert path.read_text() == text.replace(IGNORE, after)


BANDS = "  bands: [4, 3, 2] # near infrared\n  # behind\n"
BANDS_ON_LINES = "  bands:\n  - 4\n  - 3\n  - 2 # near infrared\n  # behind\n"
RGB = "  bands: rgb # near infrared\n  # behind\n"


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        (BANDS_ON_LINES, {"data": {"bands": "rgb"}}, RGB),
        (RGB, {"data": {"bands": [4, 3, 2]}}, BANDS),
        (BANDS_ON_LINES, {"data": {"bands": [4, 3, 2]}}, BANDS_ON_LINES),
        (
            "  class_weights:\n    pet: 1.0\n    border: 2.0 # thin\n  # behind\n",
            {"train": {"class_weights": "none"}},
            "  class_weights: none # thin\n  # behind\n",
        ),
        (
            "  class_weights: none # thin\n  # behind\n",
            {"train": {"class_weights": {"pet": 1.0, "border": 2.0}}},
            "  class_weights: {pet: 1.0, border: 2.0} # thin\n  # behind\n",
        ),
        (
            "  intensity:\n  - [0, 1]\n  - [0, 2]\n  - [0, 3] # of a satellite\n  # behind\n",
            {"data": {"intensity": [[4, 5]] * 3}},
            "  intensity:\n  - [4, 5]\n  - [4, 5]\n  - [4, 5] # of a satellite\n  # behind\n",
        ),
    ],
)
def test_comments_stay_when_a_value_gets_another_kind_or_number_of_lines(
    tmp_path, before, changes, after
):
    path = tmp_path / "params.yaml"
    text, key = (ROOT / "params.yaml").read_text(), before.partition(":")[0] + ":"
    line = next(line for line in text.splitlines(keepends=True) if line.startswith(key))
    path.write_text(text.replace(line, before))
    path.write_text(changed_params(path, changes))
    assert path.read_text() == text.replace(line, after)


def test_a_change_that_params_refuse_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    with pytest.raises(ParamsError, match="the value 1 stands twice"):
        changed_params(path, {"data": {"ignore": [1]}})
    assert path.read_text() == (ROOT / "params.yaml").read_text()
