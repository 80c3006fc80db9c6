"""Where a picture has several masks and nothing tells which is meant, the folder is refused."""

import numpy as np
import pytest
from own_folders import HEIGHT, WIDTH, photo, save
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.fetch import layouts
from segpipe.fetch.layouts import looks, unmatched
from segpipe.fetch.sample import Note, Problem, Sample

TABLE = ClassTable((SegmentationClass("thing", 1, "#0072b2"),))


@pytest.fixture
def draw(tmp_path, rng):
    """Draw 12 pictures, and other files by their form: a mask of one value, or a photograph."""

    def write(image, masks=(), photographs=(), count=12):
        for n in range(count):
            save(photo(rng), tmp_path / image.format(n))
            for form in photographs:
                save(photo(rng), tmp_path / form.format(n))
            for form in masks:
                save(Image.new("L", (WIDTH, HEIGHT), 1), tmp_path / form.format(n))
        return tmp_path

    return write


def read(root):
    """Return the mask of each sample, problems, and notes."""
    found = list(layouts.samples(next(iter(layouts.layouts_of(root))), root, 0.3, TABLE))
    masks = {one.name: one.mask for one in found if isinstance(one, Sample)}
    problems = [str(one) for one in found if isinstance(one, Problem)]
    return masks, problems, [one.text for one in found if isinstance(one, Note)]


@pytest.mark.parametrize(
    ("image", "masks", "named"),
    [
        ("images/{}.jpg", ["masks/{}.png", "labels/{}.png"], "masks/0.png, labels/0.png"),
        ("images/{}.jpg", ["masks/{}.png", "annotations/{}.png"], "masks/0.png, annotations/0.png"),
        ("images/{}_dr.jpg", ["mask/{}_dr_mask.tif", "manual1/{}_dr.tif"],
         "mask/0_dr_mask.tif, manual1/0_dr.tif"),
        ("images/{}_train.tif", ["mask/{}_train_mask.gif", "1st_manual/{}_manual1.gif"],
         "mask/0_train_mask.gif, 1st_manual/0_manual1.gif"),
        ("images/{}.jpg", ["masks/{}_L.png", "masks/{}_R.png"], "0_L.png, 0_R.png"),
        ("images/{}.jpg", ["masks/{}_mask.png", "masks/{}_mask_1.png"],
         "0_mask.png, 0_mask_1.png"),
        ("images/{}.jpg", ["masks/{}.png", "masks/{}_semantic.png"], "0.png, 0_semantic.png"),
        ("day/{}.jpg", ["day/{}_label_ground-truth.png", "day/{}_label_ground-truth_semantic.png"],
         "0_label_ground-truth.png, 0_label_ground-truth_semantic.png"),
        ("a/images/{}.jpg", ["a/masks/{}.png", "a/roi/{}.png"], "masks/0.png, roi/0.png"),
        ("images/a/{}.jpg", ["masks/a/{}.png", "roi/a/{}.png"], "masks/a/0.png, roi/a/0.png"),
    ],
)  # fmt: skip
def test_masks_in_another_folder_or_of_another_ending_are_named_and_none_is_taken(
    draw, image, masks, named
):
    root = draw(image, masks)
    assert layouts.layouts_of(root) == {}
    expected = f"holds pictures, but each has several masks ({named}): keep one kind, or one folder"
    assert expected in unmatched.reason(root)
    with pytest.raises(UserError, match="each has several masks"):
        list(layouts.samples("pairs", root, 0.3, TABLE))


def test_a_second_object_of_a_few_pictures_is_not_dropped(draw):
    root = draw("images/{}.jpg", ["masks/{}_mask.png"])
    for n in (3, 5):
        save(Image.new("L", (WIDTH, HEIGHT), 1), root / f"masks/{n}_mask_1.png")
    assert "several masks (3_mask.png, 3_mask_1.png)" in unmatched.reason(root)


def test_a_test_split_with_several_masks_is_refused_with_the_rest(draw):
    draw("train/images/{}.jpg", ["train/masks/{}.png"])
    root = draw("test/images/{}.jpg", ["test/masks/{}.png", "test/roi/{}.png"], count=3)
    with pytest.raises(UserError, match=r"several masks \(masks/0.png, roi/0.png\)"):
        list(layouts.samples("splits", root, 0.3, TABLE))


@pytest.mark.parametrize(
    ("other", "unused"),
    [
        ("instances/{}.png", "pictures in instances/ (12)"),
        ("masks_color/{}.png", "pictures in masks_color/ (12)"),
        ("contours/{}.png", "pictures in contours/ (12)"),
        ("masks/{}_color.png", "pictures called *_color (12)"),
        ("SegmentationObject/{}.png", "pictures in SegmentationObject/ (12)"),
        ("masks_human/{}.png", "pictures in masks_human/ (12)"),
        ("roi/x{}.png", "pictures in roi/ (12)"),
    ],
)
def test_colours_instances_and_files_of_other_names_beside_masks_are_not_used(draw, other, unused):
    masks, problems, notes = read(draw("images/{}.jpg", ["masks/{}.png", other]))
    assert masks == {f"{n}": f"masks/{n}.png" for n in range(12)}
    assert (problems, notes) == ([], [f"not used: {unused}"])


@pytest.mark.parametrize("other", ["depth_map/{}.png", "nir/{}.png", "thumbs/{}.jpg", "labels/{}.jpg"])
def test_photographs_beside_masks_are_no_masks(draw, other):
    masks, problems, notes = read(draw("images/{}.jpg", ["masks/{}.png"], [other]))
    assert masks == {f"{n}": f"masks/{n}.png" for n in range(12)}
    assert (problems, notes) == ([], [f"not used: pictures in {other.partition('/')[0]}/ (12)"])


def test_gtfine_is_preferred_to_gtcoarse_and_the_larger_voc_set_to_the_other(draw):
    root = draw("leftImg8bit/{}_leftImg8bit.png",
                [f"gt{kind}/{{}}_gt{kind}_labelIds.png" for kind in ("Coarse", "Fine")])  # fmt: skip
    assert {mask.partition("/")[0] for mask in read(root)[0].values()} == {"gtFine"}


def test_segmentationclassaug_is_taken_where_it_has_more_masks(draw):
    draw("JPEGImages/{}.jpg", ["SegmentationClassAug/{}.png"])
    root = draw("JPEGImages/{}.jpg", ["SegmentationClass/{}.png"], count=4)
    assert {mask.partition("/")[0] for mask in read(root)[0].values()} == {"SegmentationClassAug"}


def stripes(path, values):
    """A mask with a stripe of 10 columns for each value, which is a number or a colour."""
    row = np.repeat(np.array(values, np.uint8), 10, axis=0)
    save(Image.fromarray(np.tile(row, (HEIGHT,) + (1,) * row.ndim)), path)


def test_a_copy_of_the_masks_and_the_same_in_colours_hold_nobody_up(draw):
    root = draw("images/{}.jpg", count=4)
    colours = {0: (0, 0, 0), 1: (9, 0, 0), 2: (0, 9, 0)}
    for n in range(4):
        drawn = [n % 3, 1, 2, 0]
        stripes(root / f"masks/{n}.png", drawn)
        stripes(root / f"raw/{n}.png", drawn)
        stripes(root / f"viewed/{n}.png", [colours[value] for value in drawn])
    masks, problems, notes = read(root)
    assert masks == {f"{n}": f"masks/{n}.png" for n in range(4)}
    said = "not used: pictures in raw/ (4), pictures in viewed/ (4)"
    assert (problems, notes) == ([], [said])


def test_masks_that_differ_in_one_picture_are_several(draw):
    root = draw("images/{}.jpg", count=4)
    for n in range(4):
        stripes(root / f"masks/{n}.png", [0, 1, 2, 0])
        stripes(root / f"raw/{n}.png", [0, 1, 2, 0] if n else [0, 2, 1, 0])
    assert "several masks (masks/0.png, raw/0.png)" in unmatched.reason(root)


def test_a_mask_has_at_most_32_values_or_colours(tmp_path):
    for count in (32, 33):
        values = np.arange(40 * 30).reshape(30, 40) % count
        save(Image.fromarray(values.astype(np.uint8)), tmp_path / f"grey{count}.png")
        colours = np.stack([values, 255 - values, values * 0], axis=-1).astype(np.uint8)
        save(Image.fromarray(colours), tmp_path / f"colours{count}.png")
    (tmp_path / "none.png").write_bytes(b"x")
    names = ("grey32", "grey33", "colours32", "colours33", "none", "missing")
    likes = [looks.like_mask(tmp_path / f"{name}.png") for name in names]
    assert likes == [True, False, True, False, None, None]


# --- other words for the same ------------------------------------------------------------------------


def test_sites_with_other_words_for_pictures_and_masks_are_read_together(draw):
    draw("siteA/images/{}.jpg", ["siteA/masks/{}.png"])
    draw("siteB/img/{}.jpg", ["siteB/label/{}_gt.png"], count=4)
    root = draw("siteC/images/{}.jpg", ["siteC/gt/{}.png"], count=2)
    masks, problems, notes = read(root)
    expected = {f"siteA/{n}": f"siteA/masks/{n}.png" for n in range(12)}
    expected |= {f"siteB/{n}": f"siteB/label/{n}_gt.png" for n in range(4)}
    expected |= {f"siteC/{n}": f"siteC/gt/{n}.png" for n in range(2)}
    assert masks == expected
    assert (problems, notes) == ([], [])


def test_a_picture_of_the_second_site_without_a_mask_is_a_problem_too(draw):
    draw("siteA/images/{}.jpg", ["siteA/masks/{}.png"])
    root = draw("siteB/img/{}.jpg", ["siteB/label/{}.png"], count=4)
    (root / "siteB/label/3.png").unlink()
    problems = [one.split(";")[0] for one in read(root)[1]]
    assert problems == ["siteB/img/3.jpg: no mask for its partner"]


def test_copies_of_the_pictures_in_a_folder_of_another_word_are_no_other_site(draw):
    root = draw("images/{}.jpg", ["masks/{}.png"], ["img/{}.jpg"])
    masks, problems, notes = read(root)
    assert masks == {f"{n}": f"masks/{n}.png" for n in range(12)}
    assert (problems, notes) == ([], ["not used: pictures in img/ (12)"])
