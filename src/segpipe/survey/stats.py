"""Statistics of one sample: of its picture, mostly from the header, and of its mask."""

import hashlib
from dataclasses import dataclass

from PIL import Image

from segpipe.fetch import integrity
from segpipe.fetch.duplicates import picture_hash
from segpipe.fetch.sample import BadSampleError, Picture, Problem, Sample, badly_named, unreadable
from segpipe.fetch.views import SWAPPING, orientation
from segpipe.survey.masks import MaskStats, mask_stats

_DRAFT = (128, 128)  # pixels of the reduced copy, at least, of which a photograph's hash is made


@dataclass(frozen=True)
class SampleStats:
    """The statistics of one sample."""

    sample: Sample
    size: tuple[int, int]  # height and width of the image, upright
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
        stored, upright, remark, hashed = _picture(image, sample.image)
        found = mask_stats(mask, sample.mask)
    except OSError as error:
        return unreadable(sample.image, error).problem
    except BadSampleError as error:
        return error.problem
    fitting = {None: (stored, upright), True: (upright,), False: (stored,)}[sample.upright]
    if found.size not in fitting:
        expected = f"the image's size, {_extent(fitting[0])} ({sample.image})"
        return Problem(sample.mask, f"size {_extent(found.size)}", expected)
    return SampleStats(sample, upright, remark, hashed, _digest(image), found)


def _picture(image: Picture, file: str) -> tuple[tuple[int, int], tuple[int, int], str, str]:
    """Return an image's size as stored and upright, a remark, and its hash."""
    assert isinstance(image, bytes), "bands in several files come with `fetch/pictures.py`"
    with integrity.readable(file):
        picture = integrity.open_one(image, file)
        stored, remark = (picture.height, picture.width), _remark(picture)
        upright = stored[::-1] if orientation(picture) in SWAPPING else stored
        picture.draft("RGB", _DRAFT)
        return stored, upright, remark, picture_hash(integrity.upright_rgb(picture))


def _digest(image: Picture) -> str:
    return hashlib.sha256(image if isinstance(image, bytes) else b"".join(image)).hexdigest()


def _remark(stored: Image.Image) -> str:
    if stored.mode == "CMYK":
        return "CMYK: turned to RGB without a colour profile"
    if "A" in stored.mode or "transparency" in stored.info:
        return "an alpha channel: it is dropped"
    return ""


def _extent(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
