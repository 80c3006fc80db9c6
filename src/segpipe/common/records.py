"""`data/records`: fixed-size uint8 samples as TFRecord shards, with a manifest.

Each record holds `name`, `image` (uint8, H x W x bands) and `mask` (uint8 class indices, H x W, 255 is
ignored), as raw bytes. Test records also hold `original_mask`, a PNG of class indices at the original
size, with its `height` and `width`.

With `data.resize: tiles` a training record is a piece of a picture with a margin, a validation record a
tile, and a test record a row of tiles: its `image` has the picture's width (a tile's at least), `mask`
and `original_mask` hold only the rows before the next record's, `top` is its first row, and
`scaled_height` and `scaled_width` are the size at which the network sees the picture.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segpipe.common import tfrecord
from segpipe.common.bands import Bands, Intensity, numbers
from segpipe.common.classes import ClassTable
from segpipe.common.codec import decode_png
from segpipe.common.files import read_json
from segpipe.common.splits import Split

SUMMARY, MANIFEST = "summary.json", "manifest.json"  # describe the samples in data/raw, data/records
# To the network's size: distorted | padded to keep its aspect | cut into tiles of that size.
Resize = Literal["stretch", "pad", "tiles"]
Place = tuple[Path, int]  # where a record is: its shard and first byte


@dataclass(frozen=True)
class Tiles:
    """How pictures are cut (`data.tiles`)."""

    scale: float  # of the picture's own resolution
    margin: float = 0.0  # round a training piece, as a share of the network's edge
    keep_empty: float = 1.0  # share of the training pieces without an object that are kept

    def scaled(self, original: tuple[int, int]) -> tuple[int, int]:
        """Return the size at which the network sees a picture; an edge may be 0."""
        height, width = (int(edge * self.scale + 0.5) for edge in original)
        return height, width

    def piece(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of a training piece for a network's input of `size`."""
        height, width = (edge + 2 * round(edge * self.margin) for edge in size)
        return height, width


@dataclass(frozen=True)
class Manifest:
    """The content of a records folder's `manifest.json`."""

    folder: Path
    source: str
    size: tuple[int, int]  # height and width of images and masks in pixels
    resize: Resize
    classes: ClassTable
    splits: dict[str, dict]
    left_out: list[dict]
    validation: str = ""  # what the validation split is, for people
    near_duplicates: Sequence[str] = ()  # across splits, for people
    bands: Bands = "rgb"
    intensity: Intensity = None
    depths: tuple[str, ...] = ("uint8",)  # types of the training pictures
    tiles: Tiles | None = None
    cut: Sequence[str] = ()  # what cutting into tiles left out, for people
    # Where the traits of the pictures are; records of segpipe 0.6.0 have none.
    traits: Mapping[str, Any] | None = None

    @property
    def channels(self) -> int:
        """The number of bands."""
        return len(numbers(self.bands))

    def shape(self, split: Split) -> tuple[int, int, int]:
        """Return height, width and number of bands of a split's images; a tile's where they are rows."""
        pieces = self.tiles if split == "train" else None
        return *(pieces.piece(self.size) if pieces else self.size), self.channels

    def count(self, split: Split) -> int:
        """Return the number of records in a split."""
        return self.splits[split]["samples"]

    def pictures(self, split: Split) -> int:
        """Return the number of pictures in a split; a picture in tiles has several records."""
        return self.splits[split].get("pictures", self.count(split))

    def shards(self, split: Split) -> list[Path]:
        """Return the paths of a split's shards, in order."""
        return [self.folder / shard["file"] for shard in self.splits[split]["shards"]]


def open_records(folder: Path) -> Manifest:
    """Read the manifest and check every shard; raise a UserError where one is missing or damaged."""
    manifest = read_manifest(folder)
    tfrecord.check_shards(folder, {name: split["shards"] for name, split in manifest.splits.items()})
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest alone; raise a UserError if there is none."""
    content = read_json(folder / MANIFEST, "preprocess")
    height, width = content["image_size"]
    plain = {key: content[key] for key in ("source", "resize", "splits", "left_out")}
    # segpipe 0.3.0 wrote none of these.
    later = ("validation", "near_duplicates", "depths", "cut", "traits")
    plain |= {key: content[key] for key in later if key in content}
    if "depths" in plain:
        plain["depths"] = tuple(plain["depths"])
    plain["tiles"] = read_tiles(content)
    seen = read_bands(content)
    return Manifest(folder, size=(height, width), classes=ClassTable.from_json(content), **plain, **seen)


def read_bands(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return `bands` and `intensity` of a manifest or a card; RGB of 8 bits where it has none."""
    bands, intensity = content.get("bands", "rgb"), content.get("intensity")
    return {
        "bands": bands if bands == "rgb" else tuple(bands),
        "intensity": intensity and tuple((low, high) for low, high in intensity),
    }


def read_tiles(content: Mapping[str, Any]) -> Tiles | None:
    """Return how a manifest or a card says that pictures are cut; None where they are not."""
    return Tiles(**content["tiles"]) if "tiles" in content else None


def read(manifest: Manifest, split: Split) -> Iterator[dict]:
    """Yield a split's samples in order: `name` str, `image` and `mask` uint8 arrays.

    Test samples also hold `original_mask`, uint8 [height, width]. With `data.resize: tiles` these are
    rows of a picture, and hold `top`, `scaled` and `original`, sizes as height and width.
    """
    return (sample for _, sample in scan(manifest, split))


def scan(manifest: Manifest, split: Split) -> Iterator[tuple[Place, dict]]:
    """Yield the samples of `read`, each with its place for `read_at`."""
    for path in manifest.shards(split):
        for begin, features in tfrecord.scan_shard(path):
            yield (path, begin), _sample(features, manifest.shape(split))


def read_at(places: Iterable[Place], shape: tuple[int, int, int]) -> Iterator[dict]:
    """Yield the samples of a split's `shape` at some places, as `read` does; raises as tfrecord's."""
    return (_sample(tfrecord.read_at(*place), shape) for place in places)


def _sample(features: tfrecord.Features, shape: tuple[int, int, int]) -> dict:
    if "top" in features:
        return _row(features, shape)
    sample = {
        "name": features["name"].decode(),
        "image": np.frombuffer(features["image"], np.uint8).reshape(shape),
        "mask": np.frombuffer(features["mask"], np.uint8).reshape(shape[:2]),
    }
    if "original_mask" in features:
        sample["original_mask"] = decode_png(features["original_mask"])
    return sample


def _row(features: tfrecord.Features, shape: tuple[int, int, int]) -> dict:
    scaled = features["scaled_height"], features["scaled_width"]
    original = features["height"], features["width"]
    empty = np.zeros((0, original[1]), np.uint8)
    return {
        "name": features["name"].decode(),
        "image": np.frombuffer(features["image"], np.uint8).reshape(shape[0], -1, shape[2]),
        "mask": np.frombuffer(features["mask"], np.uint8).reshape(-1, scaled[1]),
        "original_mask": decode_png(features["original_mask"]) if features["original_mask"] else empty,
        "top": features["top"],
        "scaled": scaled,
        "original": original,
    }


def without_pixels(split: Mapping[str, Any]) -> list[str]:
    """Return the classes without a counted pixel in a split (an entry of the manifest's `splits`)."""
    return [name for name, pixels in split["class_pixels"].items() if not pixels]
