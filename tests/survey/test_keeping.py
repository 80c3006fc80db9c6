"""What people have given to a class table stays when the same folder is looked at again."""

import json
from dataclasses import replace

import numpy as np
import yaml
from helpers import ROOT, run
from PIL import Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.survey.keeping import keep_labels, keep_values
from segpipe.survey.labels import label_table
from segpipe.survey.names import Names


def table(*rows, ignore=()):
    colours = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
    return ClassTable(
        tuple(SegmentationClass(n, v, c) for (n, v), c in zip(rows, colours, strict=False)), ignore
    )


def rows(found):
    return [(row.name, row.value) for row in found.classes]


PROPOSED = table(("class_0", 0), ("class_1", 1), ("class_2", 2), ("class_7", 7), ignore=(255,))


def test_names_merges_and_ignored_values_stay_and_new_values_are_added():
    before = table(("road", (0, 2)), ("car", 1), ("gone", 9), ignore=(255,))
    found = keep_values(PROPOSED, before)
    assert rows(found) == [("road", (0, 2)), ("car", 1), ("class_7", 7)]
    assert found.ignore == (255,)
    assert len({*found.colours.values()}) == 3


def test_a_value_that_a_person_ignores_stays_ignored():
    assert keep_values(PROPOSED, table(("a", 0), ("b", 1), ("c", 2), ignore=(7, 255))).ignore == (7, 255)


def test_the_rest_takes_what_is_new():
    assert rows(keep_values(PROPOSED, table(("car", 1), ("other", "rest")))) == [
        ("car", 1), ("other", "rest"),
    ]  # fmt: skip


def test_a_name_made_up_for_want_of_another_gives_way():
    proposed = table(("sky", 0), ("road", 1))
    assert rows(keep_values(proposed, table(("class_0", 0), ("street", 1)))) == [
        ("sky", 0),
        ("street", 1),
    ]


def test_a_row_whose_value_no_mask_that_was_looked_at_holds_stays():
    before = table(("road", 0), ("rare", 9))
    assert ("rare", 9) in rows(keep_values(PROPOSED, before, all_seen=False))
    assert ("rare", 9) not in rows(keep_values(PROPOSED, before, all_seen=True))


def test_colours_are_equal_however_they_are_written():
    proposed = table(("class_ff0000", "#ff0000"), ("class_00ff00", "#00ff00"))
    assert rows(keep_values(proposed, table(("fire", "#FF0000"), ("tree", "#00FF00")))) == [
        ("fire", "#ff0000"),
        ("tree", "#00ff00"),
    ]


def test_a_made_up_name_does_not_give_way_to_one_that_is_taken():
    before = table(("class_1", 1), ("road", 2))
    assert rows(keep_values(table(("sky", 0), ("road", 1), ("car", 2)), before))[:2] == [
        ("class_1", 1),
        ("road", 2),
    ]


def test_two_labels_of_one_renamed_row_both_stay():
    before = table(("background", 0), ("vehicle", (1, 2)))
    assert ("vehicle", (1, 2, "car", "cat")) in rows(keep_labels(LABELS, before))


def test_a_table_of_other_values_is_not_kept():
    assert keep_values(PROPOSED, table(("a", "#ff0000"), ("b", "#00ff00"))) == PROPOSED


LABELS = table(("background", 0), ("car", 1), ("cat", 2), ("dog", 3))


def test_labels_keep_their_rows_by_name_or_value():
    before = table(("background", 0), ("animal", ("cat", "dog")), ("car", 1))
    assert rows(keep_labels(LABELS, before)) == rows(before)


def test_a_renamed_class_gets_its_label_as_a_value():
    before = table(("ground", 0), ("vehicle", 1), ("cat", 2))
    found = keep_labels(LABELS, before)
    assert rows(found) == [("ground", (0,)), ("vehicle", (1, "car")), ("cat", 2), ("dog", 3)]
    assert [found.index_of(label) for label in ("car", "cat", "dog")] == [1, 2, 3]


def test_a_new_label_gets_a_free_number():
    before = table(("background", 0), ("car", 1), ("dog", 2))
    assert rows(keep_labels(LABELS, before)) == [
        ("background", 0), ("car", 1), ("dog", 2), ("cat", 4),
    ]  # fmt: skip


def test_a_new_label_that_sorts_before_a_renamed_one_does_not_take_its_class():
    first = label_table({"cat": 0, "dog": 0}, Names())
    before = ClassTable(
        tuple(replace(c, name="feline" if c.name == "cat" else c.name) for c in first.classes)
    )
    assert keep_labels(first, before) == before
    found = keep_labels(label_table({"ant": 0, "cat": 0, "dog": 0}, Names()), before)
    assert rows(found) == [("background", 0), ("feline", "cat"), ("dog", "dog"), ("ant", "ant")]


def test_init_data_keeps_what_params_yaml_has_for_the_same_folder(tmp_path, rng):
    for n in range(6):
        for part, pixels in (("images", rng.integers(0, 256, (32, 32, 3))), ("masks", np.eye(32) * 3)):
            (tmp_path / "mine" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "mine" / part / f"{n}.png")
    content = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(content)
    assert run("segpipe", "init-data", "mine", "--write", cwd=tmp_path).returncode == 0
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert [c["name"] for c in params["data"]["classes"]] == ["background", "foreground"]
    params["data"]["classes"][1] |= {"name": "on", "colour": "#123456"}
    (tmp_path / "params.yaml").write_text(json.dumps(params))
    again = run("segpipe", "init-data", "mine", "--write", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    text = (tmp_path / "params.yaml").read_text()
    assert yaml.safe_load(text)["data"]["classes"][1] == {"name": "on", "value": 3, "colour": "#123456"}
