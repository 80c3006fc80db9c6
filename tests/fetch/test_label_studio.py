"""Label Studio's exports, from the folder to the raw records.

Strokes were encoded with label-studio-sdk 2.1 (`converter.brush.mask2rle`), whose decoder gives back the
same pixels, and by hand for what only the editor's encoder writes.
"""

import base64
import contextlib
import io
import json

import numpy as np
import pytest
from fuzz import bounded, outcome
from hypothesis import example, given, settings
from hypothesis import strategies as st
from own_folders import noise
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.common.tfrecord import read_shard
from segpipe.fetch import layouts
from segpipe.fetch.layouts import brush
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import BadSampleError, Note, Problem, Sample
from segpipe.survey.folder import Request, survey

TABLE = ClassTable(
    (
        SegmentationClass("background", 0, "#999999"),
        SegmentationClass("car", 5, "#0072b2"),
        SegmentationClass("traffic_light", 6, "#e69f00"),
    )
)
HEIGHT, WIDTH = 6, 9
STROKE = bytes.fromhex("000000d8391bfc60389c0309ffdf00c27ff7c027ff8e027ffc96011ff8")
STROKE_DRAWN = [  # values 1 and 128 are soft edges
    "1........",
    "..11111..",
    "..11111..",
    "..11111..",
    ".........",
    "........1",
]


def picture(path, size=(WIDTH, HEIGHT), orientation=1):
    noise(path, size, orientation)


def result(kind="polygonlabels", label="car", size=(WIDTH, HEIGHT), **value):
    labelled = {} if label is None else {kind: [label]}
    return {
        "id": f"{kind}{value}"[:40], "type": kind, "from_name": "label", "to_name": "image",
        "original_width": size[0], "original_height": size[1], "image_rotation": 0,
        "value": value | labelled,
    }  # fmt: skip


def box(left, top, right, bottom, label="car", **more):
    """A polygon by pixels, as percent."""
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return result(label=label, points=[[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners], **more)


def stroke(label="car", rle=STROKE):
    return result("brushlabels", label, format="rle", rle=list(rle))


def annotation(*results, **more):
    base = {"id": 1, "completed_by": 1, "was_cancelled": False, "ground_truth": False}
    return (
        base
        | {"created_at": "2024-05-01T10:00:00Z", "updated_at": "2024-05-01T10:00:00Z"}
        | {"result": list(results)}
        | more
    )


def task(*annotations, image="/data/upload/1/ab12cd34-a.png", number=1, **more):
    return {
        "id": number, "annotations": list(annotations), "file_upload": image.rpartition("/")[2],
        "drafts": [], "predictions": [{"result": [box(0, 0, 9, 6)]}],
        "data": {"image": image}, "meta": {},
    } | more  # fmt: skip


def minimal(entry):
    """The same task as rows of JSON_MIN, as label-studio-sdk 2.1 converts it."""
    rows = []
    for one in entry["annotations"]:
        sizes = ("original_width", "original_height")
        regions = [region["value"] | {key: region[key] for key in sizes} for region in one["result"]]
        times = {key: one[key] for key in ("created_at", "updated_at")}
        row = entry["data"] | {"id": entry["id"], "annotator": 1, "annotation_id": one["id"], **times}
        rows.append(row | ({"label": regions} if regions else {}))
    return rows


def write(root, *tasks, name="project-1-at-2024-05-01.json"):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(tasks))
    return root


def found(root, layout="label_studio"):
    return list(layouts.samples(layout, root, 0.0, TABLE))


def notes(root):
    return [one.text for one in found(root) if isinstance(one, Note)]


def lines(mask):
    return ["".join(".12"[index] for index in row) for row in mask]


def drawn(root, *results, **more):
    """Return the drawing of regions on one picture, as lines: `.` is background, a digit a class."""
    picture(root / "a.png")
    write(root, task(annotation(*results), **more))
    (sample,) = (one for one in found(root) if not isinstance(one, Note))
    return lines(sample.content.read()[1])


def raw(root, layout="label_studio"):
    """Write the raw records; return the split and the drawing of each by name."""
    write_raw("folder", iter(found(root, layout)), TABLE, False, 100, root / "raw", processes=1)
    shards = [(path, one) for path in (root / "raw").glob("*.tfrecord") for one in read_shard(path)]
    return {
        one["name"].decode(): (path.name.split("-")[0], lines(decode_png(one["mask"])))
        for path, one in shards
    }


# --- what is drawn --------------------------------------------------------------------------------


def test_a_stroke_covers_what_is_not_transparent(tmp_path):
    assert drawn(tmp_path, stroke()) == STROKE_DRAWN


def test_a_bit_mask_covers_what_is_not_transparent(tmp_path):
    alpha = np.array([[255 * (letter == "1") for letter in line] for line in STROKE_DRAWN], np.uint8)
    black = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    black[:, :, 3] = alpha
    stored = io.BytesIO()
    Image.fromarray(black).save(stored, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stored.getvalue()).decode()
    assert drawn(tmp_path, result("bitmasklabels", imageDataURL=url)) == STROKE_DRAWN


def test_percent_of_the_picture_become_pixels(tmp_path):
    whole = result("rectanglelabels", x=0, y=0, width=100, height=100, rotation=0)
    assert drawn(tmp_path, whole) == ["1" * WIDTH] * HEIGHT
    third = result("rectanglelabels", x=100 / 3, y=50, width=100 / 3, height=50, rotation=0)
    assert drawn(tmp_path, third) == ["." * WIDTH] * 3 + ["...111..."] * 3
    assert drawn(tmp_path, box(3, 3, 6, 6)) == ["." * WIDTH] * 3 + ["...111..."] * 3


def test_a_rectangle_turns_around_its_first_corner_and_an_ellipse_around_its_middle(tmp_path):
    turned = result("rectanglelabels", x=500 / 9, y=0, width=600 / 9, height=200 / 6, rotation=90)
    assert drawn(tmp_path, turned) == ["...11...."] * 6  # 6 wide and 2 high, turned at (5, 0)
    oval = result("ellipselabels", x=50, y=50, radiusX=400 / 9, radiusY=100 / 6, rotation=90)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((columns - 4.5) / 1) ** 2 + ((rows - 3) / 4) ** 2 <= 1
    assert drawn(tmp_path, oval) == lines(inside.astype(int))


def test_later_results_lie_over_earlier_ones(tmp_path):
    light = box(0, 0, 4, 6, "traffic light")
    assert drawn(tmp_path, light, box(2, 0, 9, 6)) == ["221111111"] * 6
    assert drawn(tmp_path, box(2, 0, 9, 6), light) == ["222211111"] * 6


def test_the_view_that_an_annotator_turned_changes_nothing(tmp_path):
    """The editor turns the picture on the screen; regions stay in the picture's own coordinates."""
    turned = box(0, 0, 3, 2) | {"image_rotation": 90}
    assert drawn(tmp_path, turned) == ["111......"] * 2 + ["." * WIDTH] * 4


def test_labels_beside_brushes_give_a_region_its_label_once(tmp_path):
    region = stroke(label=None) | {"type": "brush", "id": "r1"}
    labelled = {**region, "type": "labels", "value": region["value"] | {"labels": ["traffic light"]}}
    assert drawn(tmp_path, region, labelled) == [line.replace("1", "2") for line in STROKE_DRAWN]
    assert notes(tmp_path) == []


# --- which annotation -----------------------------------------------------------------------------


def test_the_ground_truth_counts_else_the_latest_and_never_a_cancelled_one(tmp_path):
    for name in "abcd":
        picture(tmp_path / f"{name}.png")
    late, later = "2024-05-02T10:00:00Z", "2024-05-03T10:00:00Z"
    old, new = annotation(box(0, 0, 1, 6)), annotation(box(0, 0, 2, 6), updated_at=late)
    truth = annotation(box(0, 0, 3, 6), ground_truth=True)
    cancelled = annotation(box(0, 0, 4, 6), was_cancelled=True, updated_at=later)
    write(
        tmp_path,
        task(truth, new, cancelled, image="a.png", number=1),
        task(new, old, image="b.png", number=2),
        task(cancelled, image="c.png", number=3),
        task(image="d.png", number=4),
    )
    columns = {
        one.name: lines(one.content.read()[1])[0] for one in found(tmp_path) if isinstance(one, Sample)
    }
    assert columns == {"a": "111......", "b": "11......."}
    assert notes(tmp_path)[:2] == [
        "tasks without an annotation, left out (predictions and drafts are none): 2",
        "tasks with several annotations, of which the ground truth or the latest counts: 2",
    ]


def test_what_is_not_drawn_is_said(tmp_path):
    odd = (
        result("keypointlabels", x=1, y=1, width=0.5),
        result("choices", None, choices=["sharp"]),
        stroke(label=None),
        result("polygonlabels", points=[[0, 0], [100, 0], [0, 100]], closed=False),
        result("rectanglelabels", x=0, y=0, width=10, height=10)
        | {"value": {"x": 0, "y": 0, "width": 1, "height": 1, "rectanglelabels": ["car", "lorry"]}},
    )
    drawn(tmp_path, *odd)
    write(tmp_path, task(annotation(), image="b.png", number=2), name="more.json")
    picture(tmp_path / "b.png")
    picture(tmp_path / "unlisted.png")
    assert notes(tmp_path) == [
        "annotations without a region, so nothing is on their pictures: 1",
        "regions that cover no pixels and are not drawn (key points, lines): 1",
        "regions without a label, not drawn: 1",
        "regions with several labels, of which the first counts: 1",
        "polygons that are not closed, filled as if they were: 1",
        "1 pictures are in no task of Label Studio's and left out, as unlisted.png",
    ]


# --- folders and names ----------------------------------------------------------------------------


def test_regions_on_two_pictures_of_one_task_are_refused(tmp_path):
    first, second = box(1, 1, 9, 9), box(2, 2, 8, 8)
    picture(tmp_path / "a.png")
    both = annotation(first | {"to_name": "left"}, second | {"to_name": "right"})
    write(tmp_path, task(both))
    (problem,) = [one for one in found(tmp_path) if isinstance(one, Problem)]
    assert problem.found == "regions on 2 pictures"


PAIR = {"before": "a.png", "after": "b.png"}


@pytest.mark.parametrize(
    ("data", "tag", "expected"),
    [
        (PAIR, "after", "b"),
        (PAIR, "before", "a"),
        ({"thumbnail": "a.png", "image": "b.png"}, "image", "b"),
        ({"thumbnail": "a.png", "image": "b.png"}, None, "b"),
        ({"thumbnail": "gone.png", "photo": "b.png"}, "img", "b"),
        ({"url": "s3://x/a.png", "photo": "/data/upload/1/a.png"}, "img", "a"),
        (PAIR, "img-2", "2 pictures (before, after), and regions on 'img-2'"),
        (PAIR, None, "2 pictures (before, after), and nothing that says which was drawn on"),
        ({"before": "a.png", "after": "gone.png"}, "after", "no picture gone.png"),
    ],
)
def test_of_several_pictures_the_one_that_regions_name_is_taken(tmp_path, data, tag, expected):
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    write(tmp_path, task(annotation(box(1, 1, 9, 9) | {"to_name": tag}), data=data))
    (one,) = [one for one in found(tmp_path) if not isinstance(one, Note)]
    assert (one.found if isinstance(one, Problem) else one.name) == expected


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/7/ab12cd34-my_picture1_ä.png",
        "/data/upload/7/ab12cd34-my_picture1_%C3%A4.png",
        "/data/local-files/?d=some/folder/my%20picture(1)%20ä.png",
        "/data/local-files/?d=some\\folder\\my picture(1) ä.png",
        "s3://bucket/key/my picture(1) a\u0308.png",
        "https://host.org/key/my%20picture(1)%20%C3%A4.png?X-Amz-Signature=d1",
        "my picture(1) ä.png",
    ],
)
def test_a_picture_is_found_by_the_name_that_label_studio_gave_it(tmp_path, address):
    picture(tmp_path / "sub/my picture(1) ä.png")
    write(tmp_path, task(annotation(box(0, 0, 9, 6)), image=address))
    (sample,) = found(tmp_path)
    assert sample.name == "sub/my picture(1) ä"


def test_equal_names_are_told_apart_by_their_folders_or_refused(tmp_path):
    for folder in ("cam1", "cam2"):
        picture(tmp_path / folder / "1.png")
    addresses = "s3://bucket/cam2/1.png", "/data/upload/1/ab12cd34-1.png", "gone.png"
    write(tmp_path, *(task(annotation(), image=one, number=n) for n, one in enumerate(addresses)))
    items = [one for one in found(tmp_path) if not isinstance(one, Note)]
    assert [one.name for one in items if isinstance(one, Sample)] == ["cam2/1"]
    where = "project-1-at-2024-05-01.json"
    assert [str(one).split("; expected")[0] for one in items if isinstance(one, Problem)] == [
        f"{where} (task 1): cam1/1.png and cam2/1.png",
        f"{where} (task 2): no picture gone.png",
    ]


def test_both_forms_give_the_same_raw_records(tmp_path):
    tasks = {
        part: task(annotation(stroke("traffic light"), box(3, 2, 9, 6)), image=f"{part}.png", number=n)
        for n, part in enumerate(("train", "test"))
    }
    several = annotation(box(0, 0, 1, 1), id=8, updated_at="2020-01-01T00:00:00Z")
    tasks["train"]["annotations"].append(several)
    records = {}
    for form in ("JSON", "MIN"):
        root = tmp_path / form
        for part, entry in tasks.items():
            picture(root / part / f"{part}.png")
            rows = [entry] if form == "JSON" else minimal(entry)
            write(root, *rows, name=f"{part}.json")
        records[form] = raw(root)
    assert records["JSON"] == records["MIN"]
    expected = ["2........", "..22222..", "..2111111", "..2111111", "...111111", "...111111"]
    assert records["JSON"] == {"train/train": ("train", expected), "test/test": ("test", expected)}


def test_masks_in_files_are_drawn_on_the_picture_of_their_task(tmp_path):
    def mask(name, *text):
        values = np.array([[255 * (letter == "1") for letter in line] for line in text], np.uint8)
        Image.fromarray(values).save(tmp_path / name)

    for task_number, part in ((1, "train"), (12, "test")):
        picture(tmp_path / part / f"task-{task_number}.jpg")
    mask("task-1-annotation-3-by-a@b.org-tag-car-0.png", *["1........"] * 6)
    mask("task-1-annotation-3-by-a@b.org-tag-car-1.png", *["...11...."] * 6)
    mask("task-1-annotation-3-by-a@b.org-tag-traffic light-0.png", *["....11..."] * 6)
    mask("task-1-annotation-2-by-a@b.org-tag-car-0.png", *["111111111"] * 6)
    mask("task-12-annotation-4-by--tag-car-0.png", *["........1"] * 6)
    assert layouts.layouts_of(tmp_path) == {
        "label_studio_png": "Label Studio's masks in PNG, of 2 tasks"
    }
    assert [one.text for one in found(tmp_path, "label_studio_png") if isinstance(one, Note)] == [
        "tasks with several annotations, of which the latest counts: 1"
    ]
    assert raw(tmp_path, "label_studio_png") == {
        "train/task-1": ("train", ["1..122..."] * 6),
        "test/task-12": ("test", ["........1"] * 6),
    }


def test_masks_in_files_without_a_picture_say_what_to_do(tmp_path):
    picture(tmp_path / "holiday.jpg")
    picture(tmp_path / "task-12-annotation-4-by-1-tag-car-0.png")
    with pytest.raises(
        UserError, match="no picture of task 12 or any other; call each picture task-N, or"
    ):
        found(tmp_path, "label_studio_png")


def test_exif_is_applied_before_drawing(tmp_path):
    picture(tmp_path / "a.jpg", (HEIGHT, WIDTH), orientation=6)  # 9x6 upright
    write(tmp_path, task(annotation(stroke()), image="a.jpg"))
    (sample,) = found(tmp_path)
    assert sample.upright
    assert lines(sample.content.read()[1]) == STROKE_DRAWN
    unsized = result("rectanglelabels", size=(None, None), x=0, y=0, width=100, height=50)
    write(tmp_path, task(annotation(unsized), image="a.jpg"))
    (sample,) = found(tmp_path)
    assert lines(sample.content.read()[1]) == ["1" * WIDTH] * 3 + ["." * WIDTH] * 3


def test_init_data_finds_the_layout_and_proposes_the_labels_in_use(tmp_path):
    for n, name in enumerate("abcdefgh"):
        picture(tmp_path / f"{name}.png")
        shapes = box(0, 0, 2, 2), box(4, 4, 6, 6, "traffic light")
        write(tmp_path, task(annotation(*shapes), image=f"{name}.png", number=n), name=f"{name}.json")
    seen = survey(tmp_path, Request(0.2, 0.2), processes=1)
    assert next(iter(seen.layouts)) == "label_studio"
    assert "coco" not in seen.layouts
    assert seen.proposal.table.names == ["background", "car", "traffic_light"]


# --- damaged files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (box(0, 0, float("nan"), 1), "a coordinate that is no number"),
        (box(0, 0, 1e300, 1), "a coordinate of"),
        (box(0, 0, 9, 6, "lorry"), "labels that are no class: 'lorry'"),
        (stroke(rle=STROKE[:9]), "run lengths that end early"),
        (stroke(rle=b""), "run lengths that end early"),
        (
            stroke(rle=b"\x3b\x9a\xca\x00" + STROKE[4:]),
            "1000000000 values of 8 bits, not the 4 times 9x6",
        ),
        (result("bitmasklabels", imageDataURL="data:image/png;base64,iVBORw0K"), "an unreadable mask"),
        (result("bitmasklabels", imageDataURL="http://a.org/b.png"), "a bit mask as 'http"),
    ],
)
def test_a_damaged_region_is_an_error_of_its_picture(tmp_path, region, words):
    with bounded(5, 50 << 20), pytest.raises(BadSampleError, match=words):
        drawn(tmp_path, region)


def test_a_damaged_task_is_a_problem_of_its_own(tmp_path):
    picture(tmp_path / "a.png")
    bad = [stroke() | {"value": {"rle": rle, "brushlabels": ["car"]}} for rle in (10**12, [256], ["a"])]
    good = task(annotation(stroke()), image="a.png")
    write(
        tmp_path, good, *(task(annotation(one), image="a.png", number=n) for n, one in enumerate(bad, 2))
    )
    problems = [str(one) for one in found(tmp_path) if isinstance(one, Problem)]
    assert len(problems) == 3
    assert problems[0] == (
        "project-1-at-2024-05-01.json (task 2): annotations.0.result.0.value.rle: value error, run "
        "lengths that are no list; expected a task as Label Studio exports it"
    )


@pytest.mark.parametrize(
    "text", ['[{"id": 1, "annotator": 1}', '[1, "annotator"]', '[{"annotator":' + "[" * 10**6]
)
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json: no whole list of tasks in JSON"):
        found(tmp_path)


def packed(values, sizes, depth=8):
    """Encode values as the editor does: runs of equal values, and the others as they are, in packets."""
    bits = f"{len(values):032b}{depth - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    most = min(2 ** max(sizes), 64)
    kind = sizes.index(max(sizes))
    at = 0
    while at < len(values):
        same = 1
        while same < most and values[at : at + same + 1] == values[at : at + 1] * (same + 1):
            same += 1
        count = same if same > 1 else min(most, len(values) - at, 3)
        bits += f"{int(same > 1)}{kind:02b}{count - 1:0{max(sizes)}b}"
        bits += "".join(f"{value:08b}" for value in values[at : at + (1 if same > 1 else count)])
        at += count
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[n : n + 8], 2) for n in range(0, len(bits), 8))


@given(
    st.lists(st.sampled_from([0, 0, 0, 255, 7]), min_size=6, max_size=6),
    st.lists(st.integers(2, 16), min_size=4, max_size=4),
)
def test_strokes_come_back_whatever_the_packets(alpha, sizes):
    values = [value for one in alpha for value in (1, 2, 2, one)]
    assert brush.alpha(packed(values, sizes), 2, 3).tolist() == [alpha[:3], alpha[3:]]


@given(st.binary(max_size=60), st.booleans())
@example(STROKE[:4] + b"\xff" * 40, False)
def test_no_run_lengths_do_worse_than_a_value_error(data, whole):
    header = STROKE[:7] if whole else b""
    with contextlib.suppress(ValueError):
        assert brush.alpha(header + data, HEIGHT, WIDTH).shape == (HEIGHT, WIDTH)


KEYS = st.sampled_from(
    [
        "id", "data", "annotations", "result", "value", "points", "image", "rle", "x", "width",
        "radiusX", "brushlabels", "original_width", "label", "closed", "imageDataURL", "rotation",
    ]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("a.png")
JSON = st.recursive(
    LEAVES, lambda one: st.lists(one, max_size=3) | st.dictionaries(KEYS, one, max_size=4), max_leaves=12
)


@given(JSON, st.sampled_from(["task", "annotation", "result", "value", "row"]), st.text(max_size=3))
@settings(max_examples=100)
def test_whatever_the_file_holds_it_yields_samples_or_problems(tmp_path_factory, odd, where, after):
    root = tmp_path_factory.mktemp("fuzz")
    picture(root / "a.png")
    extra = odd if isinstance(odd, dict) else {"points": odd, "rle": odd, "label": odd}
    regions = [stroke() | (extra if where == "result" else {})]
    if where == "value":
        regions[0]["value"] = regions[0]["value"] | extra
    entry = task(annotation(*regions) | (extra if where == "annotation" else {}), image="a.png")
    entry = entry | extra if where == "task" else minimal(entry)[0] | extra if where == "row" else entry
    (root / "a.json").write_text(
        f'[{json.dumps(entry)}, {{"annotator": 1}}]{after}', "utf-8", errors="replace"
    )
    assert outcome("label_studio", root, TABLE), "nothing was said"
