"""What the tables say: groups of images, mistakes, what to show of many."""

import numpy as np
import pandas as pd

from segpipe.common.files import first_by_hash
from segpipe.common.nested import changed, flat
from segpipe.evaluate import metrics
from segpipe.report.analysis import (
    by_kind,
    by_size,
    by_subject,
    lowest,
    mix_ups,
    quarters,
    worst_samples,
)


def table_of(matrices, **columns):
    """A per_image.csv of images with these confusion matrices of the classes `a` and `b`."""
    counts = np.stack([metrics.counts(np.array(m)) for m in matrices])
    scored = {
        f"{pixels}_{c}": counts[:, row, i]
        for row, pixels in enumerate(("hits", "truth", "predicted"))
        for i, c in enumerate("ab")
    }
    return pd.DataFrame({**columns, **scored})


def test_fixed_samples_do_not_depend_on_the_order_of_the_table():
    table = pd.DataFrame({"name": [f"photo {n}" for n in range(30)]})
    assert first_by_hash(table["name"], 4) == first_by_hash(table["name"][::-1], 4)
    assert len(set(first_by_hash(table["name"], 4))) == 4


def test_the_worst_come_worst_first_and_names_break_ties():
    table = pd.DataFrame({"name": ["c", "b", "a", "d"], "mean_iou": [0.1, 0.5, 0.5, 0.9]})
    assert worst_samples(table, 3) == ["c", "a", "b"]


def test_groups_by_size_are_quarters_scored_from_their_summed_pixels():
    right, wrong = [[2, 0], [0, 2]], [[1, 1], [0, 2]]
    matrices = [right, wrong, right, right, wrong, wrong, right, wrong]
    table = table_of(matrices, height=2, width=range(10, 18))
    groups = by_size(table, ["a", "b"])
    assert [(g.low, g.high, g.images) for g in groups] == [
        (20, 22, 2),
        (24, 26, 2),
        (28, 30, 2),
        (32, 34, 2),
    ]
    for group, start in zip(groups, (0, 2, 4, 6), strict=True):
        summed = np.sum(matrices[start : start + 2], axis=0)
        assert group.scores == metrics.summarise(summed, ["a", "b"])


def test_images_of_equal_value_stay_together():
    counts = np.ones((8, 3, 2), int)
    values = np.array([1.0, 1, 1, 1, 1, 1, 2, 3])
    groups = quarters(values, counts, ["a", "b"])
    assert [(g.low, g.high, g.images) for g in groups] == [(1, 1, 6), (2, 3, 2)]
    assert [g.images for g in quarters(np.ones(8), counts, ["a", "b"])] == [8]


def test_the_subject_is_the_first_class_and_an_image_without_counted_pixels_is_in_no_group():
    matrices = [[[a, 0], [0, 10 - a]] for a in (1, 2, 3, 4)] + [np.zeros((2, 2), int)]
    groups = by_subject(table_of(matrices), ["a", "b"])
    assert [(g.low, g.high, g.images) for g in groups] == [
        (share, share, 1) for share in (0.1, 0.2, 0.3, 0.4)
    ]
    assert by_subject(table_of([np.zeros((2, 2), int)]), ["a", "b"]) == []


def kinds_of(*names, matrices=None):
    """The kinds of images of these names, all with the same counts unless given."""
    return by_kind(table_of(matrices or [[[2, 0], [0, 2]]] * len(names), name=names), ["a", "b"])


def numbered(kind, count=5):
    return [f"{kind}_{number}" for number in range(count)]


def test_images_of_a_kind_are_scored_from_their_summed_pixels_and_the_worst_kind_comes_first():
    right, wrong, half = [[2, 0], [0, 2]], [[0, 2], [2, 0]], [[9, 9], [0, 18]]
    names = [*numbered("great_pyrenees"), *numbered("ragdoll", 6)]
    matrices = [right, right, right, right, half, *[wrong] * 3, *[right] * 3]
    ragdoll, pyrenees = kinds_of(*names, matrices=matrices)
    assert (ragdoll.name, ragdoll.images) == ("ragdoll", 6)
    assert (pyrenees.name, pyrenees.images) == ("great_pyrenees", 5)
    assert pyrenees.scores == metrics.summarise(np.array([[17, 9], [0, 26]]), ["a", "b"])
    assert ragdoll.scores["pixel_accuracy"] == 1 / 2


def test_kinds_of_fewer_than_five_images_and_names_without_a_number_are_left_out():
    names = [*numbered("cat"), *numbered("dog"), *numbered("fox", 4), "dog", "_7", "dog-8", "dog_9b"]
    assert [(kind.name, kind.images) for kind in kinds_of(*names)] == [("cat", 5), ("dog", 5)]


def test_one_kind_or_very_many_are_no_kinds():
    assert kinds_of(*numbered("IMG", 50)) == []
    assert kinds_of("photo 1", "photo 2") == []
    assert len(kinds_of(*(name for n in range(40) for name in numbered(f"kind {n}")))) == 40
    assert kinds_of(*(name for n in range(41) for name in numbered(f"kind {n}"))) == []


def test_mistakes_come_with_the_most_frequent_first():
    names = ["a", "b", "c"]
    confusion = pd.DataFrame([[80, 4, 0], [6, 5, 0], [0, 5, 0]], names, names)
    assert mix_ups(confusion, 2) == [("b", "a", 0.06), ("c", "b", 0.05)]
    assert len(mix_ups(confusion, 9)) == 3, "what never happened is none"


def test_of_many_classes_the_lowest_are_named_and_of_few_all_in_order():
    scores = {"a": 0.5, "b": None, "c": 0.1, "d": 0.3}
    assert lowest(scores, 4) == ["a", "b", "c", "d"]
    assert lowest(scores, 2) == ["c", "d"]


def test_nested_content_becomes_dotted_keys():
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": [2]}) == {"a.b": 1, "a.c.d": None, "e": [2]}


def test_values_at_dotted_keys_are_changed_in_a_copy():
    content = {"a": {"b": 1, "c": {"d": [1]}}, "e": 2}
    assert changed(content, {"a.c.d": [2], "e": {"f": 3}}) == {
        "a": {"b": 1, "c": {"d": [2]}},
        "e": {"f": 3},
    }
    assert content == {"a": {"b": 1, "c": {"d": [1]}}, "e": 2}
