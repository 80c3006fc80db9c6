"""`segpipe init-data`: its proposal reads every mask, and params.yaml stays as people wrote it."""

import json
import re
import shutil

import numpy as np
import pytest
import yaml
from helpers import ROOT, make_project, run, set_params
from hypothesis import given
from hypothesis import strategies as st
from own_exports import EXPORTS
from own_folders import FOLDERS, grey_png, photo, save
from PIL import Image, ImageFilter

from segpipe.common.classes import ClassTable, class_table
from segpipe.common.codec import decode_png
from segpipe.common.errors import UserError
from segpipe.common.tfrecord import read_shard
from segpipe.fetch.layouts import coco
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sources import open_source
from segpipe.params.load import DataParams, load_params
from segpipe.survey.folder import Request, holding_out, survey
from segpipe.survey.labels import label_table
from segpipe.survey.masks import MaskStats
from segpipe.survey.names import Names, read_names
from segpipe.survey.proposal import propose
from segpipe.survey.remarks import remarks


def surveyed(root):
    return survey(root, Request(0.2, 0.1), processes=1)


def proposed(root) -> DataParams:
    """The section `data` with the proposal in it."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())["data"]
    return DataParams.model_validate({**content, **surveyed(root).data(str(root))})


def fetched(data: DataParams, out):
    """Masks as class indices, by name."""
    table = class_table(data.classes, data.ignore)
    write_raw("folder", open_source(data), table, False, 100, out, processes=1, bands=data.bands)
    samples = (sample for shard in sorted(out.glob("*.tfrecord")) for sample in read_shard(shard))
    return {s["name"].decode(): decode_png(s["mask"]) for s in samples}


def expected(drawing: np.ndarray, table: ClassTable) -> np.ndarray:
    """The indices of a truth, worked out value by value."""
    indices = np.full(drawing.shape, 99)
    for index, value in enumerate(table.file_values):
        indices[drawing == value] = index
    for value in table.ignore:
        indices[drawing == value] = 255
    return indices


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_proposal_reads_every_mask_as_it_was_drawn(folder, tmp_path, rng):
    layout, draw = FOLDERS[folder]
    truth = draw(tmp_path / "my data", rng)
    data = proposed(tmp_path / "my data")
    assert data.folder.layout == layout
    masks = fetched(data, tmp_path / "raw")
    assert masks.keys() == truth.keys()
    for name, drawing in truth.items():
        assert (masks[name] == expected(drawing, class_table(data.classes, data.ignore))).all(), name


@pytest.mark.parametrize("export", EXPORTS)
def test_the_proposal_reads_every_export_as_its_tool_drew_it(export, tmp_path, rng):
    layout, draw = EXPORTS[export]
    (tmp_path / "my data").mkdir()
    truth = draw(tmp_path / "my data", rng)
    data = proposed(tmp_path / "my data")
    assert data.folder.layout == layout
    masks = {name.rpartition("/")[2]: mask for name, mask in fetched(data, tmp_path / "raw").items()}
    assert masks.keys() == truth.keys()
    names = np.array([*(c.name for c in data.classes), *["ignored"] * 256], object)
    for name, classes in truth.items():
        assert (names[masks[name]] == classes).all(), name


@pytest.mark.parametrize(
    ("folder", "classes", "ignore"),
    [
        ("CamVid", {"Building": "#800000", "Road": "#804080", "Sky": "#808080"}, ["#000000"]),
        ("Carvana", {"background": 0, "foreground": 255}, []),
        ("VOC", {"class_0": 0, "class_1": 1, "class_15": 15}, [255]),
        ("COCO", {"background": 0, "traffic_light": 3, "cat": 17}, [255]),
        ("Labelme", {"background": 0, "car_body": "car body", "wheel": "wheel"}, [255]),
        ("16 bits", {"ground": 0, "cell": 1, "nucleus": 2}, []),
        ("folders in parts", {f"class_{n}": n for n in range(4)}, [255]),
    ],
)
def test_values_get_the_names_that_the_folder_has_for_them(folder, classes, ignore, tmp_path, rng):
    FOLDERS[folder][1](tmp_path, rng)
    table = surveyed(tmp_path).proposal.table
    assert {c.name: c.value for c in table.classes} == classes
    assert list(table.ignore) == ignore


def test_shares_are_those_of_the_pixels(tmp_path, rng):
    truth = np.stack([*FOLDERS["VOC"][1](tmp_path, rng).values()])
    found = surveyed(tmp_path).proposal.occurrences
    for value in (0, 1, 15, 255):
        assert found[value].share == pytest.approx((truth == value).mean())
        assert found[value].masks == (truth == value).any((1, 2)).sum()


def test_a_palettes_colours_become_those_of_the_classes(tmp_path, rng):
    FOLDERS["VOC"][1](tmp_path, rng)
    colours = surveyed(tmp_path).proposal.table.colours
    assert colours == {"class_0": "#000000", "class_1": "#800000", "class_15": "#c08080"}, (
        "as VOC has them"
    )


def test_a_labelmap_names_the_colours_of_a_palette(tmp_path, rng):
    FOLDERS["VOC"][1](tmp_path, rng)
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "bird:1,2,3::",
             "plane:128,0,0::", "person:192,128,128::", "void:224,224,192::"]  # fmt: skip
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    proposal = surveyed(tmp_path).proposal
    named = {row.name: row.value for row in proposal.table.classes}
    assert named == {"background": 0, "plane": 1, "person": 15}
    assert proposal.table.ignore == (255,)
    assert not proposal.notes


def stats_of(counts: dict) -> MaskStats:
    return MaskStats((8, 8), "PNG grey", counts, {"#000000": 64})


VALUE_SETS = st.sets(st.integers(0, 255), min_size=2, max_size=60)


@given(st.lists(VALUE_SETS, min_size=1, max_size=5))
def test_every_value_is_a_class_or_ignored_and_the_table_is_one_that_params_take(sets):
    stats = [stats_of(dict.fromkeys(values, 1)) for values in sets]
    table = propose(stats, Names(), True).table
    assert {*table.values} == set.union(*sets)
    assert {*table.ignore} <= {255}
    content = yaml.safe_load((ROOT / "params.yaml").read_text())["data"]
    proposed = DataParams.model_validate({**content, **table.to_json()})
    assert class_table(proposed.classes, proposed.ignore) == table


HASHES = st.integers(0, 2**20 - 1).map(lambda number: number / 2**20)


@given(st.lists(HASHES, min_size=2, unique=True), st.floats(0.01, 0.99))
def test_a_share_holds_out_some_and_not_all_and_stays_where_it_does(hashes, share):
    found = holding_out(hashes, share)
    assert 0 < sum(value < found for value in hashes) < len(hashes)
    if 0 < sum(value < share for value in hashes) < len(hashes):
        assert found == share


@pytest.mark.parametrize(
    ("values", "ignore"),
    [
        ({0, 255}, ()),
        ({0, 1, 255}, (255,)),
        ({0, 127, 255}, ()),
        ({0, 85, 170, 255}, ()),
        ({*range(151), 255}, (255,)),
        ({1, 2, 3}, ()),
    ],
)
def test_255_is_ignored_beside_small_numbers_and_a_class_among_levels(values, ignore):
    table = propose([stats_of({value: 1}) for value in values], Names(), True).table
    assert table.ignore == ignore


@pytest.mark.parametrize(
    ("text", "values", "names"),
    [
        ("64 128 64\tAnimal\n192 0 128\tArchway\n", ["#408040"], {"#408040": "Animal"}),
        ("name,r,g,b\nroad,128,64,128\n", ["#804080"], {"#804080": "road"}),
        ("# label:color_rgb:parts:actions\ncat:64,0,0::\n", ["#400000"], {"#400000": "cat"}),
        ("0: sky\n7: road side\n", [7, 255], {7: "road_side"}),
        ("sky\nroad\n", [0, 1], {0: "sky", 1: "road"}),
        ("ground\ncar\n", [0, 255], {0: "ground", 255: "car"}),
        ("__ignore__\n_background_\ncat\n", [0, 1], {0: "_background_", 1: "cat"}),
        ("#ff0000 fire\n", ["#ff0000"], {"#ff0000": "fire"}),
    ],
)
def test_lists_of_names_as_data_sets_bring_them(tmp_path, text, values, names):
    (tmp_path / "labels.txt").write_text(text)
    found = read_names(tmp_path / "labels.txt").of(values)
    assert {value: found[value] for value in names} == names


PATH_COMMENT = "# the folder, relative to the repository or absolute; must exist"


def comments(text):
    return re.findall(r"(?m)(?:^|\s)(#.*)$", text)


def test_write_changes_the_section_data_alone_and_keeps_every_comment(tmp_path, rng):
    project = make_project(tmp_path / "project")
    FOLDERS["VOC"][1](project / "my data", rng)
    shutil.copy(ROOT / "params.yaml", project)
    before = (project / "params.yaml").read_text()
    result = run("segpipe", "init-data", "my data", "--write", cwd=project)
    assert result.returncode == 0, result.stderr
    after = (project / "params.yaml").read_text()
    assert comments(after) == comments(before)
    old, new = yaml.safe_load(before), yaml.safe_load(after)
    assert new.pop("data") != old.pop("data")
    assert new == old
    data = load_params(project / "params.yaml").data
    assert (data.folder.path, data.folder.layout) == ("my data", "voc")
    assert [line for line in before.splitlines() if line not in after.splitlines()] == [
        "  source: oxford_iiit_pet",
        f"    path: data/folder           {PATH_COMMENT}",
        "    layout: pairs",
        "  - name: pet",
        "    colour: '#0072b2'",
        "  - name: background",
        "    value: 2",
        "    colour: '#999999'",
        "  - name: border",
        "    value: 3",
        "    colour: '#e69f00'",
        "  ignore: []                    # values that count in neither loss nor score",
    ]
    assert run("dvc", "repro", "fetch", cwd=project).returncode == 0
    again = run("segpipe", "init-data", "my data", "--write", cwd=project)
    assert again.returncode == 0
    assert (project / "params.yaml").read_text() == after


def test_without_write_nothing_is_written_and_the_proposal_is_yaml(tmp_path, rng):
    FOLDERS["CamVid"][1](tmp_path / "my data", rng)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(tmp_path, {"train.batch_size": 16})
    before = (tmp_path / "params.yaml").read_text()
    result = run("segpipe", "init-data", "my data", cwd=tmp_path)
    assert (tmp_path / "params.yaml").read_text() == before
    section = yaml.safe_load(re.search(r"(?ms)^data:\n.*?\n\n", result.stdout)[0])["data"]
    assert section["folder"] == {"path": "my data", "layout": "splits", "test_share": 0.2}
    assert section["ignore"] == ["#000000"]
    for fact in (
        "layout:  splits (train/0000.png with trainannot/0000.png", "samples: 10 train, 3 val, 4 test",
        "40x30 px", "colours (PNG RGB)", "label_colors.txt",
        "train.batch_size = 16 is more than the 10 training samples: set it to 2",
    ):  # fmt: skip
        assert fact in result.stdout, fact


def test_the_real_photographs_get_their_table(pet_dir):
    found = surveyed(pet_dir)
    assert found.layout == "oxford"
    assert [c.value for c in found.proposal.table.classes] == [1, 2, 3]
    assert found.proposal.occurrences[3].share == pytest.approx(0.12, abs=0.002), (
        "12.0 %, says its README"
    )
    assert not found.problems


def spoil(root, path, image):
    image.save(root / path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: shutil.rmtree(root / "masks"), "14 images (in images), and no masks that go with"),
        (
            lambda root: [shutil.rmtree(root / f) for f in ("images", "masks")],
            "holds no image; expected",
        ),
        (
            lambda root: every_mask(root, as_jpeg),
            ": 14 of 14 are JPEG, whose compression changes values (",
        ),
        (
            lambda root: every_mask(root, blurred),
            "these are no classes but photographs, or masks with soft",
        ),
        (lambda root: every_mask(root, as_photo), "they hold more than 1024 colours each; these are no"),
        (
            lambda root: every_mask(root, all_black),
            "the masks hold 1 value (0); expected 2 to 255 classes",
        ),
        (
            lambda root: every_mask(root, too_high),
            "values from 0 to 2550; expected class values 0 to 255",
        ),
    ],
)
def test_masks_that_no_table_can_read_are_refused_in_one_line(tmp_path, rng, spoil, words):
    FOLDERS["binary"][1](tmp_path, rng)
    spoil(tmp_path)
    with pytest.raises(UserError) as error:
        surveyed(tmp_path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def every_mask(root, change):
    for path in (root / "images").iterdir():
        Image.open(path).resize((160, 120)).save(path)
    for path in (root / "masks").iterdir():
        change(Image.open(path).convert("L").resize((160, 120)), path)


def as_jpeg(mask, path):
    mask.save(path, "JPEG", quality=60)


def blurred(mask, path):
    mask.filter(ImageFilter.GaussianBlur(8)).save(path)


def as_photo(mask, path):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    Image.fromarray(noise).save(path)


def all_black(mask, path):
    Image.new("L", mask.size).save(path)


def too_high(mask, path):
    Image.fromarray(np.asarray(mask).astype(np.uint16) * 10).save(path)


def test_bad_samples_are_listed_and_odd_ones_remarked(tmp_path, rng):
    FOLDERS["binary"][1](tmp_path, rng)
    (tmp_path / "masks/3.png").unlink()
    (tmp_path / "images/4.jpg").write_bytes(b"")
    Image.new("L", (41, 30)).save(tmp_path / "masks/5.png")
    photo = Image.open(tmp_path / "images/6.jpg")
    photo.convert("CMYK").save(tmp_path / "images/6.jpg")
    photo.convert("RGBA").save(tmp_path / "images/7.jpg", "PNG")
    Image.fromarray(np.full((30, 40), 4095, np.uint16)).save(tmp_path / "images/8.jpg", "PNG")
    found = surveyed(tmp_path)
    assert sorted(problem.file for problem in found.problems) == [
        "images/3.jpg", "images/4.jpg", "masks/5.png",
    ]  # fmt: skip
    said = [*remarks(found, 1)]
    assert sorted(line for line in said if "images " in line) == [
        "images (1) with CMYK: turned to RGB without a colour profile",
        "images (1) with an alpha channel: it is dropped",
        "images (1) with uint16: data.intensity scales them to 8 bits",
        "images are not square: data.image_size: [128, 160] keeps their shape",
    ]


def test_a_mask_in_colours_among_grey_ones_is_a_bad_sample(tmp_path, rng):
    FOLDERS["16 bits"][1](tmp_path, rng)
    path = tmp_path / "masks/3.png"
    Image.new("RGB", Image.open(path).size, "red").save(path)
    assert [str(one) for one in surveyed(tmp_path).problems] == [
        "masks/3.png: a colour picture; expected one channel of class values, as most masks have"
    ]


def test_grey_masks_of_few_bits_are_said(tmp_path, rng):
    FOLDERS["binary"][1](tmp_path, rng)
    for n, path in enumerate(sorted((tmp_path / "masks").iterdir())):
        covered = np.array(Image.open(path).convert("L")) > 0
        path.write_bytes(grey_png(covered * (n % 2 + 1), 2))
    said = [one for one in remarks(surveyed(tmp_path), 1) if "bits" in one]
    assert said == [
        "14 masks are PNG grey of 2 bits, whose 0 to 3 count as 0 to 255, 1 as 85; save them with "
        "8 bits if the numbers are the classes"
    ]


def test_a_class_of_a_few_pixels_is_remarked(tmp_path, rng):
    FOLDERS["16 bits"][1](tmp_path, rng)
    path = tmp_path / "masks/3.png"
    mask = np.array(Image.open(path))
    mask[0, 0] = 9
    Image.fromarray(mask).save(path)
    said = [*remarks(surveyed(tmp_path), 1)]
    assert "9 is 0.006 % of the pixels, in 1 masks: too few to learn, perhaps a slip of the pen" in said


def coco_table_of(tmp_path, *categories):
    annotations = [{"image_id": 1, "category_id": c["id"], "segmentation": [[0, 0, 9, 0, 9, 9]]}
                   for c in categories]  # fmt: skip
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": annotations,
               "categories": categories}  # fmt: skip
    (tmp_path / "result.json").write_text(json.dumps(content))
    return label_table(coco.labels(tmp_path), Names())


def test_where_category_ids_do_not_fit_into_a_mask_the_labels_are_the_values(tmp_path):
    for ids in ((0, 1), (300, 7), (255, 2)):
        categories = [{"id": n, "name": f"c{n}"} for n in ids]
        table = coco_table_of(tmp_path, *categories)
        assert {c.name: c.value for c in table.classes} == {
            "background": 0, **{f"c{n}": f"c{n}" for n in ids},
        }  # fmt: skip


def test_where_no_label_can_be_read_the_error_says_why(tmp_path, rng):
    """And not that nobody drew one: here a script wrote numbers, and names end before class 7."""
    shape = {"label": 3, "points": [[5, 5], [15, 5], [15, 15]], "shape_type": "polygon"}
    for root in (tmp_path / "labelme", tmp_path / "yolo"):
        save(photo(rng), root / "images/a.jpg")
    (tmp_path / "labelme/images/a.json").write_text(json.dumps({"shapes": [shape]}))
    with pytest.raises(UserError, match=r"labelme: no label can be read, as images/a.json: .*0.label"):
        survey(tmp_path / "labelme", Request(0.3, 0.3))
    (tmp_path / "yolo/labels").mkdir()
    (tmp_path / "yolo/labels/a.txt").write_text("7 0.1 0.1 0.5 0.1 0.5 0.5")
    (tmp_path / "yolo/classes.txt").write_text("car\nwheel\n")
    with pytest.raises(UserError, match=r"yolo: no label can be read, as labels/a.txt: class 7, which"):
        survey(tmp_path / "yolo", Request(0.3, 0.3))
    shape["label"] = " "
    (tmp_path / "labelme/images/a.json").write_text(json.dumps({"shapes": [shape]}))
    with pytest.raises(UserError, match="no shape has a label; draw polygons with labels"):
        survey(tmp_path / "labelme", Request(0.3, 0.3))


def test_two_labels_that_would_be_one_class_are_refused(tmp_path):
    with pytest.raises(UserError, match="'big cat' and 'big_cat' both give the class 'big_cat'; rename"):
        coco_table_of(tmp_path, {"id": 1, "name": "big cat"}, {"id": 2, "name": "big_cat"})
