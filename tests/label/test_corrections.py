"""`segpipe corrections`: corrected masks replace those of the same names, and it says what changed."""

import errno
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import PETS, ROOT, commit, environment, git, make_project, run, run_stage, set_params
from PIL import ExifTags, Image

from segpipe.common.classes import ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.label.corrections import MASKS_ALONE, SCRATCH, correct
from segpipe.predict.labels import labels_in

TABLE = ClassTable(
    (
        SegmentationClass("pet", (1, 4), "#0072b2"),
        SegmentationClass("background", 2, "#999999"),
        SegmentationClass("border", 3, "#e69f00"),
    ),
    (9,),
)
HEIGHT, WIDTH = 20, 30
NAMES = [f"shot {n}" for n in range(6)]


def mask_of(number):
    """A pet of two values on a background, and something to ignore."""
    mask = np.full((HEIGHT, WIDTH), 2, np.uint8)
    mask[4:12, number : number + 10] = 1
    mask[4:6, number : number + 10] = 4
    mask[18:, :3] = 9
    return mask


def corrected(number):
    """The pet has ten columns more, below: 40 pixels of background become pet."""
    indices = TABLE.to_indices(mask_of(number))
    indices[12:16, number : number + 10] = 0
    return indices


@pytest.fixture
def mine(tmp_path, rng):
    """A folder of pairs."""
    for number, name in enumerate(NAMES):
        for folder, picture in (
            ("images", Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))),
            ("masks", Image.fromarray(mask_of(number))),
        ):
            path = tmp_path / f"data/mine/{folder}/{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return tmp_path / "data/mine"


@pytest.fixture
def project(mine, tmp_path, monkeypatch):
    """A repository whose folder of pairs DVC keeps, by links to its cache."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    rows = TABLE.to_json()
    data = {"data.source": "folder", "data.folder.path": "data/mine", "data.folder.layout": "pairs"}
    set_params(tmp_path, data | {"data.classes": rows["classes"], "data.ignore": rows["ignore"]})
    git(tmp_path, "init -q")
    for command in (["init", "-q"], ["config", "cache.type", "symlink"], ["add", "-q", "data/mine"]):
        subprocess.run(["dvc", *command], cwd=tmp_path, check=True, env=environment())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(segpipe):
    """Run the command: its exit code, and all that it printed."""

    def run(*arguments):
        code, *printed = segpipe("corrections", *arguments)
        return code, "".join(printed)

    return run


def export(folder, pictures, tool, masks, table=TABLE):
    """What an annotators' tool gives back: these masks, of pictures of these names."""
    with labels_in(folder, tool, table) as labels:
        for name, mask in masks.items():
            labels.enter(labels.of(pictures / f"{name}.png", name, mask))


def stored(mine, name=None):
    masks = {path.stem: np.asarray(Image.open(path)) for path in (mine / "masks").iterdir()}
    return masks if name is None else masks[name]


def take(mine, tool, table=TABLE):
    return correct(mine, "pairs", mine.parents[1] / "export", tool, table, "rgb")


@pytest.mark.slow
def test_the_command_replaces_masks_that_dvc_keeps_and_its_cache_has_the_old(project, command, mine):
    before = stored(mine)
    export(project / "export", mine / "images", "coco", {NAMES[1]: corrected(1)})
    code, said = command("export")
    assert code == 0, said
    assert "6 masks, 1 changed: pet +8.3 %, background -1.3 %; 1 had a correction" in said
    assert "next: dvc add data/mine && dvc repro" in said
    assert (TABLE.to_indices(stored(mine, NAMES[1])) == corrected(1)).all()
    code, said = command("export")
    assert (code, "data/mine changed since it was added to DVC" in said) == (1, True), said
    shutil.rmtree(mine)
    subprocess.run(["dvc", "checkout", "-q"], cwd=project, check=True, env=environment())
    assert all((mask == before[name]).all() for name, mask in stored(mine).items())
    (project / "data/mine.dvc").unlink()
    code, said = command("export")
    assert (code, "data/mine is not kept by DVC" in said) == (1, True), said
    set_params(project, {"data.source": "synthetic"})
    code, said = command("export")
    assert (code, "error: data.source is synthetic" in said) == (1, True), said


@pytest.mark.parametrize("tool", ["coco", "cvat"])
def test_only_pixels_whose_class_changed_get_another_value(mine, tmp_path, tool):
    before = stored(mine)
    masks = {NAMES[0]: TABLE.to_indices(mask_of(0)), NAMES[1]: corrected(1), NAMES[2]: corrected(2)}
    export(tmp_path / "export", mine / "images", tool, masks)
    done = take(mine, tool)
    # 6 masks of 80 pixels of pets and 514 of background; 80 pixels go from one to the other.
    assert str(done) == "6 masks, 2 changed: pet +16.7 %, background -2.6 %"
    assert (done.corrected, done.changed, done.unmatched) == (3, 80, [])
    after = stored(mine)
    grown = TABLE.to_indices(before[NAMES[1]]) != corrected(1)
    assert (after[NAMES[1]] == np.where(grown, 1, before[NAMES[1]])).all()
    assert {*np.unique(after[NAMES[1]])} == {1, 2, 4, 9}, "both values of the pet stay"
    assert all((after[name] == before[name]).all() for name in NAMES if name not in NAMES[1:3])
    again = take(mine, tool)
    assert (str(again), again.changed) == ("6 masks, none changed", 0)


def test_masks_of_which_one_class_is_left_and_shapes_that_are_not_drawn_are_named(
    project, command, tmp_path
):
    new = tmp_path / "new"
    shutil.copytree(project / "data/mine/images", new / "images")
    shapes = dict.fromkeys(NAMES, "")
    shapes["shot 0"] = '<polygon label="pet" points="0,0;30,0;30,9;0,9"/>'
    shapes["shot 1"] = '<polyline label="pet" points="0,0;30,0;30,9"/>'
    pictures = (
        f'<image id="{n}" name="{name}.png" width="{WIDTH}" height="{HEIGHT}">{shapes[name]}</image>'
        for n, name in enumerate(NAMES)
    )
    (new / "annotations.xml").write_text(f"<annotations>{''.join(pictures)}</annotations>")
    code, printed = command(new)
    assert code == 0, printed
    assert "note: not drawn: 1 polyline" in printed
    assert "5 of 6 pictures have no shape that is drawn" in printed
    assert "note: 5 masks have one class left:\n  masks/shot 1.png" in printed


def test_pixels_that_a_class_gains_and_loses_are_counted_though_its_total_stays(mine, tmp_path):
    """Of the pet 10 x 2 pixels go to the background, and as many come from it."""
    swapped = TABLE.to_indices(mask_of(1))
    swapped[12:14, 1:11], swapped[10:12, 1:11] = 0, 1
    export(tmp_path / "export", mine / "images", "coco", {NAMES[1]: swapped})
    done = take(mine, "coco")
    assert done.before.pixels == done.after.pixels
    assert done.changed == 40
    assert +done.gained == +done.lost == {"pet": 20, "background": 20}


def test_a_folder_of_masks_alone_corrects_the_masks_of_its_names(project, command, mine):
    (project / "export").mkdir()
    values = np.array([1, 2, 3], np.uint8)[np.minimum(corrected(1), 2)]
    Image.fromarray(np.where(mask_of(1) == 9, np.uint8(9), values)).save(project / "export/shot 1.png")
    Image.fromarray(mask_of(2)).save(project / "export/new.png")
    code, printed = command("export")
    assert code == 0, printed
    assert "layout:  masks alone (2 files, for the pictures of these names in your folder)" in printed
    assert "note: 1 pictures have no mask in data/mine, and are left out:\n  new" in printed
    assert "6 masks, 1 changed: pet +8.3 %, background -1.3 %; 1 had a correction" in printed
    rows = [line.replace("│", " ").split() for line in printed.splitlines()]
    assert ["pet", "480", "40", "0", "520"] in rows
    assert ["background", "3,084", "0", "40", "3,044"] in rows
    assert (TABLE.to_indices(stored(mine, NAMES[1])) == corrected(1)).all()


def test_pictures_beside_a_damaged_export_are_not_taken_for_masks(project, command, mine):
    export(project / "export", mine / "images", "coco", {NAMES[1]: corrected(1)})
    (project / "export/annotations/instances_default.json").write_text("{")
    for more in ([], ["--layout", "coco"]):
        code, printed = command("export", *more)
        assert code == 1
        assert "annotations/instances_default.json" in printed
        assert "no whole JSON (no JSON, or an early end, at character 1)" in printed


def test_a_damaged_mask_and_a_missing_one_are_the_folders_fault_and_others_are_corrected(
    project, command, mine
):
    export(project / "export", mine / "images", "coco", {NAMES[n]: corrected(n) for n in (1, 2, 3)})
    (mine / "masks/shot 1.png").write_bytes(b"junk")
    (mine / "masks/shot 2.png").unlink()
    subprocess.run(["dvc", "add", "-q", "data/mine"], cwd=project, check=True, env=environment())
    code, printed = command("export")
    assert code == 0, printed
    assert "note: 1 pictures have no mask in data/mine, and are left out:\n  shot 2\n" in printed
    assert "note: 2 samples of data/mine cannot be used, and stay as they are:\n" in printed
    assert "  images/shot 2.png: no mask for its partner" in printed
    assert "  masks/shot 1.png: no image format" in printed
    assert "1 had a correction, which changed 40 pixels" in printed
    assert (TABLE.to_indices(np.asarray(Image.open(mine / "masks/shot 3.png"))) == corrected(3)).all()


def test_an_export_without_labels_is_refused_with_the_readers_notes(project, command, mine):
    """Such as predictions in Label Studio that nobody submitted."""
    export(project / "export", mine / "images", "label-studio", {NAMES[1]: corrected(1)})
    code, printed = command("export")
    assert code == 1
    assert "error: export: holds no labels of a picture, so nothing was changed; export" in printed
    assert "prediction" in printed.partition("error:")[2]
    export(project / "empty", mine / "images", "coco", {})
    code, printed = command("empty")
    assert (code, printed.partition("error: ")[2][:33]) == (1, "empty: holds no labels of a pictu")


def test_new_pictures_are_left_out_and_named(mine, tmp_path):
    shutil.copytree(mine / "images", tmp_path / "more")
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(tmp_path / "more/new.png")
    export(tmp_path / "export", tmp_path / "more", "coco", {NAMES[1]: corrected(1), "new": corrected(2)})
    assert take(mine, "coco").unmatched == ["new"]


def test_a_mask_on_the_stored_view_of_a_turned_picture_stays_there(mine, tmp_path):
    """EXIF turns the picture; its mask in the folder is not turned, and the tool's is."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = mine / f"images/{NAMES[0]}.png"
    pixels = np.asarray(Image.open(path))
    Image.fromarray(pixels).save(path, exif=exif)
    export(tmp_path / "export", mine / "images", "labelme", {NAMES[0]: np.rot90(corrected(0), -1)})
    take(mine, "labelme")
    assert (TABLE.to_indices(stored(mine, NAMES[0])) == corrected(0)).all()


def test_masks_of_colours_get_colours(mine, tmp_path):
    rows = (SegmentationClass(c.name, c.colour, c.colour) for c in PETS.classes)
    for number, name in enumerate(NAMES):
        drawn = PETS.palette[TABLE.to_indices(mask_of(number)) % 3]
        Image.fromarray(drawn).save(mine / f"masks/{name}.png")
    new = corrected(1) % 3
    export(tmp_path / "export", mine / "images", "coco", {NAMES[1]: new})
    take(mine, "coco", ClassTable(tuple(rows)))
    assert (stored(mine, NAMES[1]) == PETS.palette[new]).all()


def test_masks_of_colours_get_colours_where_other_masks_hold_numbers(mine, tmp_path):
    colours = ["#0000ff", "#00ff00", "#ff0000"]
    rows = (SegmentationClass(f"c{n}", (n + 1, colour), colour) for n, colour in enumerate(colours))
    table = ClassTable(tuple(rows))
    for number, name in enumerate(NAMES):
        indices = TABLE.to_indices(mask_of(number)) % 3
        drawn = table.palette[indices] if number % 2 else indices + 1
        Image.fromarray(drawn).save(mine / f"masks/{name}.png")
    masks = {NAMES[n]: corrected(n) % 3 for n in (1, 2)}
    export(tmp_path / "export", mine / "images", "coco", masks, table)
    take(mine, "coco", table)
    assert (stored(mine, NAMES[1]) == table.palette[masks[NAMES[1]]]).all()
    assert (stored(mine, NAMES[2]) == masks[NAMES[2]] + 1).all()


def test_a_palette_stays(mine, tmp_path):
    path = mine / f"masks/{NAMES[1]}.png"
    drawn = Image.fromarray(mask_of(1))
    drawn.putpalette([*range(30)])
    drawn.save(path)
    export(tmp_path / "export", mine / "images", "coco", {NAMES[1]: corrected(1)})
    take(mine, "coco")
    assert Image.open(path).getpalette()[:30] == [*range(30)]
    assert (TABLE.to_indices(stored(mine, NAMES[1])) == corrected(1)).all()


@pytest.mark.parametrize("entries", [1, 2, 3, 5])
def test_values_that_a_short_palette_lacks_are_written_whole(mine, tmp_path, entries):
    """Pillow stores such a mask in 1, 2 or 4 bits a pixel: 9 would become 1, and 4 would become 0."""
    before = np.zeros((HEIGHT, WIDTH), np.uint8)
    for name in NAMES:
        drawn = Image.fromarray(before)
        drawn.putpalette([7, 8, 9] * entries)
        drawn.save(mine / f"masks/{name}.png")
    names = ["background", "cat", "dog", "car", "bus"]
    rows = (SegmentationClass(name, index, f"#00000{index}") for index, name in enumerate(names))
    table = ClassTable(tuple(rows), (255,))
    new = before.copy()
    new[:2], new[2:4], new[4:6] = 2, 4, 255
    export(tmp_path / "export", mine / "images", "coco", {NAMES[1]: new}, table)
    done = take(mine, "coco", table)
    assert (stored(mine, NAMES[1]) == new).all()
    assert done.changed == 6 * WIDTH
    assert Image.open(mine / f"masks/{NAMES[1]}.png").getpalette()[:3] == [7, 8, 9]


def refused(mine, tool, expected):
    before = stored(mine)
    with pytest.raises(UserError, match=re.escape(expected)):
        take(mine, tool)
    assert all((mask == before[name]).all() for name, mask in stored(mine).items())
    shutil.rmtree(mine.parents[1] / "export")


def test_two_exports_that_name_one_picture_are_refused(mine, tmp_path):
    export(tmp_path / "export/a", mine / "images", "cvat", {NAMES[1]: corrected(1)})
    export(
        tmp_path / "export/b", mine / "images", "cvat", {NAMES[1]: corrected(2), NAMES[2]: corrected(2)}
    )
    refused(mine, "cvat", f"{NAMES[1]}: 2 labels of one picture (a/annotations.xml")


def test_two_masks_of_one_name_in_a_folder_of_masks_alone_are_refused(mine, tmp_path):
    for folder in ("ann", "ben"):
        (tmp_path / "export" / folder).mkdir(parents=True)
        Image.fromarray(mask_of(2)).save(tmp_path / f"export/{folder}/shot 1.png")
    found = "shot 1: 2 labels of one picture (ann/shot 1.png and ben/shot 1.png); expected one of them"
    refused(mine, MASKS_ALONE, found)


def test_labels_of_another_picture_size_or_class_are_refused_and_all_masks_stay(mine, tmp_path):
    other, name = tmp_path / "other", NAMES[1]
    shutil.copytree(mine / "images", other)
    shutil.copy(other / f"{NAMES[5]}.png", other / f"{name}.png")
    export(tmp_path / "export", other, "coco", {name: corrected(1), NAMES[2]: corrected(2)})
    refused(mine, "coco", f"another picture (images/{name}.png); expected that of the same name")
    Image.new("RGB", (9, 9)).save(other / f"{name}.png")
    export(tmp_path / "export", other, "coco", {name: np.ones((9, 9), np.uint8)})
    refused(mine, "coco", f"labels of 9x9; expected 30x20, as masks/{name}.png")
    export(tmp_path / "export", other, "coco", {name: np.ones((9, 9), np.uint8)})
    (mine / f"images/{name}.png").rename(mine / "images/moved.png")
    (mine / f"masks/{name}.png").rename(mine / "masks/moved.png")
    refused(mine, "coco", f"none of its 1 pictures is in {mine}, such as {name}")
    dogs = ClassTable((SegmentationClass("dog", 1, "#000000"),))
    export(tmp_path / "export", other, "coco", {NAMES[2]: 0 * corrected(1)}, dogs)
    refused(mine, "coco", "labels that are no class: 'dog'")


def test_a_mask_that_cannot_be_written_leaves_all_masks_as_they_were(mine, tmp_path, monkeypatch):
    masks = {name: corrected(number) for number, name in enumerate(NAMES[:3])}
    export(tmp_path / "export", mine / "images", "coco", masks)
    write = Path.write_bytes

    def full(path, data):
        if path == mine / SCRATCH / "2":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    before = stored(mine)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        take(mine, "coco")
    assert {*before} == {*stored(mine)}, "nothing is left behind"
    assert all((mask == before[name]).all() for name, mask in stored(mine).items())
    monkeypatch.undo()
    assert take(mine, "coco").changed > 0


def test_pixels_to_ignore_need_a_value_of_their_own(mine, tmp_path):
    ignoring = corrected(1)
    ignoring[0, 0] = 255
    for name in NAMES:
        Image.fromarray(np.full((HEIGHT, WIDTH), 2, np.uint8)).save(mine / f"masks/{name}.png")
    export(tmp_path / "export", mine / "images", "coco", {NAMES[1]: ignoring})
    with pytest.raises(UserError, match="pixels to ignore; expected a value for them"):
        take(mine, "coco", PETS)
    take(mine, "coco")
    assert stored(mine, NAMES[1])[0, 0] == 9


@pytest.mark.parametrize("colours", [False, True])
def test_a_class_of_labels_alone_has_no_value_in_masks_and_is_refused(mine, tmp_path, colours):
    """A free number in its place is no class of the table, so that `fetch` would refuse the mask."""
    rows = (
        [("pet", "#0000ff"), ("background", "#00ff00")] if colours else [("pet", 1), ("background", 2)]
    )
    drawn = [(SegmentationClass(*row, f"#00000{n}")) for n, row in enumerate(rows)]

    def with_border(value):
        return ClassTable((*drawn, SegmentationClass("border", value, "#e69f00")))

    ground = np.full((HEIGHT, WIDTH, 3), (0, 255, 0)) if colours else np.full((HEIGHT, WIDTH), 2)
    for name in NAMES:
        Image.fromarray(ground.astype(np.uint8)).save(mine / f"masks/{name}.png")
    new = np.full((HEIGHT, WIDTH), 1, np.uint8)
    new[:3] = 2
    export(tmp_path / "export", mine / "images", "coco", {NAMES[1]: new}, with_border("rim"))
    with pytest.raises(UserError, match="pixels of border, which has no value in masks; expected one"):
        take(mine, "coco", with_border("rim"))
    assert (stored(mine, NAMES[1]) == ground).all()
    take(mine, "coco", with_border("rest"))
    assert (with_border("rest").to_indices(stored(mine, NAMES[1])) == new).all()


def test_ctrl_c_before_the_last_new_mask_is_written_changes_none(project, command, mine):
    before = stored(mine)
    export(project / "export", mine / "images", "coco", {NAMES[n]: corrected(n) for n in (1, 2, 3)})
    with pytest.MonkeyPatch.context() as patch:
        press_ctrl_c_at(patch, "write_bytes", 3)
        code, printed = command("export")
    assert (code, printed.count("Traceback")) == (130, 0)
    assert all((mask == before[name]).all() for name, mask in stored(mine).items())
    assert not (mine / SCRATCH).exists()
    code, printed = command("export")
    assert code == 0, printed
    assert "6 masks, 3 changed" in printed


def test_ctrl_c_after_the_first_mask_is_replaced_waits_for_the_last(mine, tmp_path):
    export(tmp_path / "export", mine / "images", "coco", {NAMES[n]: corrected(n) for n in (1, 2, 3)})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        press_ctrl_c_at(patch, "replace", 2)
        take(mine, "coco")
    assert str(take(mine, "coco")) == "6 masks, none changed"
    assert not (mine / SCRATCH).exists()


@pytest.mark.slow
def test_after_a_kill_the_error_says_how_to_take_it_back(project, command, mine):
    """Right between two masks."""
    export(project / "export", mine / "images", "coco", {NAMES[1]: corrected(1)})
    (mine / SCRATCH).mkdir()
    (mine / SCRATCH / "1").touch()
    (mine / f"masks/{NAMES[2]}.png").unlink()
    Image.fromarray(mask_of(3)).save(mine / f"masks/{NAMES[2]}.png")
    code, printed = command("export")
    assert (code, "`dvc checkout data/mine` takes it back" in printed) == (1, True), printed
    checkout = ["dvc", "checkout", "--force", "data/mine"]
    subprocess.run(checkout, cwd=project, check=True, env=environment(), stdin=subprocess.DEVNULL)
    code, printed = command("export")
    assert code == 0, printed


@pytest.mark.slow
def test_the_comment_on_a_pull_request_says_how_masks_were_corrected(mine, tmp_path):
    """Corrected, added to DVC, fetched and committed; nothing is trained."""
    project = make_project(tmp_path / "project")
    shutil.move(mine, project / "data/mine")
    rows = TABLE.to_json()
    data = {"data.source": "folder", "data.folder.path": "data/mine", "data.folder.layout": "pairs"}
    data["data.folder.test_share"] = 0.5
    set_params(project, data | {"data.classes": rows["classes"], "data.ignore": rows["ignore"]})
    assert run("dvc", "add", "-q", "data/mine", cwd=project).returncode == 0
    assert (fetched := run_stage("fetch", project)).returncode == 0, fetched.stderr
    commit(project)
    git(project, "branch base")
    export(project / "logs/new", project / "data/mine/images", "coco", {NAMES[1]: corrected(1)})
    assert (done := run("segpipe", "corrections", "logs/new", cwd=project)).returncode == 0, done.stderr
    assert run("dvc", "add", "-q", "data/mine", cwd=project).returncode == 0
    assert run_stage("fetch", project).returncode == 0
    commit(project)
    comment = run("segpipe", "check", "--markdown", "--base", "base", cwd=project).stdout
    line = next(line for line in comment.splitlines() if "labels" in line)
    assert line.replace("\\", "") == "- labels: 6 masks, 1 changed: pet +8.3 %, background -1.3 %"


def press_ctrl_c_at(patch, name, number):
    """Press Ctrl-C right before the call of a number of a method of paths."""
    calls, method = [], getattr(Path, name)

    def pressed(path, *arguments):
        calls.append(path)
        if len(calls) == number:
            signal.raise_signal(signal.SIGINT)
        return method(path, *arguments)

    patch.setattr(Path, name, pressed)


def test_labels_in_a_tools_own_files_are_not_rewritten(mine, tmp_path):
    export(tmp_path / "export", mine / "images", "coco", {NAMES[1]: corrected(1)})
    export(tmp_path / "own", mine / "images", "labelme", {NAMES[1]: corrected(2)})
    with pytest.raises(UserError, match="in the layout labelme the labels are the tool's own files"):
        correct(tmp_path / "own", "labelme", tmp_path / "export", "coco", TABLE, "rgb")
