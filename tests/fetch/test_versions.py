"""Versions of one photograph, as Roboflow's augmentation makes them, stay together in every layout."""

import pytest
from own_folders import photo, save
from PIL import Image

from segpipe.common.classes import ClassTable
from segpipe.fetch import layouts
from segpipe.fetch.sample import Sample

VERSIONS = [f"p{n}_jpg.rf.{10 * n + version:032x}" for n in range(8) for version in range(3)]


@pytest.mark.parametrize(
    ("layout", "image", "mask"),
    [
        ("pairs", "images/{}.jpg", "masks/{}.png"),
        ("splits", "train/images/{}.jpg", "train/masks/{}.png"),
        ("layers", "images/{}.jpg", "masks/car/{}.png"),
        ("carvana", "{}.jpg", "{}_mask.png"),
    ],
)
def test_versions_of_one_photograph_are_a_group_in_every_layout(tmp_path, rng, layout, image, mask):
    for name in VERSIONS:
        save(photo(rng), tmp_path / image.format(name))
        save(Image.new("L", (40, 30), 255), tmp_path / mask.format(name))
    found = layouts.samples(layout, tmp_path, 0.4, ClassTable(()))
    samples = [one for one in found if isinstance(one, Sample)]
    group_of = {one.name.rpartition("/")[2]: one.group.rpartition("/")[2] for one in samples}
    assert group_of == {name: name[: len("p0_jpg")] for name in VERSIONS}
    splits = {(one.group, one.split) for one in samples}
    assert len(splits) == 8
    assert {split for _, split in splits} == {"train", "test"}


def test_a_cars_views_keep_their_group_and_other_names_have_none(tmp_path, rng):
    for name in ("0123456789ab_01", "0123456789ab_02", "other"):
        save(photo(rng), tmp_path / f"{name}.jpg")
        save(Image.new("L", (40, 30), 255), tmp_path / f"{name}_mask.png")
    found = layouts.samples("carvana", tmp_path, 0.4, ClassTable(()))
    groups = {one.name: one.group for one in found if isinstance(one, Sample)}
    assert groups == {"0123456789ab_01": "0123456789ab", "0123456789ab_02": "0123456789ab", "other": ""}
