"""Groups are proposed for frames, slices and tiles, and not for names that only look like them."""

import re

import numpy as np
import pytest
from PIL import Image

from segpipe.fetch.duplicates import picture_hash
from segpipe.fetch.pictures import Decoded
from segpipe.survey.folder import Request, survey
from segpipe.survey.groups import propose_group

PATIENTS = [f"patient_{p:03}_slice_{s}" for p in range(5) for s in range(9)]
TILES = [f"scene_{p}_x{512 * x}_y{512 * y}" for p in range(4) for x in range(3) for y in range(3)]
FRAMES = [f"{place}/frame_{n:04}" for place in ("hall", "yard", "lab") for n in range(9)]


def pattern_and_groups(found, names):
    """The expression that is proposed, and how many groups it gives the names."""
    return found.pattern, len({re.search(found.pattern, name)[1] for name in names})


@pytest.mark.parametrize(
    ("names", "pattern", "groups"),
    [
        (PATIENTS, r"^(.+)_slice_\d+$", 5),
        (TILES, r"^(.+)_x\d+_y\d+$", 4),
        (FRAMES, r"^(.+)/frame_\d+$", 3),
        ([f"{name}_leftImg8bit" for name in PATIENTS], r"^(.+)_slice_\d+_leftImg8bit$", 5),
    ],
)
def test_counters_that_are_called_frame_slice_or_tile_are_believed(names, pattern, groups):
    found = propose_group(dict.fromkeys(names, ""))
    assert pattern_and_groups(found, names) == (pattern, groups)


@pytest.mark.parametrize(
    "names",
    [
        [f"Abyssinian_{n}" for n in range(30)] + [f"pug_{n}" for n in range(30)],
        [f"IMG_{n:04}" for n in range(60)],
        [f"{split}/frame_{n:04}" for split in ("train", "val", "test") for n in range(20)],
        [f"reef{n}" for n in range(60)],
        [f"{n}" for n in range(60)],
        ["one"],
    ],
)
def test_counters_alone_make_no_group_and_neither_do_splits(names):
    assert propose_group(dict.fromkeys(names, "")) is None


def film(rng, frames):
    """Hashes of a camera that moves over a scene, and of as many scenes of their own."""
    scene = Image.fromarray(rng.integers(0, 256, (40, 8 * frames, 3), np.uint8)).resize(
        (32 * frames, 160)
    )
    views = [scene.crop((8 * n, 0, 8 * n + 160, 160)) for n in range(frames)]
    return [picture_hash(Decoded(np.asarray(view), 3, 1)) for view in views]


def test_other_counters_are_believed_where_neighbours_are_alike(rng):
    videos = {f"seq{s}_{n:06}": one for s in range(4) for n, one in enumerate(film(rng, 20))}
    found = propose_group(videos)
    assert pattern_and_groups(found, videos) == (r"^(.+)_\d+$", 4)
    assert "of the neighbours, such as seq0_000000 and seq0_000001, are alike" in found.reason
    shuffled = dict(zip(videos, rng.permutation([*videos.values()]), strict=True))
    assert propose_group(shuffled) is None


def test_one_long_video_is_grouped_by_runs_of_frames(rng):
    video = {f"frame{n:05}": one for n, one in enumerate(film(rng, 60))}
    assert pattern_and_groups(propose_group(video), video) == (r"^(.*\d)\d{1}$", 6)


def test_the_breeds_and_counters_of_real_photographs_are_no_groups(pet_dir):
    found = survey(pet_dir, Request(0.2, 0.1))
    assert found.grouping is None
    assert len(found.stats) == len(found.samples) == 598


def draw(folder, names, rng):
    for name in names:
        for part, pixels in (("images", rng.integers(0, 256, (32, 32, 3))), ("masks", np.eye(32))):
            path = folder / part / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_a_proposed_group_is_in_one_split_and_said(tmp_path, rng):
    draw(tmp_path, PATIENTS, rng)
    found = survey(tmp_path, Request(0.2, 0.2))
    assert found.data("x")["folder"]["group"] == r"^(.+)_slice_\d+$"
    held_out = {s.name for s in found.samples if s.split == "test"}
    patients = {name.rpartition("_slice")[0] for name in held_out}
    assert held_out == {name for name in PATIENTS if name.rpartition("_slice")[0] in patients}
    assert 0 < len(held_out) < len(PATIENTS)


def test_groups_that_the_folders_lists_part_are_not_proposed_but_said(tmp_path, rng):
    draw(tmp_path, PATIENTS, rng)
    (tmp_path / "train.txt").write_text("\n".join(PATIENTS[1:]))
    (tmp_path / "test.txt").write_text(PATIENTS[0])
    found = survey(tmp_path, Request(0.2, 0.1))
    assert found.grouping is None and not found.problems
    assert any("in another split of this folder than others of their group" in n for n in found.notes)
