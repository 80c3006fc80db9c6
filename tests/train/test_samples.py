"""`train.in_memory`: samples in memory or read from their shards, and no bit of difference."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import make_project, run, run_stage, set_params, start

from segpipe.common.classes import IGNORE, ClassTable, SegmentationClass
from segpipe.common.errors import UserError
from segpipe.common.files import write_json
from segpipe.common.records import open_records
from segpipe.common.tfrecord import write_shards
from segpipe.train import hosts, samples
from segpipe.train.engine import Batching
from segpipe.train.on_tensorflow import TensorFlowEngine
from segpipe.train.params import AugmentParams
from segpipe.train.samples import Arrays, load, locate, preview_samples, subset

TABLE = ClassTable((SegmentationClass("a", 0, "#000000"), SegmentationClass("b", 1, "#ffffff")))
STRONG = {
    "flip": True, "scale": [0.5, 2.0], "aspect": 1.3, "rotation": 30.0, "brightness": 0.3,
    "contrast": 0.3, "saturation": 0.5, "hue": 0.1,
}  # fmt: skip
COUNT, HEIGHT, WIDTH = 23, 32, 64
ENGINE = TensorFlowEngine()

ON_JAX = f"""
import sys
from pathlib import Path
from segpipe.train.params import AugmentParams
from segpipe.train.samples import load, locate, preview_samples, subset
from segpipe.common.records import open_records
from segpipe.train.engine import Batching
from segpipe.train.on_jax import JaxEngine

manifest, params = open_records(Path(sys.argv[1])), AugmentParams(**{STRONG})
kept, read = (subset(of(manifest, "train"), 21) for of in (load, locate))
for batches in (
    lambda samples: JaxEngine().train_batches(samples, range(3, 13), Batching(4, 0, params)),
    lambda samples: (pair for pair in JaxEngine().validation_batches(samples, 4)),
):
    pairs = list(zip(batches(kept), batches(read), strict=True))
    assert all((a == b).all() for one, other in pairs for a, b in zip(one, other, strict=True))
    print(len(pairs), "batches")
"""

PEAK = f"""
from pathlib import Path
import tensorflow as tf
from segpipe.train.params import AugmentParams
from segpipe.train import samples
from segpipe.train.engine import Batching
from segpipe.train.on_tensorflow import TensorFlowEngine
from segpipe.common.records import open_records

def kilobytes(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(key))

manifest = open_records(Path())
list(tf.data.Dataset.range(9).map(lambda number: number))  # TensorFlow is up
before = kilobytes("VmRSS")
split = samples.OF(manifest, "train")
params = AugmentParams(**{dict.fromkeys(STRONG, 0.0) | {"flip": True, "scale": [1, 1], "aspect": 1}})
for batch in TensorFlowEngine().train_batches(split, range(500), Batching(50, 0, params)):
    pass
print(before, kilobytes("VmHWM"))
"""


def write_records(folder, rng, shard_mb, **counts):
    """Records of noise, so many of each split, with names of many lengths."""
    splits = {}
    for split, count in counts.items():
        samples = (
            {
                "name": f"{split} {number}{'x' * (number % 50)}".encode(),
                "image": rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8).tobytes(),
                "mask": rng.integers(0, 2, (HEIGHT, WIDTH), np.uint8).tobytes(),
            }
            for number in range(count)
        )
        splits[split] = {"samples": count, "shards": write_shards(folder, split, samples, shard_mb)}
    rest = {"source": "a test", "image_size": [HEIGHT, WIDTH], "resize": "stretch", "left_out": []}
    write_json(folder / "manifest.json", {**rest, **TABLE.to_json(), "splits": splits})
    return open_records(folder)


@pytest.fixture
def manifest(tmp_path, rng):
    """23 samples in 8 shards, 6 in 2."""
    return write_records(tmp_path, rng, 0.02, train=COUNT, val=6)


def both(manifest, split="train"):
    return load(manifest, split), locate(manifest, split)


def assert_equal_batches(kept, read, count):
    pairs = list(zip(kept.as_numpy_iterator(), read.as_numpy_iterator(), strict=True))
    assert len(pairs) == count
    for (images, masks), (same_images, same_masks) in pairs:
        assert images.dtype == same_images.dtype == masks.dtype == same_masks.dtype == np.uint8
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(masks, same_masks)


@pytest.mark.parametrize("count", [0, 9])
def test_training_batches_from_the_shards_are_those_from_memory_to_the_bit(manifest, count):
    assert len(manifest.shards("train")) == 8
    kept, read = (
        ENGINE.train_batches(subset(of, count), range(3, 17), Batching(4, 0, AugmentParams(**STRONG)))
        for of in both(manifest)
    )
    assert kept.element_spec == read.element_spec
    assert_equal_batches(kept, read, 14)


def test_a_subset_without_a_pixel_that_counts_is_refused_and_a_larger_one_is_not(rng):
    images = rng.integers(0, 256, (3, 8, 8, 3), np.uint8)
    split = Arrays(images, np.zeros((3, 8, 8), np.uint8), ["a", "b", "c"])
    (first,) = subset(split, 1).names
    split.masks[split.names.index(first)] = IGNORE
    with pytest.raises(UserError, match=r"train.samples = 1, but their masks hold ignored values"):
        subset(split, 1)
    assert len(subset(split, 2).names) == 2


def test_validation_batches_from_the_shards_are_those_from_memory_to_the_bit(manifest):
    assert_equal_batches(*(ENGINE.validation_batches(of, 4) for of in both(manifest, "val")), 2)


@pytest.mark.slow
def test_on_jax_batches_from_the_shards_are_those_from_memory_to_the_bit(manifest):
    pytest.importorskip("jax", reason="JAX is not installed: it needs Python 3.11")
    done = run(
        sys.executable, "-c", ON_JAX, str(manifest.folder), cwd=manifest.folder, KERAS_BACKEND="jax"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["10 batches", "6 batches"]


def test_samples_read_through_another_process_are_those_of_the_shards(manifest):
    """It is asked for chunks of at most 16 samples, of which three are under way."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")
    asked = []

    def ask(places, shape):
        asked.append(len(places))
        return SimpleNamespace(future=lambda: pool.submit(hosts._Reader().read, places, shape))

    reader = SimpleNamespace(read=SimpleNamespace(remote=ask))
    kept, read = both(manifest)
    streamed = replace(read, read=partial(hosts._streamed, reader))
    chosen = [22, 0, 7, 7, *range(23), *range(23)]
    with ThreadPoolExecutor() as pool:
        next(streamed.read([streamed.places[number] for number in chosen], streamed.shape))
        assert asked == [16, 16, 16]
        for found, expected in zip(streamed.take(chosen), kept.take(chosen), strict=True):
            np.testing.assert_array_equal(found, expected)
        for found, expected in zip(
            subset(streamed, 9).take([8]), subset(kept, 9).take([8]), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [0, 2, 99])
def test_previews_of_samples_in_the_shards_are_those_of_samples_in_memory(manifest, count):
    kept, read = (preview_samples(of, count) for of in both(manifest, "val"))
    assert kept.names == read.names
    np.testing.assert_array_equal(kept.images, read.images)
    np.testing.assert_array_equal(kept.masks, read.masks)


def test_auto_keeps_in_memory_what_takes_at_most_half_of_it(manifest):
    needed = samples.bytes_needed(manifest)
    assert needed == sum(
        a.images.nbytes + a.masks.nbytes for a in (load(manifest, "train"), load(manifest, "val"))
    )
    assert samples.keeps_in_memory("auto", needed, 2 * needed)
    assert not samples.keeps_in_memory("auto", needed, 2 * needed - 1)
    assert samples.keeps_in_memory(True, needed, 0)
    assert not samples.keeps_in_memory(False, needed, 1000 * needed)


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_shard_that_is_damaged_during_training_is_named(manifest, damage):
    read, path = locate(manifest, "train"), manifest.shards("train")[-1]
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "changed" else content[:200])
    message = {
        "changed": rf"{path}: the record at byte 0: corrupt, its checksum is wrong; delete the folder",
        "cut": rf"{path}: the record at byte \d+: cut short; delete the folder and run `dvc repro`",
        "gone": rf"No such file or directory: '{path}'",
    }[damage]
    with (
        pytest.raises(FileNotFoundError if damage == "gone" else UserError, match=message),
        ENGINE.raises_own_errors(),
    ):
        list(ENGINE.train_batches(read, range(5), Batching(4, 0, AugmentParams(**STRONG))))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(("of", "share"), [("load", 1.2), ("locate", 0.2)])
def test_memory_holds_the_samples_once_or_not_at_all(tmp_path, rng, of, share):
    manifest = write_records(tmp_path, rng, 10, train=25_000)
    done = run(sys.executable, "-c", PEAK.replace("OF", of), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before, peak = (1000 * int(kilobytes) for kilobytes in done.stdout.splitlines()[-1].split())
    assert peak - before < share * 4 * HEIGHT * WIDTH * manifest.count("train")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A project up to its records, in several shards; copy it."""
    project = make_project(
        tmp_path_factory.mktemp("prepared") / "project",
        **{"data.shard_mb": 0.02, "train.samples": 14, "train.epochs": 2},
    )
    for stage in ("fetch", "fetch_encoder", "preprocess"):
        assert run_stage(stage, project).returncode == 0
    assert len(list(project.glob("data/records/train-*.tfrecord"))) > 2
    return project


@pytest.fixture
def project(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "project", symlinks=True)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_run_from_the_shards_is_that_from_memory(project, backend):
    if backend == "jax":
        pytest.importorskip("jax", reason="JAX is not installed: it needs Python 3.11")
    results = []
    for in_memory, where in ((True, "in memory"), (False, "read from the shards when")):
        set_params(project, {"train.in_memory": in_memory, "train.backend": backend})
        done = run_stage("train", project)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"0 MB of samples, {where}" in done.stdout
        files = [project / "results/train/history.csv", *project.glob("results/train/previews/*.png")]
        results.append({path.name: path.read_bytes() for path in files})
    assert results[0] == results[1]
    assert len(results[0]) == 1 + 3


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_run_whose_shard_is_changed_ends_in_one_line(project, backend):
    if backend == "jax":
        pytest.importorskip("jax", reason="JAX is not installed: it needs Python 3.11")
    changes = {"train.in_memory": False, "train.backend": backend, "train.epochs": 5000}
    set_params(project, changes)
    process = start(project, "python", "stages/train.py")
    for shard in project.glob("data/records/train-*.tfrecord"):
        with shard.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read()[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last ^ 1]))
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 1, printed
    assert "Traceback" not in printed
    assert (
        "corrupt, its checksum is wrong; delete the folder and run `dvc repro`"
        in printed.splitlines()[-1]
    )
