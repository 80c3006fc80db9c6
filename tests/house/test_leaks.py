"""Splits that do not leak, through the real stages: groups, given validation, near duplicates, folds."""

import csv
import shutil

import numpy as np
import pytest
from helpers import error_line, make_project, run, run_stage, set_params
from PIL import Image

from segpipe.common.files import name_hash
from segpipe.common.records import open_records, read

pytestmark = pytest.mark.slow

SPLITS = ("train", "val", "test")


def scene(rng):
    """A smooth picture, unlike others of its kind."""
    blobs = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return blobs.resize((64, 64), Image.Resampling.BICUBIC)


def draw(root, names, rng):
    """Pairs in a folder."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    mask = np.full((64, 64), 2, np.uint8)
    mask[20:40, 20:40], mask[24:36, 24:36] = 3, 1
    for name in names:
        scene(rng).save(root / f"images/{name}.png")
        Image.fromarray(mask).save(root / f"masks/{name}.png")


@pytest.fixture(scope="module")
def empty_project(tmp_path_factory):
    path = tmp_path_factory.mktemp("leaks") / "project"
    return make_project(path, **{"data.source": "folder", "data.folder.path": "pictures"})


@pytest.fixture
def project(empty_project, tmp_path, rng):
    """A project with eight videos of four frames; the names of every second frame say its video."""
    path = tmp_path / "project"
    shutil.copytree(empty_project, path, symlinks=True)
    draw(path / "pictures", [f"seq{v}_{frame}" for v in range(8) for frame in range(4)], rng)
    set_params(path, {"data.folder.test_share": 0.3})
    return path


def stages(project):
    """Run fetch and preprocess; what both printed."""
    said = ""
    for stage in ("fetch", "preprocess"):
        result = run_stage(stage, project)
        assert result.returncode == 0, result.stderr
        said += result.stdout
    return said


def names(project):
    manifest = open_records(project / "data/records")
    return {split: [one["name"] for one in read(manifest, split)] for split in SPLITS}


def lists(project, **splits):
    for split, listed in splits.items():
        (project / f"pictures/{split}.txt").write_text("\n".join(listed))


def test_videos_stay_whole_in_every_split_and_fold(project):
    set_params(project, {"data.folder.group": r"(seq\d+)_", "data.folds": 3})
    said = stages(project)
    assert "validation is fold 0 of 3 of the training split, by hash of the group" in said
    validated = []
    for fold in range(3):
        set_params(project, {"data.fold": fold})
        assert run_stage("preprocess", project).returncode == 0
        videos = {split: {n.split("_")[0] for n in found} for split, found in names(project).items()}
        assert sum(map(len, videos.values())) == 8, "each video in one split"
        validated += videos["val"]
    assert len(validated) == len({*validated}) == 8 - len(videos["test"])
    table = run("segpipe", "data", cwd=project).stdout
    assert "val:     fold 2 of 3 of the training split, by hash of the group" in table
    test_row = next(line for line in table.splitlines() if line.split()[1:2] == ["test"])
    assert test_row.split("│")[2:4] == [f"{4 * len(videos['test']):>8} ", f"{len(videos['test']):>7} "]


def test_the_index_says_name_split_group_and_hash_of_each_sample(project):
    (project / "pictures/groups.csv").write_text(
        "image,patient\n" + "".join(f"seq{v}_0.png,p{v}\n" for v in range(8))
    )
    set_params(project, {"data.folder.group": {"file": "groups.csv", "column": "patient"}})
    result = run_stage("fetch", project)
    assert "24 of 32 pictures are groups of their own, such as seq0_1" in result.stdout, result.stderr
    with (project / "data/raw/index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    assert [row["split"] for row in rows] == sorted(row["split"] for row in rows), "test before train"
    assert {row["name"]: row["group"] for row in rows}["seq3_0"] == "p3"
    assert all(len(row["hash"]) == 16 for row in rows)


def test_lists_that_part_a_video_are_refused_by_name(project):
    frames = [f"seq{v}_{f}" for v in range(8) for f in range(4)]
    lists(project, train=frames[:-1], test=frames[-1:])
    set_params(project, {"data.folder.group": r"(seq\d+)_"})
    line = error_line(run_stage("fetch", project))
    assert line.startswith("error: 3 bad samples")
    assert "images/seq7_0.png: group seq7 in two splits, test and train" in line


def test_a_group_that_matches_nothing_is_refused_with_names(project):
    set_params(project, {"data.folder.group": r"(patient\d+)"})
    line = error_line(run_stage("fetch", project))
    assert "'(patient\\\\d+)': it gives no picture a group; names are such as" in line


def test_three_lists_are_obeyed_and_nothing_is_cut(project):
    frames = [f"seq{v}_{f}" for v in range(8) for f in range(4)]
    lists(project, train=frames[:20], val=frames[20:26], test=frames[26:])
    said = stages(project)
    assert "fetched 6 test, 6 val, 20 train samples" in said
    assert "validation is the split that the data name; data.validation_share is not used" in said
    assert names(project) == {"train": frames[:20], "val": frames[20:26], "test": frames[26:]}
    set_params(project, {"data.folds": 4})
    line = error_line(run_stage("preprocess", project))
    assert line.startswith("error: data.folds = 4: the data name a validation split of their own")
    assert line.count("\n") == 1


def test_the_same_picture_in_validation_and_training_is_refused(project):
    frames = [f"seq{v}_{f}" for v in range(8) for f in range(4)]
    lists(project, train=frames[:20], val=frames[20:26], test=frames[26:])
    shutil.copy(project / "pictures/images/seq0_0.png", project / "pictures/images/seq5_0.png")
    line = error_line(run_stage("fetch", project))
    assert "images/seq0_0.png: the same picture as images/seq5_0.png of the val split" in line


def copy(project, name, of):
    """Put a JPEG of one picture in the place of another."""
    images = project / "pictures/images"
    Image.open(images / f"{of}.png").save(images / f"{name}.jpg", quality=50)
    (images / f"{name}.png").unlink()


def test_near_duplicates_are_listed_left_out_or_an_error(project):
    frames = [f"seq{v}_{f}" for v in range(8) for f in range(4)]
    lists(project, train=frames[:-4], test=frames[-4:])
    held_out = next(name for name in frames[:-4] if name_hash(name, "val") < 0.25)
    first, second = [name for name in frames[:-4] if name_hash(name, "val") > 0.25][:2]
    copy(project, first, of="seq7_0")
    copy(project, second, of=held_out)
    of_test = f"images/{first}.jpg (train) looks like images/seq7_0.png (test), "
    of_val = f"{second} (train) looks like {held_out} (val), "
    said = stages(project)
    assert f"1 near duplicates in different splits (data.on_near_duplicate):\n  {of_test}" in said
    assert f"  {of_val}" in said
    assert {first, second} <= {*names(project)["train"]}
    table = run("segpipe", "data", cwd=project).stdout
    assert of_test in table
    assert of_val in table

    set_params(project, {"data.on_near_duplicate": "skip"})
    stages(project)
    assert not {first, second} & {*names(project)["train"]}
    left_out = [one["file"] for one in open_records(project / "data/records").left_out]
    assert left_out == [f"images/{first}.jpg", second]

    set_params(project, {"data.on_near_duplicate": "error"})
    line = error_line(run_stage("preprocess", project))
    assert line.startswith("error: 1 near duplicates in different splits")
    assert of_val in line
    assert of_test in error_line(run_stage("fetch", project))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"data.fold": 5, "data.folds": 5}, "data.fold = 5 is beyond data.folds = 5 (0 to 4)"),
        ({"data.fold": 1}, "data.fold = 1 is beyond data.folds = 1 (0 to 0)"),
        ({"data.folder.group": "seq"}, "data.folder.group = 'seq': 0 groups in brackets"),
        ({"data.on_near_duplicate": "stop"}, "data.on_near_duplicate = 'stop'"),
    ],
)
def test_wrong_params_are_named(project, params, words):
    set_params(project, params)
    result = run_stage("preprocess", project)
    assert result.returncode == 2
    assert words in error_line(result)


def test_too_few_groups_for_the_folds_are_counted(project):
    lists(project, train=["seq0_0", "seq0_1", "seq1_0"], test=["seq7_0"])
    set_params(project, {"data.folder.group": r"(seq\d+)_", "data.folds": 3})
    assert run_stage("fetch", project).returncode == 0
    line = error_line(run_stage("preprocess", project))
    words = "data.folds = 3: each fold needs a group, and the training split has 2; lower data.folds"
    assert line == f"error: {words}\n"
