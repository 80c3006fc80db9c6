"""The samples of a split by number: in memory, or in the shards until they are needed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from rich.progress import track

from segpipe.common import records
from segpipe.common.bands import Bands, numbers
from segpipe.common.classes import IGNORE
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash
from segpipe.common.memory import available_memory
from segpipe.common.splits import Split
from segpipe.train.params import TrainParams


@dataclass(frozen=True)
class Arrays:
    """Samples in memory: `images` uint8 [n, H, W, bands], `masks` uint8 [n, H, W], `names`."""

    images: np.ndarray
    masks: np.ndarray
    names: list[str]
    bands: Bands = "rgb"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.masks.shape[1:]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of bands."""
        return self.images.shape[1:]

    @cached_property
    def held(self) -> np.ndarray:
        """Which classes each sample holds, by index: bool [n, 255]."""
        return _stacked([_held(mask) for mask in self.masks])

    def take(self, chosen: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images and masks of some samples, by number."""
        return self.images[chosen], self.masks[chosen]

    def only(self, chosen: Sequence[int]) -> "Arrays":
        """Return some samples, by number, and no others."""
        return in_memory(self, chosen)


@dataclass(frozen=True)
class Shards:
    """Samples in the shards: where each lies, the `size` of all, `names`, and the classes `held`.

    It holds no open file and no pixel: the operating system caches what it has memory for. `read` is
    `records.read_at`, or asks another host, where the shards are.
    """

    places: list[records.Place]
    size: tuple[int, int]
    names: list[str]
    held: np.ndarray  # as in `Arrays`
    bands: Bands = "rgb"
    read: Callable[[list[records.Place], tuple[int, int, int]], Iterable[dict]] = records.read_at

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of bands."""
        return *self.size, len(numbers(self.bands))

    def take(self, chosen: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read images and masks of some samples, by number; equal to those of `Arrays`.

        Raises:
            UserError: a shard was cut or changed since it was opened.
        """
        images, masks = _empty(len(chosen), self.shape)
        places = [self.places[number] for number in chosen]
        for position, sample in enumerate(self.read(places, self.shape)):
            images[position], masks[position] = sample["image"], sample["mask"]
        return images, masks

    def only(self, chosen: Sequence[int]) -> "Shards":
        """Return some samples, by number, and no others."""
        places, names = [self.places[i] for i in chosen], [self.names[i] for i in chosen]
        return replace(self, places=places, names=names, held=self.held[chosen])


Samples = Arrays | Shards
_SPLITS: tuple[Split, ...] = ("train", "val")


def read_samples(
    manifest: records.Manifest, params: TrainParams, located: Sequence[Shards] = ()
) -> tuple[Samples, Samples]:
    """Read the training and the validation split, if not `located`, and print where they are kept.

    Raises:
        UserError: there are fewer training samples than `train.samples` asks for, or no pixel of these
            counts.
    """
    needed = bytes_needed(manifest)
    keeps = keeps_in_memory(params.in_memory, needed, available_memory())
    where = "in memory" if keeps else "read from the shards when a step needs them"
    print(f"{needed / 1e6:,.0f} MB of samples, {where}")
    read = load if keeps else locate
    training, validation = located or (read(manifest, split) for split in _SPLITS)
    if located and keeps:
        training, validation = (in_memory(split, range(len(split.names))) for split in located)
    return subset(training, params.samples), validation


def in_memory(samples: Samples, chosen: Sequence[int]) -> Arrays:
    """Read some samples, by number, into memory."""
    return Arrays(*samples.take(chosen), [samples.names[i] for i in chosen], samples.bands)


def load(manifest: records.Manifest, split: Split) -> Arrays:
    """Read a whole split into memory: 4 bytes a pixel of RGB, 65 KB a sample at 128 px."""
    images, masks = _empty(manifest.count(split), manifest.shape(split))
    names = []
    for position, (_, sample) in enumerate(_scan(manifest, split)):
        images[position], masks[position] = sample["image"], sample["mask"]
        names.append(sample["name"])
    return Arrays(images, masks, names, manifest.bands)


def locate(manifest: records.Manifest, split: Split) -> Shards:
    """Read a whole split once, and keep only where each sample lies, and what it holds."""
    places, names, held = [], [], []
    for place, sample in _scan(manifest, split):
        places.append(place)
        names.append(sample["name"])
        held.append(_held(sample["mask"]))
    height, width, _ = manifest.shape(split)
    return Shards(places, (height, width), names, _stacked(held), manifest.bands)


def _scan(manifest: records.Manifest, split: Split) -> Iterable[tuple[records.Place, dict]]:
    return track(records.scan(manifest, split), f"Reading {split}", total=manifest.count(split))


def _empty(count: int, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.empty((count, *shape), np.uint8), np.empty((count, *shape[:2]), np.uint8)


def _held(mask: np.ndarray) -> np.ndarray:
    """Return which classes have a pixel in a mask, by index: bool [255]."""
    return np.bincount(mask.ravel(), minlength=IGNORE + 1)[:IGNORE] > 0


def _stacked(held: list[np.ndarray]) -> np.ndarray:
    return np.array(held, bool).reshape(len(held), IGNORE)


def subset(samples: Samples, count: int) -> Samples:
    """Return `count` samples of a split (0: all) in its order; a higher count only adds samples.

    Raises:
        UserError: there are fewer, or no pixel of them counts.
    """
    names = samples.names
    if not count:
        return samples
    if count > len(names):
        raise UserError(
            f"train.samples = {count}, but the training split has {len(names)} samples; 0 takes all"
        )
    chosen = samples.only(sorted(first_by_hash(range(len(names)), count, "subset", names.__getitem__)))
    if not chosen.held.any():
        raise UserError(f"train.samples = {count}, but their masks hold ignored values alone; raise it")
    return chosen


def preview_samples(validation: Samples, count: int) -> Arrays:
    """Return the samples that previews draw, the same few every time: the first by hash of the name."""
    names = validation.names
    return in_memory(validation, first_by_hash(range(len(names)), count, name=names.__getitem__))


def steps_per_pass(samples: Samples, batch_size: int) -> int:
    """Return the number of whole batches that a pass over the samples gives.

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


def bytes_needed(manifest: records.Manifest) -> int:
    """Return the size of both splits in memory: a byte a pixel for each band, and for the mask."""
    return sum(manifest.count(split) * _bytes(manifest.shape(split)) for split in _SPLITS)


def _bytes(shape: tuple[int, int, int]) -> int:
    height, width, channels = shape
    return (channels + 1) * height * width


def keeps_in_memory(wanted: bool | str, needed: int, available: float) -> bool:
    """Resolve `train.in_memory`: `auto` is true where they need at most half of the memory."""
    return 2 * needed <= available if wanted == "auto" else bool(wanted)
