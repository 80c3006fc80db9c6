"""Statistics of one sample: of its picture, mostly from the header, and of its mask."""

import hashlib
from dataclasses import dataclass

import numpy as np

from segpipe.fetch import pictures, pillow
from segpipe.fetch.duplicates import picture_hash
from segpipe.fetch.pictures import Decoded
from segpipe.fetch.sample import BadSampleError, Picture, Problem, Sample, badly_named, unreadable
from segpipe.fetch.stored import format_of, readable
from segpipe.fetch.views import SWAPPING
from segpipe.survey.masks import MaskStats, mask_stats

MOST_BANDS = 16  # that segpipe takes
_DRAFT = (128, 128)  # pixels of the reduced copy, at least, of which a photograph's hash is made


@dataclass(frozen=True)
class SampleStats:
    """The statistics of one sample."""

    sample: Sample
    size: tuple[int, int]  # height and width of the image, upright
    bands: int  # in the image's file
    as_rgb: bool  # whether people see them as grey or RGB
    remark: str  # what is odd about the image, if anything
    hash: str  # `picture_hash` of the image
    digest: str  # SHA-256 of the image's file
    mask: MaskStats


def sample_stats(sample: Sample) -> SampleStats | Problem:
    """Look at one sample: the header of its image, a reduced copy of it, and its mask."""
    if problem := badly_named(sample):
        return problem
    try:
        image, mask = sample.content.read()
        stored, turn = pictures.stored_size(image, sample.image)
        reduced = _reduced(image, sample.image)
        found = mask_stats(mask, sample.mask)
    except OSError as error:
        return unreadable(sample.image, error).problem
    except BadSampleError as error:
        return error.problem
    upright = stored[::-1] if turn in SWAPPING else stored
    fitting = {None: (stored, upright), True: (upright,), False: (stored,)}[sample.upright]
    if found.size not in fitting:
        expected = f"the image's size, {_extent(fitting[0])} ({sample.image})"
        return Problem(sample.mask, f"size {_extent(found.size)}", expected)
    return SampleStats(
        sample=sample, size=upright, bands=reduced.bands, as_rgb=reduced.as_rgb, remark=_remark(image, reduced),
        hash=picture_hash(reduced), digest=_digest(image), mask=found,
    )  # fmt: skip


def _reduced(image: Picture, file: str) -> Decoded:
    """Decode an image, a photograph to a reduced copy, and all bands where it is no grey or RGB."""
    if isinstance(image, bytes) and not format_of(image):
        with readable(file):
            picture = pillow.open_one(image, file)
            picture.draft("RGB", _DRAFT)
            return Decoded(np.asarray(pillow.upright_rgb(picture)), len(picture.getbands()), 1)
    try:
        return pictures.decode_picture(image, file)
    except BadSampleError:
        count = min(pictures.bands_in(image, file), MOST_BANDS)
        return pictures.decode_picture(image, file, (*range(1, count + 1),))


def _digest(image: Picture) -> str:
    return hashlib.sha256(image if isinstance(image, bytes) else b"".join(image)).hexdigest()


def _remark(image: Picture, picture: Decoded) -> str:
    if picture.depth != "uint8":
        return f"{picture.depth}: data.intensity scales them to 8 bits"
    if isinstance(image, tuple) or format_of(image):
        return ""
    stored = pillow.open_lazily(image)
    if stored.mode == "CMYK":
        return "CMYK: turned to RGB without a colour profile"
    if "A" in stored.mode or "transparency" in stored.info:
        return "an alpha channel: it is dropped"
    return ""


def _extent(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
