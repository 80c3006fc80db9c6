"""Traits of a picture as the camera made it: a few numbers that change when the camera does.

They are measured at the picture's own resolution, since resizing to the network's input hides blur and
noise. The cost of a large picture is bounded: light and colours are those of every n-th pixel, sharpness
and noise those of its centre.
"""

import functools
import math

import numpy as np

COARSE = 1 << 18
"""About how many pixels light and colours are measured on: every n-th row and column of a picture."""
CENTRE = 512
"""The longest edge, in pixels, of the centre that sharpness and noise are measured on."""
_FAR = 4  # pixels: sharp differences are compared with differences over this distance
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as of JPEG
_NORMAL = 0.6745  # the median of a standard normal distribution's absolute values


def traits_of(pixels: np.ndarray) -> dict[str, float]:
    """Measure a picture.

    Args:
        pixels: uint8 [height, width, bands], in the network's bands and 8 bits, at its own size.

    Returns:
        `size`, the logarithm to base 2 of the edge of a square of as many pixels, and `aspect`, that of
        width over height; `brightness` (mean) and `contrast` (standard deviation) of the luma, 0..255;
        `sharpness`, 0..1, and `noise`, grey levels (see `_sharpness` and `_noise`). Pictures of three
        bands also have `saturation`, the mean distance of the largest band from the smallest, and the
        colour cast as differences of mean bands: `warmth` is red less blue, `tint` is green less the
        mean of the others.
    """
    height, width = pixels.shape[:2]
    step = max(1, round(math.sqrt(height * width / COARSE)))
    coarse = pixels[::step, ::step]
    luma, centre = _luma(coarse), _luma(_centre(pixels))
    traits = {
        "size": math.log2(height * width) / 2,
        "aspect": math.log2(width / height),
        "brightness": float(luma.mean(dtype=np.float64)),
        "contrast": float(luma.std(dtype=np.float64)),
        "sharpness": _sharpness(centre),
        "noise": _noise(centre),
    }
    return traits | (_colours(coarse) if pixels.shape[2] == 3 else {})


def _luma(pixels: np.ndarray) -> np.ndarray:
    """Return float32 [height, width]; the mean of the bands unless there are three."""
    bands = pixels.shape[2]
    return pixels @ (_LUMA if bands == 3 else np.full(bands, 1 / bands, np.float32))


def _centre(pixels: np.ndarray) -> np.ndarray:
    top, left = (max(0, (edge - CENTRE) // 2) for edge in pixels.shape[:2])
    return pixels[top : top + CENTRE, left : left + CENTRE]


def _sharpness(luma: np.ndarray) -> float:
    """Return how much of the light's change happens between neighbours.

    With d1 the mean difference of neighbours and d4 that of pixels four apart it is d1 / (d1 + d4):
    0.2 on an even slope, 0.5 in noise, whatever the contrast; 0 where nothing changes.
    """
    near, far = _change(luma, 1), _change(luma, _FAR)
    return near / (near + far) if near + far else 0.0


def _change(luma: np.ndarray, apart: int) -> float:
    """Return the mean difference of pixels so far apart in a row or a column; 0 without such pixels."""
    pairs = (luma[apart:] - luma[:-apart], luma[:, apart:] - luma[:, :-apart])
    return sum(float(np.abs(pair).mean(dtype=np.float64)) for pair in pairs if pair.size)


def _noise(luma: np.ndarray) -> float:
    """Return the noise's standard deviation in grey levels, as Donoho and Johnstone estimate it.

    It is the median of the finest diagonal coefficients of Haar's wavelet, in which edges are few
    (https://doi.org/10.1093/biomet/81.3.425); 0 where a picture has less than two rows or columns.
    """
    even = luma[: luma.shape[0] // 2 * 2, : luma.shape[1] // 2 * 2]
    diagonal = (even[::2, ::2] - even[::2, 1::2] - even[1::2, ::2] + even[1::2, 1::2]) / 2
    return float(np.median(np.abs(diagonal))) / _NORMAL if diagonal.size else 0.0


def _colours(pixels: np.ndarray) -> dict[str, float]:
    bands = [np.ascontiguousarray(pixels[..., band]) for band in range(3)]  # numpy is slow across bands
    red, green, blue = (float(band.mean(dtype=np.float64)) for band in bands)
    distance = functools.reduce(np.maximum, bands) - functools.reduce(np.minimum, bands)
    return {
        "saturation": float(distance.mean(dtype=np.float64)),
        "warmth": red - blue,
        "tint": green - (red + blue) / 2,
    }
