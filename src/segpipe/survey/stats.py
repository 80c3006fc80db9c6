"""Statistics of one sample: of its picture, mostly from the header, and of its mask."""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from segpipe.fetch import pictures, pillow
from segpipe.fetch.duplicates import picture_hash
from segpipe.fetch.integrity import turn_of_mask
from segpipe.fetch.params import MOST_BANDS
from segpipe.fetch.pictures import Decoded
from segpipe.fetch.pillow import SWAPPING, orientation_of
from segpipe.fetch.sample import BadSampleError, Picture, Problem, Sample, badly_named, unreadable
from segpipe.fetch.stored import format_of, readable
from segpipe.survey.masks import MaskStats, mask_stats

_DRAFT = (64, 64)  # the least size of the reduced copy from which a photograph's hash is computed


@dataclass(frozen=True)
class SampleStats:
    """The statistics of one sample."""

    sample: Sample
    size: tuple[int, int]  # height and width of the image, upright
    bands: int  # in the image's file
    as_rgb: bool  # whether people see them as grey or RGB
    remark: str  # on anything odd about the image
    hash: str  # `picture_hash` of the image
    digest: str  # SHA-256 of the image's file
    mask: MaskStats


def sample_stats(sample: Sample) -> SampleStats | Problem:
    """Read one sample: the header of its image, a reduced copy of it, and its mask."""
    if problem := badly_named(sample):
        return problem
    try:
        image, mask = sample.content.read()
        stored, turn, reduced, remark = _picture(image, sample.image)
        of_mask = mask_stats(mask, sample.mask)
        turn_of_mask(
            of_mask.size, of_mask.orientation, stored, turn, sample.image, sample.mask, sample.upright
        )
    except OSError as error:
        return unreadable(sample.image, error).problem
    except BadSampleError as error:
        return error.problem
    upright = stored[::-1] if turn in SWAPPING else stored
    return SampleStats(
        sample=sample, size=upright, bands=reduced.bands, as_rgb=reduced.as_rgb, remark=remark,
        hash=picture_hash(reduced), digest=_digest(image), mask=of_mask,
    )  # fmt: skip


def _picture(image: Picture, file: str) -> tuple[tuple[int, int], int, Decoded, str]:
    """Return an image's stored size, its EXIF orientation, its pixels, and a remark.

    The pixels are a reduced copy of a photograph, or all bands of an image that is neither grey nor RGB.
    """
    if isinstance(image, bytes) and not format_of(image):
        with readable(file):
            picture = pillow.open_one(image, file)
            size, remark = (picture.height, picture.width), _remark(picture)
            turn, count = orientation_of(picture), len(picture.getbands())
            picture.draft("RGB", _DRAFT)
            return size, turn, Decoded(np.asarray(pillow.upright_rgb(picture)), count, turn), remark
    size, turn = pictures.stored_size(image, file)
    try:
        decoded = pictures.decode_picture(image, file)
    except BadSampleError:
        count = min(pictures.bands_in(image, file), MOST_BANDS)
        decoded = pictures.decode_picture(image, file, (*range(1, count + 1),))
    scaled = f"{decoded.depth}: data.intensity scales them to 8 bits"
    return size, turn, decoded, "" if decoded.depth == "uint8" else scaled


def _digest(image: Picture) -> str:
    return hashlib.sha256(image if isinstance(image, bytes) else b"".join(image)).hexdigest()


def _remark(stored: Image.Image) -> str:
    if stored.mode == "CMYK":
        return "CMYK: turned to RGB without a colour profile"
    if "A" in stored.mode or "transparency" in stored.info:
        return "an alpha channel: it is dropped"
    return ""
