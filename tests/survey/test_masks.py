"""A mask is counted as `fetch` reads it, whatever its file; what misleads is judged as a whole."""

import io
from collections import Counter

import numpy as np
import pytest
import tifffile
from own_folders import grey_png
from PIL import Image

from segpipe.common.errors import UserError
from segpipe.fetch.integrity import mask_pixels
from segpipe.fetch.sample import BadSampleError
from segpipe.survey.masks import MaskStats, mask_stats
from segpipe.survey.names import Names
from segpipe.survey.proposal import propose

DRAWING = np.array([[0, 0, 1], [1, 1, 2]], np.uint8)
RGB = np.array([[[255, 0, 0], [255, 0, 0], [0, 0, 9]]], np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def with_palette():
    image = Image.fromarray(DRAWING, "L").convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.putdata(DRAWING.ravel().tolist())
    return encoded(image)


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


COUNTS = {0: 2, 1: 3, 2: 1}
GREYS = {"#000000": 2, "#010101": 3, "#020202": 1}


@pytest.mark.parametrize(
    ("mask", "kind", "numbers", "colours"),
    [
        (encoded(Image.fromarray(DRAWING)), "PNG grey", COUNTS, GREYS),
        (with_palette(), "PNG palette", COUNTS, {"#000000": 2, "#800000": 3, "#008000": 1}),
        (grey_png(np.array([[0, 1, 2, 3]]), 2), "PNG grey of 2 bits", {0: 1, 85: 1, 170: 1, 255: 1},
         {"#000000": 1, "#555555": 1, "#aaaaaa": 1, "#ffffff": 1}),
        (encoded(Image.fromarray(DRAWING > 0)), "PNG 1 bit", {0: 2, 1: 4},
         {"#000000": 2, "#ffffff": 4}),
        (encoded(Image.fromarray(DRAWING).convert("RGB")), "PNG RGB", COUNTS, GREYS),
        (encoded(Image.fromarray(RGB)), "PNG RGB", None, {"#ff0000": 2, "#000009": 1}),
        (encoded(Image.fromarray(DRAWING), "GIF"), "GIF palette", COUNTS, GREYS),
        (encoded(Image.fromarray(DRAWING.astype(np.uint16))), "PNG of 16 bits grey", COUNTS, GREYS),
        (tiff(DRAWING), "TIFF grey", COUNTS, GREYS),
        (tiff(DRAWING > 0, photometric="minisblack"), "TIFF grey", {0: 2, 1: 4},
         {"#000000": 2, "#ffffff": 4}),
        (tiff(DRAWING > 0), "TIFF grey with white as 0", {0: 2, 1: 4},
         {"#ffffff": 2, "#000000": 4}),
        (tiff(DRAWING, photometric="miniswhite"), "TIFF grey with white as 0", COUNTS,
         {"#ffffff": 2, "#fefefe": 3, "#fdfdfd": 1}),
        (tiff(DRAWING.astype(np.float32), photometric="miniswhite"), "TIFF grey with white as 0", COUNTS,
         None),
        (tiff(RGB, photometric="rgb"), "TIFF rgb", None, {"#ff0000": 2, "#000009": 1}),
        (DRAWING, "drawn", COUNTS, None),
    ],
)  # fmt: skip
def test_values_and_colours_are_counted_from_one_decode(mask, kind, numbers, colours):
    found = mask_stats(mask, "m")
    assert (found.kind, found.numbers, found.colours) == (kind, numbers, colours)
    if isinstance(mask, bytes) and numbers:
        assert Counter(mask_pixels(mask, "m", False)[0].ravel().tolist()) == numbers, "as fetch"
    if isinstance(mask, bytes) and colours and kind != "PNG of 16 bits grey":
        shown = mask_pixels(mask, "m", True)[0].reshape(-1, 3)
        assert Counter(f"#{bytes(one).hex()}" for one in shown.tolist()) == colours, "as fetch"


def test_a_mask_in_the_alpha_channel_is_refused_by_name():
    image = Image.new("RGBA", (2, 1), "white")
    image.putalpha(Image.fromarray(np.array([[0, 255]], np.uint8)))
    with pytest.raises(BadSampleError, match="m: one colour all over, and shapes in its alpha channel"):
        mask_stats(encoded(image), "m")


def grey(*counts, kind="PNG", lossy=False):
    return [MaskStats((8, 8), f"{kind} grey", c, {"#000000": 64}, lossy=lossy) for c in counts]


def table_of(masks, names=None, files=()):
    proposal = propose(masks, names or Names(), True, files)
    return {c.name: c.value for c in proposal.table.classes}, proposal


def test_masks_of_0_and_1_beside_others_of_0_and_255_have_one_foreground():
    classes, proposal = table_of(grey({0: 9, 1: 3}, {0: 9, 255: 3}, {0: 12}))
    assert classes == {"background": 0, "foreground": (1, 255)}
    assert proposal.table.ignore == ()
    assert proposal.notes == ("no mask holds both 1 and 255: both are taken as one class",)


def test_they_have_one_class_by_its_name_where_a_file_has_names():
    masks, names = grey({0: 9, 1: 3}, {0: 9, 255: 3}), Names(in_order=["background", "cat"])
    classes, proposal = table_of(masks, names)
    assert (classes, proposal.table.ignore) == ({"background": 0, "cat": (1, 255)}, ())
    assert len(proposal.notes) == 1


@pytest.mark.parametrize("last", [{0: 9, 1: 2, 255: 1}, {1: 2, 255: 1}])
def test_one_mask_with_both_1_and_255_makes_255_ignored(last):
    classes, proposal = table_of(grey({0: 9, 1: 3}, {0: 9, 255: 3}, last))
    assert classes == {"background": 0, "foreground": 1}
    assert proposal.table.ignore == (255,)
    assert proposal.notes == ()


def test_a_few_values_of_lossy_masks_are_refused():
    with pytest.raises(UserError, match="1 of 2 are JPEG, whose compression changes values"):
        masks = [*grey({0: 9, 255: 3}), *grey({0: 9, 1: 2, 255: 2}, kind="JPEG", lossy=True)]
        propose(masks, Names(), True)


BLOCKS = Image.fromarray(np.kron(np.array([[0, 255], [128, 0]], np.uint8), np.ones((8, 8), np.uint8)))


@pytest.mark.parametrize(
    ("mask", "lossy"),
    [
        (encoded(BLOCKS, "JPEG"), True),
        (encoded(BLOCKS.convert("RGB"), "WEBP", quality=80), True),
        (encoded(BLOCKS.convert("RGBA"), "WEBP", quality=80, exif=b"Exif\0\0"), True),
        (encoded(BLOCKS.convert("RGB"), "WEBP", lossless=True), False),
        (encoded(BLOCKS, "JPEG2000", irreversible=True), True),
        (encoded(BLOCKS, "JPEG2000", no_jp2=True), False),
        (encoded(BLOCKS, "TIFF", compression="jpeg"), True),
        (encoded(BLOCKS, "TIFF", compression="tiff_lzw"), False),
        (encoded(BLOCKS), False),
    ],
)
def test_compression_that_changes_values_is_known_in_every_format(mask, lossy):
    assert mask_stats(mask, "m").lossy is lossy


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "JPEG 2000"])
def test_lossy_masks_of_every_format_are_refused_by_name(kind):
    with pytest.raises(UserError, match=f"1 of 1 are {kind}, whose compression changes values"):
        propose(grey({0: 9, 1: 2, 255: 2}, kind=kind, lossy=True), Names(), True)


def test_the_mask_of_most_values_is_named_where_masks_cannot_be_read():
    photograph = [MaskStats((8, 8), "PNG RGB", None, None)]
    with pytest.raises(UserError, match=r"cannot be read \(as b\.png\): they hold "):
        propose([*grey({0: 9}), *photograph, *photograph], Names(), True, ["a.png", "b.png", "c.png"])


@pytest.mark.parametrize(
    ("name", "void"),
    [("avoid_zone", False), ("ovoid_cell", False), ("unknowns", False), ("void", True), ("Void_2", True),
     ("ego void", True), ("ignored-region", True), ("unlabelled", True), ("dont_care", True)],
)  # fmt: skip
def test_a_name_that_merely_contains_void_is_a_class(name, void):
    _, proposal = table_of(grey({0: 9, 1: 3, 2: 1}), Names(by_value={0: "a", 1: "b", 2: name}))
    assert proposal.table.ignore == ((2,) if void else ())


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            ({0: 9, 1: 3, 2: 1}, {0: 9, 127: 3, 255: 1}),
            "1 masks hold 255, and none of the other masks' 1, 2;",
        ),
        (
            ({0: 9, 1: 3, 2: 1}, {0: 9, 127: 3, 254: 1}),
            "1 masks hold 254, and none of the other masks' 1, 2;",
        ),
        (({0: 9, 1: 3}, {0: 9, 128: 3, 255: 1}), "1 masks hold 255, and none of the other masks' 1;"),
        (({0: 9, 128: 3}, {0: 9, 255: 1}), "1 masks hold 255, and none of the other masks' 128;"),
        (({0: 9, 1: 3, 2: 1}, {0: 9, 2: 3, 255: 1}), ""),  # ignored around the objects
        (({0: 9, 1: 3}, {0: 9, 2: 3}, {0: 9, 3: 1}), ""),  # a class a mask
        (({0: 9, 1: 3, 2: 1}, {0: 12}), ""),
    ],
)
def test_masks_on_two_scales_are_said(counts, said):
    _, proposal = table_of(grey(*counts))
    assert [note[: len(said)] for note in proposal.notes] == [said] * bool(said)


def test_palettes_that_give_one_number_two_colours_are_said():
    def of(red):
        found = {"#000000": 9, red: 3}
        return MaskStats((8, 8), "PNG palette", {0: 9, 1: 3}, found, {0: "#000000", 1: red})

    classes, proposal = table_of([of("#800000"), of("#dc143c")])
    assert len(classes) == 3
    assert proposal.notes[0].startswith("palettes give 2 numbers 3 colours, and the colours count; if")


def in_rgb(*counts):
    return [MaskStats((8, 8), "PNG RGB", {0: 1} if len(c) < 3 else None, c) for c in counts]


def test_a_few_colours_in_masks_that_are_all_rgb_are_classes():
    grey_ones = [{"#000000": 9, "#ffffff": 3}] * 30
    classes, _ = table_of(in_rgb(*grey_ones, {"#000000": 9, "#ffffff": 3, "#ff0000": 3}))
    assert [*classes.values()] == ["#000000", "#ff0000", "#ffffff"]


def test_soft_edges_are_refused_and_many_classes_are_not():
    soft = {0: 50_000, 255: 9000} | dict.fromkeys(range(30, 200, 20), 20)
    with pytest.raises(UserError, match="masks with soft edges: save them without antialiasing"):
        propose(grey(soft, soft, {0: 9}), Names(), True)
    classes, _ = table_of(grey(dict.fromkeys(range(40), 100), dict.fromkeys(range(30, 60), 100)))
    assert len(classes) == 60


@pytest.mark.parametrize("steps", [(64, 128, 191), (16, 48, 64, 112, 143, 191, 207, 239)])
def test_the_few_steps_that_scaling_puts_into_edges_are_refused(steps):
    """To half the size these are three values, and to twice the size eight."""
    scaled = {0: 50_000, 255: 9000} | dict.fromkeys(steps, 250)
    in_colours = {f"#{value:02x}0000": pixels for value, pixels in scaled.items()} | {"#00ff00": 4000}
    for masks in (grey(scaled, scaled, {0: 9}), in_rgb(in_colours, in_colours)):
        with pytest.raises(UserError, match="masks with soft edges: save them without antialiasing"):
            propose(masks, Names(), True)


def test_rare_classes_between_frequent_ones_are_no_soft_edges():
    rare = {0: 50_000, 7: 90, 26: 80, 33: 40, 255: 9000}
    close = {0: 50_000, 1: 90, 2: 80, 3: 90, 4: 9000}
    trimap = {0: 50_000, 128: 90, 255: 9000}
    for count in (rare, close, trimap):
        assert len(propose(grey(count, count), Names(), True).occurrences) == len(count)


def test_values_of_one_name_are_one_class():
    names = Names(by_value={0: "ground", 1: "car", 2: "car"})
    assert table_of(grey({0: 9, 1: 3, 2: 1}), names)[0] == {"ground": 0, "car": (1, 2)}


def test_the_label_ids_of_cityscapes_become_the_classes_of_its_training():
    ids = dict.fromkeys(range(34), 10)
    classes, proposal = table_of(grey(ids), files=["a/b_gtFine_labelIds.png"])
    assert list(classes) == [
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic_light", "traffic_sign",
        "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle",
        "bicycle",
    ]  # fmt: skip
    assert [*classes.values()] == [
        7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33,
    ]  # fmt: skip
    assert sorted(proposal.table.ignore) == [*range(7), 9, 10, 14, 15, 16, 18, 29, 30, 255]
    assert proposal.notes == (
        "Cityscapes' labels become its 19 classes of training; its other labels are ignored",
    )
    assert proposal.table.classes[0].colour == "#804080"


def test_cityscapes_is_known_by_the_names_of_a_list_too():
    names = ["unlabeled", "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light",
             "traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus",
             "train", "motorcycle", "bicycle", "rail track"]  # fmt: skip
    listed = Names(by_value=dict(enumerate(names)))
    classes, proposal = table_of(grey(dict.fromkeys(range(21), 10)), listed)
    assert len(classes) == 19 and classes["road"] == 1
    assert sorted(proposal.table.ignore) == [0, 20]


def test_the_32_labels_of_camvid_become_11():
    labels = [
        "Animal", "Archway", "Bicyclist", "Bridge", "Building", "Car", "CartLuggagePram", "Child",
        "Column_Pole", "Fence", "LaneMkgsDriv", "LaneMkgsNonDriv", "Misc_Text", "MotorcycleScooter",
        "OtherMoving", "ParkingBlock", "Pedestrian", "Road", "RoadShoulder", "Sidewalk", "SignSymbol",
        "Sky", "SUVPickupTruck", "TrafficCone", "TrafficLight", "Train", "Tree", "Truck_Bus", "Tunnel",
        "VegetationMisc", "Void", "Wall",
    ]  # fmt: skip
    listed = Names(by_value=dict(enumerate(labels)))
    classes, proposal = table_of(grey(dict.fromkeys(range(32), 10)), listed)
    assert len(classes) == 11 and proposal.table.ignore == (labels.index("Void"),)
    assert classes["Bicyclist"] == (labels.index("Bicyclist"), labels.index("MotorcycleScooter"))
