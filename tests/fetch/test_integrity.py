"""What `fetch` says of bad samples: file, found, expected; and what it makes of odd but good ones."""

import io
import shutil
import struct
import zlib

import numpy as np
import pytest
import tifffile
import yaml
from helpers import PETS, decode_rgb, draw_photo
from own_folders import only
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png, decode_tiff
from segpipe.common.errors import UserError
from segpipe.common.tfrecord import read_shard
from segpipe.fetch import layouts
from segpipe.fetch.integrity import decode_pair
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Note, Sample


def fetch(root, out, skip_bad=False, layout="pairs"):
    found = layouts.samples(layout, root, 0.3, PETS)
    return write_raw("a test", found, PETS, skip_bad, 100, out, processes=1)


def problems_of(root, out):
    """What an error names, and that `skip` writes the same into the summary and leaves the rest."""
    with pytest.raises(UserError) as error:
        fetch(root, out)
    assert not out.exists()
    lines = str(error.value).splitlines()[1:]
    named = [line for line in lines if "data.classes: - {" not in line and "(or list" not in line]
    left_out = fetch(root, out, skip_bad=True)["left_out"]
    assert [f"  {p['problem']}" for p in left_out] == named
    return [line.strip() for line in named]


def sample(out, name):
    shards = sorted(out.glob("*.tfrecord"))
    return next(s for shard in shards for s in read_shard(shard) if s["name"].decode() == name)


def some(pairs, folder_):
    return sorted((pairs / folder_).iterdir())[0]


def test_good_pairs_are_split_by_name_hash_and_kept_byte_for_byte(pairs, tmp_path):
    summary = fetch(pairs, tmp_path / "raw")
    assert sum(s["samples"] for s in summary["splits"].values()) == 12
    assert summary["left_out"] == []
    image = some(pairs, "images")
    assert sample(tmp_path / "raw", image.stem)["image"] == image.read_bytes()


def test_a_missing_mask_is_reported(pairs, tmp_path):
    some(pairs, "masks").unlink()
    expected = "images/photo 00.jpg: no mask for its partner; expected a file of the same stem, photo 00"
    assert problems_of(pairs, tmp_path / "raw") == [expected]


def test_a_missing_image_is_reported(pairs, tmp_path):
    some(pairs, "images").unlink()
    expected = "masks/photo 00.png: no image for its partner; expected a file of the same stem, photo 00"
    assert problems_of(pairs, tmp_path / "raw") == [expected]


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_truncated_file_is_reported(pairs, tmp_path, kind):
    path = some(pairs, kind)
    path.write_bytes(path.read_bytes()[:-60])
    (problem,) = problems_of(pairs, tmp_path / "raw")
    assert problem.startswith(f"{kind}/{path.name}: an unreadable image (")
    kinds = "JPEG, PNG, TIFF, JPEG 2000, DICOM, GIF, BMP or WebP"
    assert problem.endswith(f"expected a whole image ({kinds})")


@pytest.mark.parametrize(
    ("content", "found"), [(b"", "an empty file"), (b"no picture", "no image format that segpipe reads")]
)
def test_a_file_that_is_no_image_is_reported(pairs, tmp_path, content, found):
    some(pairs, "images").write_bytes(content)
    (problem,) = problems_of(pairs, tmp_path / "raw")
    assert problem.startswith(f"images/photo 00.jpg: {found}; expected a whole image")


def test_image_and_mask_of_different_size_are_reported(pairs, tmp_path):
    Image.new("L", (40, 31), 1).save(some(pairs, "masks"))
    expected = "masks/photo 00.png: size 40x31; expected the image's size, 40x30 (images/photo 00.jpg)"
    assert problems_of(pairs, tmp_path / "raw") == [expected]


def test_two_files_of_one_stem_are_reported(pairs, tmp_path):
    shutil.copy(some(pairs, "images"), pairs / "images" / "photo 00.png")
    expected = (
        "images/photo 00.jpg and images/photo 00.png: a duplicate name, 2 files for photo 00; "
        "expected one image"
    )
    assert problems_of(pairs, tmp_path / "raw") == [expected]


def test_a_mask_value_outside_the_table_is_reported_with_value_count_and_table(pairs, tmp_path):
    path = some(pairs, "masks")
    mask = np.array(Image.open(path))
    mask[0, :5] = 7
    Image.fromarray(mask).save(path)
    expected = (
        "masks/photo 00.png: mask values outside the class table: 7 (5 pixels); expected 1 = pet, "
        "2 = background, 3 = border (data.classes, data.ignore)"
    )
    assert problems_of(pairs, tmp_path / "raw") == [expected]


def test_a_colour_mask_is_reported(pairs, tmp_path):
    mask = np.zeros((30, 40, 3), np.uint8)
    mask[..., 0] = 1
    Image.fromarray(mask).save(some(pairs, "masks"))
    (problem,) = problems_of(pairs, tmp_path / "raw")
    assert "a colour picture (mode RGB); expected one channel of class values" in problem


def test_mask_values_above_255_are_reported(pairs, tmp_path):
    Image.fromarray(np.full((30, 40), 1000, np.uint16)).save(some(pairs, "masks"))
    (problem,) = problems_of(pairs, tmp_path / "raw")
    assert "values from 1000 to 1000; expected class values 0 to 255" in problem


def test_a_listed_name_without_files_is_reported(pairs, tmp_path):
    (pairs / "train.txt").write_text("photo 01\nphoto 02.jpg\nphoto 99\n")
    (pairs / "test.txt").write_text("# comments and empty lines do not count\n\nphoto 03\n")
    expected = "photo 99: no image for a name in the list; expected a file of the same stem, photo 99"
    assert problems_of(pairs, tmp_path / "raw") == [expected]


def test_a_name_in_both_lists_stays_in_test_alone(pairs, tmp_path):
    (pairs / "train.txt").write_text("photo 01\nphoto 02\n")
    (pairs / "test.txt").write_text("photo 02\n")
    expected = "photo 02: a name in both lists, train and test; expected it in one of them"
    assert problems_of(pairs, tmp_path / "raw") == [expected]
    assert [s["name"] for s in read_shard(tmp_path / "raw" / "train-00000.tfrecord")] == [b"photo 01"]


def test_a_name_twice_in_a_list_is_reported_and_used_once(pairs, tmp_path):
    (pairs / "train.txt").write_text("photo 01\nphoto 01\n")
    (pairs / "test.txt").write_text("photo 02\n")
    expected = "photo 01: a duplicate name, 2 times in the train list; expected it once"
    assert problems_of(pairs, tmp_path / "raw") == [expected]
    assert len(list(read_shard(tmp_path / "raw" / "train-00000.tfrecord"))) == 1


def test_a_picture_in_both_splits_under_two_names_leaves_the_training_split(pairs, tmp_path):
    Image.open(pairs / "images/photo 01.jpg").save(pairs / "images/photo 05.bmp")  # equal pixels
    (pairs / "images/photo 05.jpg").unlink()
    (pairs / "train.txt").write_text("photo 04\nphoto 05\n")
    (pairs / "test.txt").write_text("photo 01\n")
    expected = (
        "images/photo 05.bmp: the same picture as images/photo 01.jpg of the test split; "
        "expected no picture in both train and test"
    )
    assert problems_of(pairs, tmp_path / "raw") == [expected]
    assert [s["name"] for s in read_shard(tmp_path / "raw" / "train-00000.tfrecord")] == [b"photo 04"]


def test_many_problems_are_counted_and_the_first_20_named(pairs, tmp_path, rng):
    for number in range(30):
        draw_photo(rng, 8, 8)[0].save(pairs / "images" / f"alone {number:02d}.png")
    with pytest.raises(UserError, match="30 bad samples") as error:
        fetch(pairs, tmp_path / "raw")
    lines = str(error.value).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  ... and 10 more"


@pytest.mark.parametrize("skip_bad", [True, False])
def test_all_samples_bad_is_an_error_whatever_on_bad_says(pairs, tmp_path, skip_bad):
    for path in (pairs / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="12 bad samples"):
        fetch(pairs, tmp_path / "raw", skip_bad)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP", "WEBP"])
def test_content_decides_the_format_not_the_name(pairs, tmp_path, format_):
    path = some(pairs, "images")
    image = Image.open(path).convert("RGB")
    image.save(path, format_, **({"lossless": True} if format_ == "WEBP" else {}))
    expected = np.asarray(Image.open(path).convert("RGB"))
    fetch(pairs, tmp_path / "raw")
    assert (np.asarray(decode_rgb(sample(tmp_path / "raw", path.stem)["image"])) == expected).all()


def test_alpha_is_dropped(pairs, tmp_path):
    path = some(pairs, "images")
    pixels = np.random.default_rng(1).integers(0, 256, (30, 40, 4), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    fetch(pairs, tmp_path / "raw")
    assert (
        np.asarray(decode_rgb(sample(tmp_path / "raw", path.stem)["image"])) == pixels[..., :3]
    ).all()


@pytest.mark.parametrize("mode", ["P", "RGB", "I;16", "1"])
def test_masks_of_one_channel_in_any_mode_give_the_indices_of_their_values(pairs, tmp_path, mode):
    path = some(pairs, "masks")
    values = np.array(Image.open(path)) if mode != "1" else np.ones((30, 40), np.uint8)
    image = {
        "P": lambda: Image.fromarray(values).convert("P"),
        "RGB": lambda: Image.fromarray(np.stack([values] * 3, -1)),
        "I;16": lambda: Image.fromarray(values.astype(np.uint16)),
        "1": lambda: Image.fromarray(values.astype(bool)),
    }[mode]()
    if mode == "P":
        image = Image.fromarray(values, "L")
        image.putpalette([200, 10, 10] * 256)
    image.save(path)
    assert Image.open(path).mode == mode
    fetch(pairs, tmp_path / "raw")
    assert (decode_png(sample(tmp_path / "raw", path.stem)["mask"]) == PETS.to_indices(values)).all()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_turns_image_and_mask_alike(pairs, tmp_path, orientation):
    image, mask = some(pairs, "images"), some(pairs, "masks")
    values = np.array(Image.open(mask))
    values[0, 0] = 3  # so that no turn looks like another
    values[0, -1] = 1
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values * 80).convert("RGB").save(image, "PNG", exif=exif)
    Image.fromarray(values).save(mask)
    fetch(pairs, tmp_path / "raw")
    kept = sample(tmp_path / "raw", image.stem)
    turns = {
        2: "fliplr",
        3: "rot180",
        4: "flipud",
        5: "transpose",
        6: "rot270",
        7: "transverse",
        8: "rot90",
    }
    turned = {
        "fliplr": np.fliplr, "flipud": np.flipud, "transpose": np.transpose,
        "rot90": np.rot90, "rot180": lambda a: np.rot90(a, 2), "rot270": lambda a: np.rot90(a, 3),
        "transverse": lambda a: np.rot90(a.T, 2),
    }[turns[orientation]](values)  # fmt: skip
    assert (decode_png(kept["mask"]) == PETS.to_indices(turned)).all()
    assert (np.asarray(decode_rgb(kept["image"]))[..., 0] == turned * 80).all()


def test_a_mask_turned_otherwise_than_its_image_is_refused(pairs, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = some(pairs, "masks")
    Image.open(path).save(path, exif=exif)
    (problem,) = problems_of(pairs, tmp_path / "raw")
    assert problem == (
        "masks/photo 00.png: EXIF orientation 3; expected none, or the image's, 1 (images/photo 00.jpg)"
    )


def test_a_mask_that_only_fits_the_upright_picture_is_taken_as_upright(pairs, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image, mask = some(pairs, "images"), some(pairs, "masks")
    Image.open(image).save(image, "JPEG", exif=exif)
    upright = np.rot90(np.array(Image.open(mask)), 3)
    Image.fromarray(upright).save(mask)
    fetch(pairs, tmp_path / "raw")
    assert (decode_png(sample(tmp_path / "raw", image.stem)["mask"]) == PETS.to_indices(upright)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("view", ["upright", "stored"])
def test_the_view_of_all_masks_is_told_by_the_pictures_whose_sides_exif_swaps(tmp_path, view, kind):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    drawing = np.ones((40, 60), np.uint8)
    drawing[5:20, 10:30] = 2
    expected = {}
    for number, orientation in enumerate((6, 6, 8, 3)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"p{number}"
        Image.fromarray(drawing * 80).save(tmp_path / f"images/{name}.{kind}", kind, exif=exif)
        expected[name] = np.rot90(drawing, {3: 2, 6: 3, 8: 1}[orientation])
        Image.fromarray(drawing if view == "stored" else expected[name]).save(
            tmp_path / f"masks/{name}.png"
        )
    found = list(layouts.samples("pairs", tmp_path, 0.3, PETS))
    assert [one.text for one in only(Note, found)] == [
        f"EXIF turns 4 pictures; their masks are taken as drawn on the {view} view, as 3 sizes tell"
    ]
    for one in only(Sample, found):
        picture, mask = decode_pair(*one.content.read(), "image", "mask", upright=one.upright)
        assert (mask == expected[one.name]).all()
        assert np.abs(picture.pixels[..., 0] - 80.0 * mask).mean() < 2, "turned as its mask"


def test_a_damaged_exif_block_is_no_orientation(pairs, tmp_path):
    image = some(pairs, "images")
    Image.open(image).save(image, "JPEG", exif=b"Exif\0\0garbage!")
    assert fetch(pairs, tmp_path / "raw")["left_out"] == []


@pytest.mark.parametrize("values", [(1, 2, 3), (1, 3), (2,)])
def test_a_gif_mask_gives_its_grey_levels_though_its_palette_is_renumbered(pairs, tmp_path, values):
    mask = some(pairs, "masks")
    levels = np.resize(np.array(values, np.uint8), (30, 40))
    Image.fromarray(levels).save(mask.with_suffix(".gif"))
    mask.unlink()
    fetch(pairs, tmp_path / "raw")
    assert (decode_png(sample(tmp_path / "raw", mask.stem)["mask"]) == PETS.to_indices(levels)).all()


def test_a_gif_mask_in_colours_is_reported(pairs, tmp_path):
    mask = some(pairs, "masks")
    Image.fromarray(np.full((30, 40, 3), (200, 0, 0), np.uint8)).save(mask, "GIF")
    (problem,) = problems_of(pairs, tmp_path / "raw")
    assert "a GIF in colours; expected grey levels that are class values, or a PNG" in problem


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_mask_with_pixels_that_are_no_number_says_so(pairs, tmp_path, odd, bands):
    path = some(pairs, "masks")
    values = np.ones((30, 40, bands), np.float32)
    values[2:4, 5] = odd
    kind = "rgb" if bands == 3 else "minisblack"
    tifffile.imwrite(path.with_suffix(".tif"), values.squeeze(), photometric=kind)
    path.unlink()
    assert problems_of(pairs, tmp_path / "raw") == [
        "masks/photo 00.tif: 2 pixels that are NaN or infinite; expected class values 0 to 255, such as "
        "255 for pixels without a class"
    ]


def test_16_bit_grey_keeps_every_level(pairs, tmp_path):
    image = some(pairs, "images")
    grey = np.arange(1200, dtype=np.uint16).reshape(30, 40) * 54
    Image.fromarray(grey).save(image, "PNG")
    fetch(pairs, tmp_path / "raw")
    kept, invalid = decode_tiff(sample(tmp_path / "raw", image.stem)["image"])
    assert (kept == grey[..., None]).all()
    assert invalid is None


def test_an_unprintable_name_is_reported_in_printable_letters(pairs, tmp_path):
    for kind in ("images", "masks"):
        path = some(pairs, kind)
        path.rename(path.with_stem("photo\r00"))
    (problem,) = problems_of(pairs, tmp_path / "raw")
    assert (
        problem == r"images/photo\r00.jpg: an unprintable letter in its name; expected printable UTF-8"
    )


@pytest.mark.parametrize("name", ["9.41\u202fAM", "\u5199\u771f\u30001", "a\u00a0b"])
def test_a_name_may_have_any_spaces(pairs, tmp_path, name):
    """macOS and Japanese writers use others than ASCII's."""
    for kind in ("images", "masks"):
        path = some(pairs, kind)
        path.rename(path.with_stem(name))
    fetch(pairs, tmp_path / "raw")
    assert sample(tmp_path / "raw", name)["name"].decode() == name


def test_an_unreadable_mask_is_named_and_not_its_image(pairs, tmp_path):
    mask = some(pairs, "masks")
    mask.unlink()
    mask.symlink_to(tmp_path / "gone" / "masks" / mask.name)
    (problem,) = problems_of(pairs, tmp_path / "raw")
    assert problem.startswith("masks/photo 00.png: unreadable (No such file or directory)")


def test_the_two_quirks_of_the_real_photographs_are_fine(pet_dir, tmp_path):
    root = tmp_path / "pets"
    for folder_ in ("images", "annotations/trimaps"):
        (root / folder_).mkdir(parents=True)
    for name in ("Abyssinian_5", "Abyssinian_34", "Abyssinian_1", "Bengal_1"):
        shutil.copy(pet_dir / f"images/{name}.jpg", root / "images")
        shutil.copy(pet_dir / f"annotations/trimaps/{name}.png", root / "annotations/trimaps")
    (root / "annotations/trainval.txt").write_text("Abyssinian_5 1 1 1\nAbyssinian_34 1 1 1\n")
    (root / "annotations/test.txt").write_text("Abyssinian_1 1 1 1\nBengal_1 1 1 1\n")
    assert fetch(root, tmp_path / "raw", layout="oxford")["left_out"] == []
    assert decode_rgb(sample(tmp_path / "raw", "Abyssinian_5")["image"]).mode == "RGB"
    assert 0 not in decode_png(sample(tmp_path / "raw", "Abyssinian_34")["mask"]), "no pet"


def test_what_is_kept_of_a_turned_picture_carries_no_exif(pairs, tmp_path):
    image = some(pairs, "images")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(image).save(image, "JPEG", exif=exif)
    fetch(pairs, tmp_path / "raw")
    kept = Image.open(io.BytesIO(sample(tmp_path / "raw", image.stem)["image"]))
    assert dict(kept.getexif()) == {}
    assert kept.size == (30, 40)


COLOURS = ClassTable(
    (SegmentationClass("road", "#804080", "#0072b2"), SegmentationClass("car", "#00008e", "#e69f00"))
)


@pytest.mark.parametrize("kind", ["RGB.png", "RGBA.png", "P.png", "P.gif", "RGB.bmp"])
def test_a_mask_in_colours_is_read_as_its_colours_in_any_lossless_format(kind, tmp_path):
    mode, suffix = kind.split(".")
    indices = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    drawn = np.array([[0x80, 0x40, 0x80], [0, 0, 0x8E]], np.uint8)[indices]
    picture = Image.fromarray(drawn)
    picture = picture.quantize(2) if mode == "P" else picture.convert(mode)
    picture.save(tmp_path / f"mask.{suffix}")
    Image.new("RGB", (3, 2)).save(tmp_path / "image.png")
    image, mask = ((tmp_path / name).read_bytes() for name in ("image.png", f"mask.{suffix}"))
    _, colours = decode_pair(image, mask, "image", "mask", by_colour=True)
    assert (COLOURS.to_indices(colours) == indices).all()


@pytest.mark.parametrize(("kind", "format_"), [("images", "GIF"), ("images", "PNG"), ("images", "WEBP"),
                                               ("masks", "GIF")])  # fmt: skip
def test_an_animation_is_reported_with_its_frames(pairs, tmp_path, kind, format_):
    path = some(pairs, kind)
    frames = [Image.new("L", (40, 30), level) for level in (1, 100, 200)]
    frames[0].save(path, format_, save_all=True, append_images=frames[1:])
    (problem,) = problems_of(pairs, tmp_path / "raw")
    found = "an animation: holds 3 frames; segpipe takes single pictures"
    assert problem == f"{kind}/{path.name}: {found}; expected one picture a file"


def test_the_second_picture_in_a_phones_jpeg_is_no_animation(pairs, tmp_path):
    image = some(pairs, "images")
    photo = Image.open(image)
    photo.save(image, "MPO", save_all=True, append_images=[photo.resize((20, 15))])
    assert fetch(pairs, tmp_path / "raw")["left_out"] == []


def test_a_cmyk_photograph_becomes_rgb(pairs, tmp_path):
    image = some(pairs, "images")
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(image, "JPEG", quality=100)
    fetch(pairs, tmp_path / "raw")
    kept = np.asarray(decode_rgb(sample(tmp_path / "raw", image.stem)["image"]))
    assert abs(kept.astype(int) - [255, 0, 0]).max() <= 4, "no cyan, all magenta and yellow: red"


def test_a_picture_beyond_pillows_limit_is_reported_with_its_pixels(pairs, tmp_path):
    """A few bytes of header promise it; nothing of that size is ever in memory."""
    image = some(pairs, "images")
    small = io.BytesIO()
    Image.new("1", (8, 8)).save(small, "PNG")
    header = struct.pack(">II", 30_000, 20_000) + small.getvalue()[24:29]
    checked = zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    image.write_bytes(small.getvalue()[:16] + header + checked + small.getvalue()[33:])
    (problem,) = problems_of(pairs, tmp_path / "raw")
    assert problem == (
        "images/photo 00.jpg: a picture of 600000000 pixels; expected 536870912 at most; cut it into "
        "parts"
    )


def message_of(pairs, tmp_path, table=PETS):
    found = layouts.samples("pairs", pairs, 0.3, table)
    with pytest.raises(UserError) as error:
        write_raw("a test", found, table, False, 100, tmp_path / "raw", processes=1)
    return str(error.value)


def test_unknown_values_are_summed_over_all_masks_with_a_line_to_add_for_each(pairs, tmp_path):
    """1200 pixels in each of 12 masks: 144 of 14400 are 1 %."""
    for name, value, count in (("00", 7, 100), ("01", 7, 44), ("02", 9, 72)):
        path = pairs / f"masks/photo {name}.png"
        mask = np.array(Image.open(path))
        mask.flat[:count] = value
        Image.fromarray(mask).save(path)
    message = message_of(pairs, tmp_path)
    assert "2 values or labels that the class table lacks (or list values in data.ignore):" in message
    assert message.endswith(
        "  7: 1 % of all pixels, in 2 masks; to make it a class, add to data.classes: "
        "- {name: class_7, value: 7, colour: '#009e73'}\n"
        "  9: 0.5 % of all pixels, in 1 masks; to make it a class, add to data.classes: "
        "- {name: class_9, value: 9, colour: '#cc79a7'}"
    )
    rows = [yaml.safe_load(line.split("data.classes: ")[1]) for line in message.splitlines()[-2:]]
    added = [SegmentationClass(**row) for (row,) in rows]
    fetched = ClassTable((*PETS.classes, *added))
    found = layouts.samples("pairs", pairs, 0.3, fetched)
    write_raw("a test", found, fetched, False, 100, tmp_path / "raw", processes=1)


def test_unknown_colours_are_offered_as_they_are(pairs, tmp_path):
    table = ClassTable(
        (SegmentationClass("a", "#010101", "#010101"), SegmentationClass("b", "#020202", "#020202"))
    )
    message = message_of(pairs, tmp_path, table)
    assert "- {name: class_030303, value: '#030303', colour: '#030303'}" in message


def test_a_photograph_in_the_place_of_a_mask_is_called_one(pairs, tmp_path):
    for path in (pairs / "masks").iterdir():
        Image.open(pairs / "images" / f"{path.stem}.jpg").convert("L").save(path)
    message = message_of(pairs, tmp_path)
    assert " more; expected 1 = pet" in message.splitlines()[1]
    assert "so many values are not classes: is this a photograph, or a mask saved as JPEG" in message
