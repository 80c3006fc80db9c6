"""The perceptual hash of a picture, by which near duplicates are found (`common.duplicates`).

It is the `phash` of the library imagehash, bit for bit. That one imports scipy.fftpack, which costs each
worker as much time as hashing a thousand pictures.
"""

import numpy as np
from PIL import Image

from segpipe.fetch.pictures import Decoded

_ROWS = 128  # the least number of rows that are read, where a picture has more
_EDGE = 32  # pixels of the copy that is hashed
_WAVES = np.cos(np.pi / _EDGE * np.outer(np.arange(8), np.arange(_EDGE) + 0.5))
"""The lowest frequencies of the discrete cosine transform (DCT-II) of that many values."""
_FLAT = 4  # grey levels: with less contrast, a picture's hash tells of noise alone


def picture_hash(picture: Decoded) -> str:
    """Return 64 bits as hexadecimal digits; nothing for a flat picture.

    Each bit tells whether a low frequency is stronger than the median of all. Only every n-th row is
    read, which takes a quarter of the time and finds the same pictures.
    """
    step = max(1, min(picture.size) // _ROWS)
    if picture.depth == "uint8" and picture.pixels.shape[2] == 3:
        rows = np.ascontiguousarray(picture.pixels[::step])
    else:
        rows = _grey(picture, step)
    small = np.asarray(Image.fromarray(rows).convert("L").resize((_EDGE, _EDGE), Image.Resampling.BOX))
    return "" if np.ptp(small) < _FLAT else phash(small)


def phash(grey: np.ndarray) -> str:
    """Return the hash of a grey picture, uint8 [32, 32]."""
    frequencies = _WAVES @ grey @ _WAVES.T
    return np.packbits(frequencies > np.median(frequencies)).tobytes().hex()


def _grey(picture: Decoded, step: int) -> np.ndarray:
    """Return rows of a picture of any bands and depth as 8 bits of grey."""
    grey = picture.pixels[::step].mean(axis=2, dtype=np.float32)
    valid = np.isfinite(grey)
    if picture.invalid is not None:
        valid &= ~picture.invalid[::step]
    low, middle, high = np.percentile(grey[valid], (0.5, 50, 99.5)) if valid.any() else (0, 0, 0)
    levels = (np.where(valid, grey, middle) - low) / max(high - low, np.finfo(np.float32).tiny)
    return (255 * levels.clip(0, 1)).astype(np.uint8)
