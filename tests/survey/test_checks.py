"""What `init-data` proposes is what the next step accepts; what that refuses is said before."""

import io
import json
import os
import shutil

import numpy as np
import pytest
from helpers import ROOT, run
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.raw import check
from segpipe.fetch.sample import Problem, Sample
from segpipe.survey.candidates import layouts_in, refuse_place
from segpipe.survey.folder import Request, survey
from segpipe.survey.remarks import remarks


def photo(rng):
    return Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((80, 60), Image.BICUBIC)


def mask():
    return Image.fromarray(np.tri(60, 80, dtype=np.uint8))


def draw(root, rng, count=10):
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for n in range(count):
        photo(rng).save(root / f"images/{n}.png")
        mask().save(root / f"masks/{n}.png")


def surveyed(root):
    return survey(root, Request(0.3, 0.2))


def test_a_copy_in_another_split_is_a_problem_and_a_near_one_is_listed(tmp_path, rng):
    draw(tmp_path, rng)
    split = {s.name: s.split for s in surveyed(tmp_path).samples}
    train, *others = sorted(name for name in split if split[name] == "train")
    test, near = sorted(name for name in split if split[name] == "test")[:2]
    shutil.copy(tmp_path / f"images/{test}.png", tmp_path / f"images/{train}.png")
    Image.open(tmp_path / f"images/{near}.png").save(tmp_path / f"images/{others[0]}.jpg", quality=60)
    (tmp_path / f"images/{others[0]}.png").unlink()
    found = surveyed(tmp_path)
    assert [(p.file, p.found) for p in found.problems] == [
        (f"images/{train}.png", f"the same picture as images/{test}.png of the test split"),
    ]  # fmt: skip
    assert [(n.picture, n.twin) for n in found.near] == [
        (f"images/{others[0]}.jpg", f"images/{near}.png"),
    ]  # fmt: skip
    assert sum(found.splits.values()) == 9


def test_pictures_of_one_name_are_a_problem_as_in_fetch(tmp_path, rng):
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "a.png", "b.png"):
        photo(rng).save(tmp_path / "images" / name)
    shape = {"category_id": 1, "segmentation": [[0, 0, 40, 0, 40, 40]]}
    content = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(("a.jpg", "a.png", "b.png"))],
        "annotations": [{"id": n, "image_id": n, **shape} for n in range(3)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert [p.found for p in surveyed(tmp_path).problems] == ["a duplicate name, as a.jpg"]


def test_a_name_that_is_no_utf_8_is_a_problem_and_no_traceback(tmp_path, rng):
    draw(tmp_path, rng, 4)
    for part in ("images", "masks"):
        odd = os.fsencode(tmp_path / part) + b"/\xff.png"
        shutil.copy(tmp_path / part / "0.png", odd)
    problems = [p for p in surveyed(tmp_path).problems if "unprintable" in p.found]
    assert [p.file for p in problems] == ["images/\\udcff.png"]


def test_a_mask_of_another_size_and_a_damaged_picture_are_problems(tmp_path, rng):
    draw(tmp_path, rng)
    mask().resize((81, 60)).save(tmp_path / "masks/1.png")
    photo(rng).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "whole.jpg").unlink()
    (tmp_path / "images/2.png").write_bytes(whole[: len(whole) // 2])
    found = {p.file: p.found for p in surveyed(tmp_path).problems}
    assert found.pop("masks/1.png") == "size 81x60"
    assert [*found] == ["images/2.png"] and "truncated" in found["images/2.png"]


def test_an_upright_mask_fits_a_picture_that_exif_turns(tmp_path, rng):
    draw(tmp_path, rng, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(rng).save(tmp_path / "images/0.jpg", exif=exif)
    (tmp_path / "images/0.png").unlink()
    mask().transpose(Image.Transpose.ROTATE_270).save(tmp_path / "masks/0.png")
    found = surveyed(tmp_path)
    assert not found.problems
    assert {one.sample.name: one.size for one in found.stats}["0"] == (80, 60)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(("image_turn", "mask_turn"), [(1, 3), (1, 6), (6, 6), (6, 8), (3, 3)])
@pytest.mark.parametrize("stored", [(80, 60), (60, 80)])
def test_a_mask_that_exif_turns_is_judged_as_in_fetch(
    tmp_path, rng, kind, image_turn, mask_turn, stored
):
    draw(tmp_path, rng, 4)
    turns = [Image.Exif(), Image.Exif()]
    for exif, turn in zip(turns, (image_turn, mask_turn), strict=True):
        exif[0x0112] = turn
    photo(rng).save(tmp_path / "images/0.png", exif=turns[0])
    (tmp_path / "masks/0.png").unlink()
    mask().resize(stored).save(tmp_path / f"masks/0.{kind}", kind, exif=turns[1])
    table = ClassTable((SegmentationClass("one", 0, "#000000"), SegmentationClass("two", 1, "#ffffff")))
    said = {problem.file: problem for problem in surveyed(tmp_path).problems}
    samples = layouts.read("pairs", tmp_path, table)
    (sample,) = (one for one in samples if isinstance(one, Sample) and one.name == "0")
    fetched = check(sample, table, "rgb")
    assert said.get(f"masks/0.{kind}") == (fetched if isinstance(fetched, Problem) else None)
    fits = image_turn == mask_turn and stored == (80, 60)
    assert isinstance(fetched, Problem) != fits


def test_bands_that_are_no_rgb_are_proposed_by_number(tmp_path, rng):
    import tifffile

    draw(tmp_path, rng, 6)
    for n in range(6):
        (tmp_path / f"images/{n}.png").unlink()
        pixels = rng.integers(0, 4000, (60, 80, 5)).astype(np.uint16)
        tifffile.imwrite(
            tmp_path / f"images/{n}.tif", pixels, photometric="minisblack", planarconfig="contig"
        )
    assert surveyed(tmp_path).data("x")["bands"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("inverted", [0, 4, 6])
def test_masks_with_white_as_0_beside_others_are_counted_in_a_note(tmp_path, rng, inverted):
    import tifffile

    draw(tmp_path, rng, 6)
    for n in range(6):
        (tmp_path / f"masks/{n}.png").unlink()
        kind = "miniswhite" if n < inverted else "minisblack"
        tifffile.imwrite(tmp_path / f"masks/{n}.tif", np.array(mask()), photometric=kind)
    said = [line for line in remarks(surveyed(tmp_path), 1) if "masks" in line]
    assert said == (inverted == 4) * [
        "masks of several kinds: 4 TIFF grey with white as 0, 2 TIFF grey",
        "4 of 6 masks have white as 0, and the others black: numbers count as stored; if white means "
        "the same in all, save all in one of the two ways",
    ]


def test_an_archive_in_place_of_a_folder_is_to_be_unpacked(tmp_path):
    shutil.make_archive(str(tmp_path / "data"), "zip", tmp_path)
    with pytest.raises(UserError, match=r"data\.zip is an archive, which you unpack first"):
        layouts_in(tmp_path / "data.zip")


def test_several_layouts_are_named_with_counts_and_the_one_asked_for_is_taken(tmp_path, rng):
    draw(tmp_path, rng, 6)
    content = {"shapes": [], "imagePath": "0.png"}
    for n in range(2):
        (tmp_path / f"images/{n}.json").write_text(json.dumps(content))
    found = layouts_in(tmp_path)
    assert next(iter(found)) == "pairs" and found["pairs"].endswith(": 6 samples")
    assert found["labelme"].endswith(": 2 samples")
    assert next(iter(layouts_in(tmp_path, "labelme"))) == "labelme"
    with pytest.raises(UserError, match="--layout labelm: no layout of this name; did you mean labelme"):
        layouts_in(tmp_path, "labelm")


def test_the_folders_that_stages_write_into_are_refused(tmp_path):
    (tmp_path / "data/mine").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "data", tmp_path.parent):
        with pytest.raises(UserError, match="a folder of their own, such as data/my_data"):
            refuse_place(place, tmp_path)
    refuse_place(tmp_path / "data/mine", tmp_path)


def test_init_data_says_it_of_the_repositorys_data_folder(tmp_path, rng):
    draw(tmp_path / "data", rng, 4)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    result = run("segpipe", "init-data", "data", "--write", cwd=tmp_path)
    assert result.returncode == 1 and "such as data/my_data" in result.stderr
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_a_photograph_is_not_decoded_whole(tmp_path, rng, monkeypatch):
    buffer = io.BytesIO()
    photo(rng).resize((2048, 1536)).save(buffer, "JPEG")
    from segpipe.survey.stats import _picture

    size, _, reduced, _ = _picture(buffer.getvalue(), "x")
    assert size == (1536, 2048) and max(reduced.size) <= 512
