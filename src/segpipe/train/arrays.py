"""The samples of a split by number: in memory, or in the shards until they are needed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.progress import track

from segpipe.common import records
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash


@dataclass(frozen=True)
class Arrays:
    """Samples in memory: `images` uint8 [n, H, W, 3], `masks` uint8 [n, H, W], `names`."""

    images: np.ndarray
    masks: np.ndarray
    names: list[str]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.masks.shape[1:]

    def take(self, chosen: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images and masks of some samples, by number."""
        return self.images[chosen], self.masks[chosen]

    def only(self, chosen: Sequence[int]) -> "Arrays":
        """Some samples, by number, and no others."""
        return Arrays(*self.take(chosen), [self.names[i] for i in chosen])


@dataclass(frozen=True)
class Shards:
    """Samples in the shards: where each is, the `size` of them all, and `names`.

    It holds no file open and no pixel: the operating system keeps what it has memory for.
    """

    places: list[records.Place]
    size: tuple[int, int]
    names: list[str]

    def take(self, chosen: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images and masks of some samples, by number: as those of `Arrays`, read now.

        Raises:
            UserError: a shard has been cut or changed since it was opened.
        """
        images, masks = _empty(len(chosen), self.size)
        for position, number in enumerate(chosen):
            sample = records.read_at(self.places[number], self.size)
            images[position], masks[position] = sample["image"], sample["mask"]
        return images, masks

    def only(self, chosen: Sequence[int]) -> "Shards":
        """Some samples, by number, and no others."""
        return Shards([self.places[i] for i in chosen], self.size, [self.names[i] for i in chosen])


Samples = Arrays | Shards


def load(manifest: records.Manifest, split: records.Split) -> Arrays:
    """Read a whole split into memory: 4 bytes a pixel, 65 KB a sample at 128 px."""
    images, masks = _empty(manifest.count(split), manifest.size)
    names = []
    for position, (_, sample) in enumerate(_scan(manifest, split)):
        images[position], masks[position] = sample["image"], sample["mask"]
        names.append(sample["name"])
    return Arrays(images, masks, names)


def locate(manifest: records.Manifest, split: records.Split) -> Shards:
    """Read a whole split once, and keep of it only where each sample is."""
    found = [(place, sample["name"]) for place, sample in _scan(manifest, split)]
    return Shards([place for place, _ in found], manifest.size, [name for _, name in found])


def _scan(manifest: records.Manifest, split: records.Split) -> Iterable[tuple[records.Place, dict]]:
    return track(records.scan(manifest, split), f"Reading {split}", total=manifest.count(split))


def _empty(count: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.empty((count, *size, 3), np.uint8), np.empty((count, *size), np.uint8)


def subset(samples: Samples, count: int) -> Samples:
    """Some samples of a split, in its order: the first by hash of the name, so that more only adds.

    Args:
        samples: the split.
        count: how many; 0 for all.

    Raises:
        UserError: there are fewer.
    """
    names = samples.names
    if not count:
        return samples
    if count > len(names):
        raise UserError(
            f"train.samples = {count}, but the training split has {len(names)} samples; 0 takes all"
        )
    return samples.only(sorted(first_by_hash(range(len(names)), count, "subset", names.__getitem__)))


def steps_per_pass(samples: Samples, batch_size: int) -> int:
    """The number of whole batches in which `train_batches` gives each sample at most once.

    Raises:
        UserError: the batch is larger than the split.
    """
    count = len(samples.names)
    if batch_size > count:
        raise UserError(
            f"train.batch_size = {batch_size} is larger than the training split of {count} samples; "
            "lower it or add samples"
        )
    return count // batch_size
