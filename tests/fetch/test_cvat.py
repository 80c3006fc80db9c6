"""CVAT for images 1.1, from the folder to the raw records.

The drawings are those of datumaro 1.13 (`polygons_to_masks`) for the same XML; boxes and ellipses, which
it does not draw, by hand.
"""

from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from fuzz import SETTINGS, bounded, outcome
from hypothesis import given
from hypothesis import strategies as st
from own_folders import noise

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.common.tfrecord import read_shard
from segpipe.fetch import layouts
from segpipe.fetch.raw import Checked, write_raw
from segpipe.fetch.sample import BadSampleError, Note, Problem
from segpipe.survey.folder import Request, survey

TABLE = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("car", 5, "#0072b2"),
        SegmentationClass("traffic_light", 6, "#e69f00"),
    )
)
HEIGHT, WIDTH = 10, 16


def picture(path, size=(WIDTH, HEIGHT), orientation=1):
    noise(path, size, orientation)


def image(*shapes, name="a.png", **more):
    attributes = {"id": 0, "name": name, "width": WIDTH, "height": HEIGHT} | more
    listed = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    return f"<image {listed}>{''.join(shapes)}</image>"


def polygon(points, label="car", **more):
    listed = " ".join(f'{key}="{value}"' for key, value in more.items())
    return f'<polygon label="{label}" occluded="0" points="{points}" {listed}></polygon>'


def export(path, *images):
    labels = "".join(
        f"<label><name>{name}</name><color>#ff0000</color><attributes></attributes></label>"
        for name in ("traffic light", "car", "unused")
    )
    meta = f"<meta><task><name>t</name><labels>{labels}</labels></task></meta>"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    path.write_text(f"{head}{meta}{''.join(images)}</annotations>", encoding="utf-8")


def found(root, share=0.0):
    return list(layouts.samples("cvat", root, share, TABLE))


def drawn(root, *shapes, **more):
    """Return the drawing of shapes on one picture, as lines: `.` is background, a digit a class."""
    picture(root / "images/a.png")
    export(root / "annotations.xml", image(*shapes, **more))
    (sample,) = (one for one in found(root) if not isinstance(one, Note))
    mask = sample.content.read()[1]
    return ["".join(".123"[index] for index in row) for row in mask]


def test_a_polygon_covers_the_pixels_whose_middle_is_inside(tmp_path):
    assert drawn(tmp_path, polygon("2.50,1.20;12.30,2.80;5.10,8.90")) == [
        "................",
        "...11...........",
        "...11111111.....",
        "...11111111.....",
        "....111111......",
        "....11111.......",
        "....1111........",
        ".....11.........",
        "................",
        "................",
    ]


def test_a_polygon_beyond_the_edges_is_cut_off(tmp_path):
    assert drawn(tmp_path, polygon("-3.00,-2.00;4.00,3.00;20.00,7.00;9.00,14.00")) == [
        "1...............",
        "11..............",
        "111.............",
        ".11111..........",
        "..11111111......",
        "...11111111111..",
        "...1111111111111",
        "....111111111111",
        ".....11111111111",
        "......1111111111",
    ]


def test_a_mask_lies_in_its_box_row_by_row(tmp_path):
    mask = '<mask label="car" rle="1, 3, 2, 4, 2" left="10" top="5" width="4" height="3" z_order="2"/>'
    assert drawn(tmp_path, mask) == [
        *["................"] * 5,
        "...........111..",
        "............11..",
        "..........11....",
        *["................"] * 2,
    ]


def test_a_box_and_an_ellipse_turn_around_their_middle(tmp_path):
    corners = 'xtl="4.00" ytl="2.00" xbr="12.00" ybr="6.00"'  # 8 wide, 4 high; turned, 4 wide, 8 high
    upright = drawn(tmp_path, f'<box label="car" {corners} z_order="0"></box>')
    assert upright == [*["." * 16] * 2, *["....11111111...."] * 4, *["." * 16] * 4]
    turned = drawn(tmp_path, f'<box label="car" {corners} rotation="90.00" z_order="0"></box>')
    assert turned == [*["......1111......"] * 8, *["." * 16] * 2]
    tilted = drawn(tmp_path, f'<box label="car" {corners} rotation="30.00" z_order="0"></box>')
    outline = "5.536,0.268;12.464,4.268;10.464,7.732;3.536,3.732"  # clockwise, as datumaro turns it
    assert tilted == drawn(tmp_path, polygon(outline))
    disc = '<ellipse label="car" cx="8.00" cy="5.00" rx="6.00" ry="2.00" rotation="90" z_order="0"/>'
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((columns - 8) / 2) ** 2 + ((rows - 5) / 6) ** 2 <= 1
    assert drawn(tmp_path, disc) == ["".join(".1"[int(v)] for v in row) for row in inside]


def test_the_higher_z_order_lies_above_and_equal_ones_in_the_order_of_the_file(tmp_path):
    left, middle, all_of_it = "0,0;6,0;6,10;0,10", "4,0;10,0;10,10;4,10", "0,0;16,0;16,10;0,10"
    shapes = (
        polygon(left, "traffic light", z_order=1),
        polygon(middle, "car", z_order=1),
        polygon(all_of_it, "car", z_order=-1),
        polygon("12,0;16,0;16,10;12,10", "traffic light", z_order=0),
    )
    assert drawn(tmp_path, *shapes) == ["2222111111112222"] * 10


def test_lines_points_and_empty_pictures_are_said(tmp_path):
    for name in ("a", "b", "unlisted"):
        picture(tmp_path / "images" / f"{name}.png")
    line = '<polyline label="car" points="1,1;5,5"/><points label="car" points="1,1"/>'
    skeleton = '<skeleton label="car"><points label="head" points="1,1"/></skeleton><tag label="car"/>'
    cuboid = '<cuboid label="car" xtl1="1" ytl1="1"/>'
    several = image(line, cuboid, skeleton, line)
    export(tmp_path / "annotations.xml", several, image(name="b.png"))
    notes = [one.text for one in found(tmp_path) if isinstance(one, Note)]
    assert notes == [
        "not drawn: 1 cuboid, 2 points, 2 polyline, 1 skeleton; only polygon, mask, box, ellipse cover "
        "pixels",
        "2 of 2 pictures have no shape that is drawn: nothing is on them",
        "1 pictures are in no XML file of CVAT's and left out, as images/unlisted.png",
    ]


def raw(root, table=TABLE):
    """Write the raw records; return the mask and the split of each by name."""
    write_raw("folder", iter(found(root)), table, False, 100, root / "raw", processes=1)
    shards = [
        (path, sample) for path in (root / "raw").glob("*.tfrecord") for sample in read_shard(path)
    ]
    return {
        sample["name"].decode(): (path.name.split("-")[0], decode_png(sample["mask"]))
        for path, sample in shards
    }


def test_subsets_become_splits_and_each_picture_is_found_in_its_own_folder(tmp_path):
    root = tmp_path / "project"
    car, light = polygon("0,0;8,0;8,10;0,10"), polygon("0,0;8,0;8,10;0,10", "traffic light")
    for subset in ("Train", "Test"):
        picture(root / "images" / subset / "cam 1/ä.png")
    export(
        root / "annotations.xml",
        image(car, name="cam 1/ä.png", subset="Train"),
        image(light, name="cam 1/a\u0308.png", subset="Test"),
    )
    records = raw(root)
    assert {name: split for name, (split, _) in records.items()} == {
        "images/Train/cam 1/ä": "train",
        "images/Test/cam 1/ä": "test",
    }
    for name, index in (("images/Train/cam 1/ä", 1), ("images/Test/cam 1/ä", 2)):
        assert (records[name][1] == np.repeat([[index] * 8 + [0] * 8], HEIGHT, axis=0)).all()


def test_exif_is_applied_before_drawing(tmp_path):
    for subset, orientation in (("train", 6), ("test", 3)):
        size = (WIDTH, HEIGHT) if orientation == 3 else (HEIGHT, WIDTH)
        picture(tmp_path / subset / "a.jpg", (WIDTH, HEIGHT), orientation)
        box = '<box label="car" xtl="0" ytl="0" xbr="10" ybr="4" z_order="0"/>'
        shapes = image(box, name="a.jpg", width=size[0], height=size[1])
        export(tmp_path / subset / "annotations.xml", shapes)
    records = raw(tmp_path)
    for name, shape in (("train/a", (WIDTH, HEIGHT)), ("test/a", (HEIGHT, WIDTH))):
        expected = np.zeros(shape, np.uint8)
        expected[:4, :10] = 1
        assert (records[name][1] == expected).all()


def test_init_data_finds_the_layout_and_proposes_the_labels_in_use(tmp_path):
    for name in "abcdefgh":
        picture(tmp_path / f"images/{name}.png")
    shapes = polygon("0,0;4,0;4,9;0,9"), polygon("9,0;15,0;15,9;9,9", "traffic light")
    export(tmp_path / "annotations.xml", *(image(*shapes, name=f"{name}.png") for name in "abcdefgh"))
    seen = survey(tmp_path, Request(0.2, 0.2), processes=1)
    assert seen.layouts == {"cvat": "CVAT's XML: annotations.xml"}
    assert seen.proposal.table.names == ["background", "traffic_light", "car"]


def test_an_empty_label_is_a_problem_of_its_pictures_and_no_class(tmp_path):
    for name in "abcdefgh":
        picture(tmp_path / f"images/{name}.png")
    pictures = (
        image(polygon("0,0;4,0;4,9;0,9", " " if name == "c" else "car"), name=f"{name}.png")
        for name in "abcdefgh"
    )
    export(tmp_path / "annotations.xml", *pictures)
    seen = survey(tmp_path, Request(0.2, 0.2), processes=1)
    assert seen.proposal.table.names == ["background", "car"]
    (problem,) = seen.problems
    assert str(problem).startswith(
        "annotations.xml (image c.png): labels that are no class: ' '; expected"
    )


def test_a_missing_picture_is_named_and_none_of_another_folder_is_taken(tmp_path):
    picture(tmp_path / "images/cam2/1.png")
    export(tmp_path / "annotations.xml", image(name="cam1/1.png"))
    (problem,) = (one for one in found(tmp_path) if isinstance(one, Problem))
    assert str(problem).startswith("annotations.xml (image cam1/1.png): no picture cam1/1.png; expected")


def test_the_frames_of_a_video_are_found_though_their_names_lack_the_suffix(tmp_path):
    """As CVAT exports a video for images, https://github.com/cvat-ai/cvat/issues/8839."""
    for place in ("one/images", "two/images", "two/images/cam"):
        picture(tmp_path / place / "frame_000000.PNG")
    for task in ("one", "two"):
        frame = image(polygon("0,0;8,0;8,10;0,10"), name="frame_000000")
        export(tmp_path / task / "annotations.xml", frame)
    samples = [one for one in found(tmp_path) if not isinstance(one, Note)]
    assert [s.image for s in samples] == [f"{t}/images/frame_000000.PNG" for t in ("one", "two")]
    assert (samples[0].content.read()[1] == [[1] * 8 + [0] * 8] * HEIGHT).all()


def test_a_label_that_is_no_class_is_named(tmp_path):
    with pytest.raises(BadSampleError, match="labels that are no class: 'lorry'"):
        drawn(tmp_path, polygon("0,0;4,0;4,4", "lorry"))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (polygon("1,1;nan,2;3,3"), "a coordinate that is no number"),
        (polygon("1,1;1e300,2;3,3"), "a coordinate of 1e"),
        (polygon("1,1;2"), "region 1, 'car', cannot be drawn"),
        (polygon(";".join(f"{n % 2 * 15},{n % 7}" for n in range(10**6))), "an outline of"),
        ('<box label="car" xtl="1"/>', "no 'ytl'"),
        ('<mask label="car" rle="9" left="0" top="0" width="4" height="3"/>', "do not add up to 4x3"),
        ('<mask label="car" rle="-1,13" left="0" top="0" width="4" height="3"/>', "do not add up"),
        ('<mask label="car" rle="" left="0" top="0" width="4" height="3"/>', "0 runs in 4x3"),
        # Read by numpy, such characters ended the process.
        *(
            (f'<mask label="car" rle="0,{text}" left="0" top="0" width="4" height="3"/>', "no numbers")
            for text in ("\u0661\u0662", "\U00020000", "\U0010fffd")
        ),
        ('<mask label="car" rle="0,12" left="14" top="0" width="4" height="3"/>', "beyond the picture"),
        (
            '<mask label="car" rle="0,1000000000" left="0" top="0" width="1000000" height="1000"/>',
            "a mask of 1000000x1000 pixels at 0, 0, beyond the picture",
        ),
    ],
)
def test_a_damaged_shape_is_an_error_of_its_picture(tmp_path, shape, words):
    with bounded(5), pytest.raises(BadSampleError, match=words):
        drawn(tmp_path, shape)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotations><image name='a.png'>", "no whole XML file"),
        ("<annotations><track id='0'></track></annotations>", "holds 1 tracks of a video; export as"),
        (
            "<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;'>]><annotations>&c;</annotations>",
            "holds a document type",
        ),
    ],
)
def test_a_file_that_is_no_export_of_pictures_is_named(tmp_path, text, words):
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(UserError, match=words):
        found(tmp_path)


def test_an_xml_file_of_pascal_voc_is_none_of_cvats(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation><object><name>car</name></object></annotation>")
    assert layouts.layouts_of(tmp_path) == {}


TEXT = st.text(st.characters(exclude_categories=["C"]), max_size=8) | st.sampled_from(
    ["car", "0", "-1", "1e400", "nan", "9" * 30, "3,4", "1,2;3,4;9,9"]
)
WHOLE = {
    "polygon": {"points": "1,1;9,1;9,8"},
    "mask": {"rle": "2,3,1", "left": "2", "top": "1", "width": "3", "height": "2"},
    "box": {"xtl": "1", "ytl": "2", "xbr": "7", "ybr": "8", "rotation": "30"},
    "ellipse": {"cx": "6", "cy": "5", "rx": "3", "ry": "2"},
    "points": {"points": "1,1;2,2"},
    "tag": {},
}
"""A good shape of each kind, which is then changed."""
KEYS = sorted({"label", "z_order", *(key for shape in WHOLE.values() for key in shape)})
SHAPES = st.tuples(
    st.sampled_from(sorted(WHOLE)),
    st.dictionaries(st.sampled_from(KEYS), TEXT | st.integers(-5, 20).map(str), max_size=2),
)


def attributes(has):
    return " ".join(f"{key}={quoteattr(value)}" for key, value in has.items())


def test_whatever_the_file_holds_it_yields_samples_or_problems(tmp_path):
    picture(tmp_path / "images/a.png")
    drawn_well = 0

    @SETTINGS
    @given(
        st.lists(SHAPES, max_size=4),
        st.dictionaries(st.sampled_from(["width", "height", "subset", "name"]), TEXT, max_size=1),
        st.sampled_from([0, 0, 0, 1, 5]),
    )
    def broken(shapes, more, cut):
        nonlocal drawn_well
        drawn_as = [(kind, {"label": "car", **WHOLE[kind], **has}) for kind, has in shapes]
        listed = [f"<{kind} {attributes(has)}/>" for kind, has in drawn_as]
        opened = attributes({"name": "a.png"} | more)
        text = f"<annotations><image {opened}>{''.join(listed)}</image></annotations>"
        (tmp_path / "annotations.xml").write_text(text[: len(text) - cut], "utf-8")
        read = outcome("cvat", tmp_path, TABLE)
        drawn_well += bool(shapes) and any(isinstance(one, Checked) for one in read)

    broken()
    assert drawn_well > 10
