"""Folders that may each be one patient are asked about, as splits would part them."""

import numpy as np
import pytest
from own_folders import photo, save
from PIL import Image

from segpipe.survey.folder import Request, survey
from segpipe.survey.groups import in_folders


@pytest.fixture
def patients(tmp_path, rng):
    """Eight patients with three pictures that are not alike, each with its mask."""
    for patient in range(8):
        for n in "abc":
            folder = tmp_path / f"patient{patient}"
            save(photo(rng), folder / "images" / f"{n}.png")
            mask = np.zeros((30, 40), np.uint8)
            mask[5:20, 5:30] = 255
            save(Image.fromarray(mask), folder / "masks" / f"{n}.png")
    return tmp_path


def test_folders_of_several_pictures_are_asked_about(patients):
    found = survey(patients, Request(0.3, 0.2), processes=1)
    assert found.grouping is None
    (note,) = (note for note in found.notes if "folders" in note)
    assert note == (
        "pictures lie in 8 folders, such as patient7/, and are split one by one: if a folder is one "
        "patient, video or place, set data.folder.group: '^(.+)/', so that no split parts one"
    )


def test_the_group_that_the_note_names_keeps_folders_together_and_ends_the_note(patients):
    found = survey(patients, Request(0.3, 0.2, group="^(.+)/"), processes=1)
    folders = {(one.name.rpartition("/")[0], one.split) for one in found.samples}
    assert len(folders) == 8
    assert not any("folders" in note for note in found.notes)


def test_the_users_own_splits_are_not_asked_about(patients):
    for number in range(8):
        part = patients / ("test" if number < 2 else "train")
        part.mkdir(exist_ok=True)
        (patients / f"patient{number}").rename(part / f"patient{number}")
    found = survey(patients, Request(0.3, 0.2), processes=1)
    assert not any("folders" in note for note in found.notes)


@pytest.mark.parametrize(
    "names",
    [
        [f"{n}" for n in range(9)],
        [f"{day}/{n}" for day in ("monday", "tuesday") for n in range(9)],
        [f"{n}/picture" for n in range(9)],
    ],
)
def test_few_folders_and_folders_of_one_picture_tell_nothing(names):
    assert in_folders(names) == ""
