"""Pictures find their masks by what folders and files are called, as people's tools call them."""

import os
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_folders import photo, save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.layouts import texts, unmatched
from segpipe.fetch.layouts.matching import parsed
from segpipe.fetch.layouts.partners import match
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Note, Problem, Sample

GREY = ClassTable(
    tuple(SegmentationClass(f"n{n}", n, f"#0000{n:02x}") for n in range(200)), ignore=(255,)
)
SIZE = (8, 6)


@pytest.fixture
def draw(tmp_path, rng):
    """Draw files below a folder: a photograph, or a mask that is one value all over."""

    def write(*files: str | tuple[str, int]):
        for file in files:
            name, value = file if isinstance(file, tuple) else (file, None)
            picture = photo(rng) if value is None else Image.new("L", (40, 30), value)
            save(picture, tmp_path / name)
        return tmp_path

    return write


def read(root, layout=None):
    """What a folder gives: the value of each sample's mask by split and name, problems, and notes."""
    layout = layout or next(iter(layouts.layouts_of(root)))
    found = list(layouts.samples(layout, root, 0.0, GREY))
    samples = [one for one in found if isinstance(one, Sample)]
    values = {(s.split, s.name): mask_value(s) for s in samples}
    problems = [str(one) for one in found if isinstance(one, Problem)]
    return values, problems, [one.text for one in found if isinstance(one, Note)]


def mask_value(sample):
    pixels = np.unique(decode_png(sample.content.read()[1]))
    assert len(pixels) == 1
    return int(pixels[0])


def test_cityscapes_class_numbers_are_taken_and_not_its_colours_or_instances(draw):
    stem = "aachen/aachen_000000_000019"
    files = []
    for part in ("train", "val"):
        for number in range(3):
            stem = f"{part}/aachen/aachen_00000{number}_000019"
            files += [f"leftImg8bit/{stem}_leftImg8bit.png"]
            kinds = (("color", 90), ("instanceIds", 91), ("labelIds", number))
            files += [(f"gtFine/{stem}_gtFine_{kind}.png", value) for kind, value in kinds]
    root = draw(*files)
    values, problems, notes = read(root)
    assert values == {
        (split, f"{part}/aachen/aachen_00000{n}_000019_leftImg8bit"): n
        for part, split in (("train", "train"), ("val", "test"))
        for n in range(3)
    }
    assert problems == []
    kinds = ("pictures called *_gtFine_color (6)", "pictures called *_gtFine_instanceIds (6)")
    assert notes == [f"not used: {', '.join(kinds)}"]


def test_cityscapes_train_ids_are_preferred_where_they_exist_and_its_dummies_are_no_test_split(draw):
    files = []
    for part, city in (("train", "ulm"), ("val", "lindau"), ("test", "berlin")):
        for n in range(3):
            stem = f"{part}/{city}/{city}_{n}"
            files += [f"leftImg8bit/{stem}_leftImg8bit.png", (f"gtFine/{stem}_gtFine_labelIds.png", 7)]
            files += [(f"gtFine/{stem}_gtFine_labelTrainIds.png", n)] * (part != "test")
    values, problems, notes = read(draw(*files))
    assert sorted(values.items()) == [
        (("test", f"val/lindau/lindau_{n}_leftImg8bit"), n) for n in range(3)
    ] + [(("train", f"train/ulm/ulm_{n}_leftImg8bit"), n) for n in range(3)]
    assert problems == []
    assert "dummies in gtFine/test/, as the true masks are not public (3)" in notes[0]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.jpg", "masks/{}.png"),
        ("Images/{}.JPG", "Labels/{}.PNG"),
        ("img/{}.jpg", "ann/../masks_machine/{}.jpg.png"),  # Supervisely
        ("{}_sat.jpg", "{}_mask.png"),  # DeepGlobe
        ("{}_rgb.png", "{}_label.png"),
        ("{}.png", "{}_L.png"),  # CamVid in one folder
        ("{}.jpg", "{}.png"),
        ("images/img{}.png", "masks/mask{}.png"),
        ("input/{}_training.bmp", "truth/../gt/{}_manual1.png"),  # DRIVE
        ("images/images/{}.jpg", "masks/masks/{}.png"),  # zips within zips
        ("set_v2_Input/ISIC_{}.jpg", "set_GroundTruth/ISIC_{}_segmentation.png"),
        ("leftImg8bit_trainvaltest/leftImg8bit/{}.png", "gtFine_trainvaltest/gtFine/{}.png"),
        ("my set/images/{}.jpg", "my set/masks/{}.png"),
        ("images/day {}/7.jpg", "masks/day {}/7.png"),
    ],
)
def test_a_picture_and_its_mask_are_found_however_tools_call_them(draw, image, mask):
    (draw() / "ann").mkdir()
    (draw() / "truth").mkdir()
    root = draw(*(image.format(n) for n in range(1, 9)), *((mask.format(n), n) for n in range(1, 9)))
    values, problems, notes = read(root)
    assert sorted(values.values()) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (problems, notes) == ([], [])
    for (_, name), value in values.items():
        assert str(value) in name


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img_dir/{0}/{1}.jpg", "ann_dir/{0}/{1}.png"),  # mmseg
        ("{0}/{1}.jpg", "{0}/{1}_mask.png"),  # Roboflow
        ("{0}/{1}_sat.jpg", "{0}/{1}_mask.png"),
        ("{0}/rgb/{1}.png", "{0}/labels/{1}.png"),
        ("images_{0}/{1}.png", "masks_{0}/{1}.png"),
        ("{0}_images/{1}.png", "{0}_masks/{1}.png"),
    ],
)
def test_folders_of_splits_are_splits_whatever_stands_around_them(draw, image, mask):
    parts = (("train", range(1, 5)), ("valid", range(5, 8)), ("test", range(8, 10)))
    files = [(p, n) for p, numbers in parts for n in numbers]
    root = draw(*(image.format(*f) for f in files), *((mask.format(*f), f[1]) for f in files))
    values, problems, _ = read(root)
    splits = {"train": [1, 2, 3, 4], "val": [5, 6, 7], "test": [8, 9]}
    assert problems == []
    for split, numbers in splits.items():
        assert sorted(value for (where, _), value in values.items() if where == split) == numbers


def test_a_folder_beside_those_of_splits_is_left_out_and_named(draw):
    files = [(p, f"{p}/{k}/{n}") for p in ("train", "test", "extra") for k in "im" for n in range(2)]
    names = [n.replace("/i/", "/images/").replace("/m/", "/masks/") + ".png" for _, n in files]
    values, problems, notes = read(draw(*((name, 1) for name in names)))
    assert {split for split, _ in values} == {"train", "test"}
    assert problems == []
    assert notes == ["not used: pictures in no folder of a split (2)"]


def test_a_split_without_masks_is_not_used_and_said(draw):
    root = draw("train/images/a.jpg", ("train/masks/a.png", 1), "test/images/b.jpg", "test/images/c.jpg")
    values, problems, notes = read(root)
    assert [name for _, name in values] == ["train/a"]
    assert (problems, notes) == ([], ["not used: pictures in images/ (2)"])


@pytest.mark.parametrize("stray", ["logo.png", "disparity/a_disparity.png"])
def test_a_stray_picture_hides_no_affix_that_all_others_share(draw, stray):
    names = [f"images/img{n}.png" for n in range(4)]
    root = draw(*names, *((f"masks/mask{n}.png", n) for n in range(4)), stray)
    assert sorted(name for _, name in read(root)[0]) == [f"img{n}" for n in range(4)]


def test_a_link_to_the_folder_itself_shows_nothing_again(draw):
    root = draw("data/images/a.jpg", ("data/masks/a.png", 1))
    (root / "again").symlink_to(root)
    (root / "another").symlink_to(root / "data")
    assert [path.relative_to(root).parts[0] for path in texts.visible(root)] == ["data", "data"]


def test_hidden_folders_hold_no_data_and_files_that_are_no_picture_are_counted(draw):
    root = draw("images/a.jpg", ("masks/a.png", 1), "images/.ipynb_checkpoints/a-checkpoint.jpg",
                ("masks/.ipynb_checkpoints/a-checkpoint.png", 1), "images/@eaDir/a.jpg")  # fmt: skip
    for name in ("images/b.heic", "images/c.heic", "masks/b.npy", "images/notes.txt", "classes.txt"):
        (root / name).write_bytes(b"x")
    values, problems, notes = read(root)
    assert [name for _, name in values] == ["a"]
    assert (problems, notes) == ([], ["not used: .heic in images/ (2), .npy in masks/ (1)"])


def test_names_in_another_unicode_form_are_equal_and_the_sample_has_the_composed_one(draw):
    composed, parted = (unicodedata.normalize(form, "straße é ü") for form in ("NFC", "NFD"))
    root = draw(f"images/{parted}.jpg", (f"masks/{composed}.png", 3))
    (root / "train.txt").write_text("none\n")
    (root / "test.txt").write_text(f"{parted}.jpg\n")
    values, *_ = read(root)
    assert values == {("test", composed): 3}


def test_linked_folders_are_followed_and_loops_end(draw, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("disk")
    root = draw("images/a.jpg", ("masks/a.png", 1))
    for kind in ("images", "masks"):
        (elsewhere / kind).mkdir()
        (root / kind).rename(elsewhere / kind / "day")
        (root / kind).symlink_to(elsewhere / kind)
        (elsewhere / kind / "day" / "loop").symlink_to(elsewhere / kind)
    assert [name for _, name in read(root)[0]] == ["day/a"]


def test_a_name_that_is_not_utf_8_is_a_problem_and_no_traceback(draw, tmp_path_factory):
    root = draw("images/a.jpg", ("masks/a.png", 1), "images/b.jpg", ("masks/b.png", 1))
    for path in (root / "images/b.jpg", root / "masks/b.png"):
        path.rename(os.fsdecode(os.fsencode(path.parent) + b"/b\xff") + path.suffix)
    out = tmp_path_factory.mktemp("out") / "raw"
    with pytest.raises(UserError) as error:
        write_raw("f", layouts.samples("pairs", root, 0.5, GREY), GREY, False, 1, out, processes=1)
    assert r"images/b\udcff.jpg: an unprintable letter in its name" in str(error.value)


def test_a_note_that_names_such_a_file_is_printable_and_the_rest_is_fetched(draw, tmp_path_factory):
    root = draw("images/v1_a.jpg", ("masks/v1_a.png", 1), "images/v2_b.jpg", ("masks/v2_b.png", 1),
                "images/c.jpg", ("masks/c.png", 1))  # fmt: skip
    for path in (root / "images/c.jpg", root / "masks/c.png"):
        path.rename(os.fsdecode(os.fsencode(path.parent) + b"/c\xff") + path.suffix)
    found = layouts.samples("pairs", root, 0.5, GREY, r"(v\d)_")
    summary = write_raw("f", found, GREY, True, 1, tmp_path_factory.mktemp("out") / "raw", processes=1)
    assert len(summary["left_out"]) == 1
    assert summary["notes"][-1].endswith(r"groups of their own, such as c\udcff")


# --- lists --------------------------------------------------------------------------------------


def pairs_in(draw, count=6):
    numbers = range(count)
    return draw(*(f"images/p{n}.jpg" for n in numbers), *((f"masks/p{n}.png", n) for n in numbers))


def test_lists_of_names_are_three_splits_and_pictures_in_none_are_counted(draw):
    root = pairs_in(draw)
    (root / "train.txt").write_text("p0\np1.jpg\n")
    (root / "val.txt").write_text("images/p2.jpg\n")
    (root / "test.txt").write_text("# ours\np3\n")
    values, problems, notes = read(root)
    assert values == {("train", "p0"): 0, ("train", "p1"): 1, ("val", "p2"): 2, ("test", "p3"): 3}
    assert (problems, notes) == ([], ["not used: pictures in no list (2)"])


def test_a_line_is_no_comment_where_a_picture_is_called_so(draw):
    names = ("#p0", "#p 1", "a#p2", "#s/3", "4")
    masks = ((f"masks/{name}.png", value) for value, name in enumerate(names))
    root = draw(*(f"images/{name}.jpg" for name in names), *masks)
    (root / "train.txt").write_text("#p\n# ours\n#p0\n#p 1.jpg\na#p2\n#p0a\n")
    (root / "test.txt").write_text("#s/3\n#4\n4\n")
    values, problems, notes = read(root)
    assert values == {("train", "#p0"): 0, ("train", "#p 1"): 1, ("train", "a#p2"): 2,
                      ("test", "#s/3"): 3, ("test", "4"): 4}  # fmt: skip
    assert (problems, notes) == ([], [])
    for word, numbers in (("train", ("#p0", "#p 1", "a#p2")), ("test", ("#s/3",))):
        lines = (f"images/{n}.jpg masks/{n}.png\n" for n in numbers)
        (root / f"{word}.txt").write_text("# image mask\n" + "".join(lines))
    assert len(read(root)[0]) == 4


@pytest.mark.parametrize("end", ["", "_list"])
@pytest.mark.parametrize(
    "line",
    [
        "images/p{0}.jpg masks/p{0}.png",
        "images\\p{0}.jpg,masks\\p{0}.png",
        "/SegNet/set/images/p{0}.jpg\t/SegNet/set/masks/p{0}.png",
        "./images/p{0}.jpg ./masks/p{0}.png",
    ],
)
def test_a_list_may_hold_a_picture_and_its_mask_a_line(draw, line, end):
    root = pairs_in(draw)
    for word, numbers in (("train", (0, 1)), ("val", (2,)), ("test", (3, 4))):
        (root / f"{word}{end}.txt").write_text("".join(line.format(n) + "\n" for n in numbers))
    values, problems, _ = read(root)
    assert values == {("train", "p0"): 0, ("train", "p1"): 1, ("val", "p2"): 2,
                      ("test", "p3"): 3, ("test", "p4"): 4}  # fmt: skip
    assert problems == []


def test_a_list_decides_which_mask_a_picture_has_even_where_names_differ(draw):
    root = draw("x/one two.jpg", ("y/three four.png", 5), "x/b.jpg", ("y/c.png", 6))
    (root / "train.txt").write_text("x/one two.jpg y/three four.png\nx/b.jpg y/gone.png\n")
    (root / "val.txt").write_text("x/b.jpg y/c.png\n")
    values, problems, _ = read(root)
    assert values == {("train", "x/one two"): 5, ("test", "x/b"): 6}
    (problem,) = problems
    assert problem.startswith(
        "the train list: the line 'x/b.jpg y/gone.png'; expected a picture and its mask"
    )


def test_vocs_lists_are_read_by_the_same_reader(draw):
    root = draw(*(f"JPEGImages/p{n}.jpg" for n in range(5)),
                *((f"SegmentationClass/p{n}.png", n) for n in range(4)))  # fmt: skip
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for word, text in (("train", "p0.jpg\n"), ("val", "p1\n"), ("test", "JPEGImages/p2.jpg\n")):
        (lists / f"{word}.txt").write_text(text)
    for layout in ("voc", "pairs"):
        values, problems, notes = read(root, layout)
        assert values == {("train", "p0"): 0, ("val", "p1"): 1, ("test", "p2"): 2}
        assert problems == []
        assert "pictures in no list" in notes[0]


def test_a_mask_of_a_picture_that_is_not_there_and_the_reverse_are_problems(draw):
    root = pairs_in(draw)
    (root / "images/p0.jpg").unlink()
    (root / "masks/p1.png").unlink()
    assert [problem.split(";")[0] for problem in read(root)[1]] == [
        "images/p1.jpg: no mask for its partner", "masks/p0.png: no image for its partner",
    ]  # fmt: skip


# --- what cannot be matched ---------------------------------------------------------------------


def test_masks_among_which_nobody_can_choose_are_refused_by_their_kinds(draw):
    masks = ((f"masks/{n}_{kind}.png", 1) for n in range(4) for kind in ("cat", "dog"))
    root = draw(*(f"images/{n}.jpg" for n in range(4)), *masks)
    assert layouts.layouts_of(root) == {}
    assert "each has several masks (*_cat, *_dog): keep one kind, or one folder a class" in (
        unmatched.reason(root)
    )


def test_an_ending_whose_masks_mostly_lack_a_picture_makes_no_pairs(draw):
    numbers = (1, 2, *range(11, 17))
    root = draw(*(f"images/{n}.jpg" for n in range(1, 9)), *((f"masks/{n}_cat.png", 1) for n in numbers))
    assert layouts.layouts_of(root) == {}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            "images/a.jpg masks/a.npy",
            "1 images (in images), and no masks that go with them: masks/ holds 1",
        ),
        ("images/A.jpg masks/a.png", "names differ in letter case (A.jpg in images/, a.png in masks/)"),
        ("pics/a.jpg truth/a.png", "pics/ and truth/ share 1 names: call them images/ and masks/"),
        ("images/a.jpg masks.zip", "masks.zip is an archive: unpack it"),
        ("images/a.nii.gz masks/a.nii.gz", "a.nii.gz is a volume, and segpipe takes single pictures"),
        (
            "images/a.jpg masks/z.png",
            "no name of a mask is that of a picture (images/a.jpg, masks/z.png)",
        ),
        (
            "images/a.jpg",
            "1 images (in images), and no masks that go with them; put masks of equal stems",
        ),
        ("images/a.jpg ann/a.json ann/b.json", "ann holds 2 .json of a kind that is not read"),
        ("images/a.jpg via.json", "masks that go with them: the folder holds 1 .json of a kind that"),
        ("data.tar", "holds no image; expected some (.bmp, "),
    ],
)
def test_a_folder_without_pairs_is_met_with_what_was_seen(tmp_path, files, words):
    for name in files.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert words in unmatched.reason(tmp_path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b"PK"), "data.zip is an archive, which you unpack first"),
        (lambda path: None, "there is no folder"),
    ],
)
def test_an_archive_in_place_of_a_folder_is_named(tmp_path, make, words):
    make(tmp_path / "data.zip")
    with pytest.raises(UserError, match=words):
        list(layouts.samples("pairs", tmp_path / "data.zip", 0.3, GREY))


WORDS = st.sampled_from(["images", "masks", "train", "val", "test", "x", "gtFine", "a_mask", "Labels"])
STEMS = st.text("ab1_-. éL", min_size=1, max_size=6).map(str.strip).filter(lambda s: s.strip("."))
PATHS = st.lists(
    st.tuples(st.lists(WORDS, max_size=3), STEMS, st.sampled_from([".jpg", ".png", ".PNG"])), max_size=12
)


@given(PATHS)
def test_whatever_files_are_called_each_is_used_once_or_counted(paths):
    from pathlib import Path

    root = Path("/data")
    files = {root.joinpath(*folders, stem + suffix) for folders, stem, suffix in paths}
    parts: dict = {}
    for path in sorted(files):
        file = parsed(root, path)
        parts.setdefault(file.part, []).append(file)
    for some in parts.values():
        found = match(some)
        used = [p for side in (found.images, found.masks) for paths in side.values() for p in paths]
        assert len(used) == len({*used})
        assert found.rivals or len(used) + found.unused.total() == len(some)
