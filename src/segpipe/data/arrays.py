"""A split in memory."""

from dataclasses import dataclass

import numpy as np
from rich.progress import track

from segpipe.data import records
from segpipe.errors import UserError
from segpipe.files import name_hash


@dataclass(frozen=True)
class Arrays:
    """A split in memory: `images` uint8 [n, H, W, 3], `masks` uint8 [n, H, W], `names`."""

    images: np.ndarray
    masks: np.ndarray
    names: list[str]


def load(manifest: records.Manifest, split: records.Split) -> Arrays:
    """Read a whole split into memory: 4 bytes a pixel, 65 KB a sample at 128 px."""
    count = manifest.count(split)
    images = np.empty((count, *manifest.size, 3), np.uint8)
    masks = np.empty((count, *manifest.size), np.uint8)
    names = []
    samples = track(records.read(manifest, split), f"Reading {split}", total=count)
    for position, sample in enumerate(samples):
        images[position], masks[position] = sample["image"], sample["mask"]
        names.append(sample["name"])
    return Arrays(images, masks, names)


def subset(arrays: Arrays, count: int) -> Arrays:
    """Some samples of a split, in its order: the first by hash of the name, so that more only adds.

    Args:
        arrays: the split.
        count: how many; 0 for all.

    Raises:
        UserError: there are fewer.
    """
    names = arrays.names
    if count > len(names):
        raise UserError(
            f"train.samples = {count}, but the training split has {len(names)} samples; 0 takes all"
        )
    chosen = sorted(
        sorted(range(len(names)), key=lambda i: name_hash(names[i], "subset"))[: count or None]
    )
    return Arrays(arrays.images[chosen], arrays.masks[chosen], [names[i] for i in chosen])


def steps_per_pass(arrays: Arrays, batch_size: int) -> int:
    """The number of whole batches in which `train_batches` gives each sample at most once.

    Raises:
        UserError: the batch is larger than the split.
    """
    count = len(arrays.names)
    if batch_size > count:
        raise UserError(
            f"train.batch_size = {batch_size} is larger than the training split of {count} samples; "
            "lower it or add samples"
        )
    return count // batch_size
