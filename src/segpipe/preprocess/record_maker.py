"""How one raw sample becomes records."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from segpipe.common.codec import decode_image, decode_png
from segpipe.common.records import Resize, Tiles
from segpipe.common.splits import Split
from segpipe.common.traits import Measured
from segpipe.preprocess.intensity import RGB_OF_8_BITS, Levels, Ranges, fit_encoded
from segpipe.preprocess.params import PreprocessParams, Range
from segpipe.preprocess.resize import resize_mask
from segpipe.preprocess.tiles import Cutter, Record, Scaled, area
from segpipe.preprocess.traits import traits_of


@dataclass(frozen=True)
class RecordFormat:
    """The format of a data set's records."""

    size: tuple[int, int]  # of the network's input: height and width in pixels
    resize: Resize
    intensity: Literal["auto"] | Range | Ranges = "auto"  # the values that become 0 and 255
    tiles: Tiles | None = None  # how pictures are cut, where `resize` is `tiles`

    @classmethod
    def of_params(cls, params: PreprocessParams) -> "RecordFormat":
        """Return the format that the section `data` asks for."""
        tiles = Tiles(**params.tiles.model_dump())
        is_cut = params.resize == "tiles"
        return cls(params.image_size, params.resize, params.intensity, tiles if is_cut else None)


@dataclass(frozen=True)
class RecordMaker:
    """Makes records of raw samples; picklable, so that any process can."""

    format: RecordFormat
    levels: Levels
    cutter: Cutter | None

    def decoded(self, sample: tuple[Split, dict]) -> tuple[Split, Record | Scaled, Measured | None]:
        """Return a sample's split, its record (or the scaled sample, still to be cut), and its traits.

        The traits are None for a test sample.
        """
        split, features = sample
        if self.cutter:
            scaled = self.cutter.decoded(features, split)
            at_own_size = scaled.image if scaled.mask is scaled.original else None
            return split, scaled, self._measured(features, split, at_own_size)
        size, resize = self.format.size, self.format.resize
        record = resize_sample(features, size, resize, split == "test", self.levels)
        counts = np.bincount(np.frombuffer(record["mask"], np.uint8), minlength=256)
        return split, (record, counts), self._measured(features, split)

    def records_of(self, decoded: Record | Scaled) -> Iterable[Record]:
        """Return the records of a decoded sample; one process alone must, since a cutter counts."""
        if not isinstance(decoded, Scaled):
            return (decoded,)
        assert self.cutter, "only a cutter scales samples"
        return self.cutter.cut(decoded)

    def pixels(self, sample: tuple[Split, dict]) -> int:
        """Return the pixels of a sample as it is decoded."""
        return area(sample[1], self.cutter.tiles.scale if self.cutter else 1.0)

    def weight(self, sample: tuple[Split, dict]) -> int:
        """Return the bytes of a sample, or of what is decoded of it: a pixel has bands and two masks."""
        if self.cutter:
            return self.pixels(sample) * (self.levels.bands + 2)
        return len(sample[1]["image"]) + len(sample[1]["mask"])

    def _measured(
        self, features: dict, split: Split, pixels: np.ndarray | None = None
    ) -> Measured | None:
        """Measure a raw sample at its own size, of which `pixels` are given if it is decoded already."""
        if split == "test":
            return None
        if pixels is None:
            pixels = self.levels.in_8_bits(*decode_image(features["image"]))
        return Measured(features["name"].decode(), split, traits_of(pixels))


def resize_sample(
    features: dict, size: tuple[int, int], how: Resize, with_original: bool,
    levels: Levels = RGB_OF_8_BITS,
) -> dict:  # fmt: skip
    """Return the record of a raw sample that is resized, not cut.

    It holds `name`, `image` uint8 [*size, bands] and `mask` uint8 [*size], all as bytes; with
    `with_original` also `original_mask` (PNG), `height` and `width`. `features` are those of data/raw;
    `how` is `stretch` or `pad`. Raises what Pillow raises.
    """
    indices = decode_png(features["mask"])
    image = fit_encoded(features["image"], levels, size, how)
    mask = resize_mask(indices, size, how)
    record = {"name": features["name"], "image": image.tobytes(), "mask": mask.tobytes()}
    if with_original:
        height, width = indices.shape
        record |= {"original_mask": features["mask"], "height": height, "width": width}
    return record
