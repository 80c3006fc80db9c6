"""DICOM: one frame, in the values and the window that its file asks for."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from segpipe.fetch.sample import BadSampleError
from segpipe.fetch.stored import READABLE, Colours, Stored, check_size, several


def open_dicom(data: bytes, file: str) -> Stored:
    """Read the header of a DICOM file; see `open_stored`.

    Grey values are rescaled (slope and intercept). Where the file has a window (centre and width), the
    first one maps them to 8 bits, as viewers show them; otherwise they keep their range.
    """
    try:
        from pydicom import dcmread
    except ImportError:
        mend = "pydicom, which reads it: `pip install -e '.[medical]'`"
        raise BadSampleError(file, "a DICOM file", mend) from None
    header = dcmread(io.BytesIO(data), stop_before_pixels=True)
    if "Rows" not in header:
        raise BadSampleError(file, "a DICOM file without a picture", READABLE)
    if (frames := int(header.get("NumberOfFrames") or 1)) > 1:
        raise several(file, frames, "frames")
    height, width, bands = int(header.Rows), int(header.Columns), int(header.SamplesPerPixel)
    palette = header.PhotometricInterpretation == "PALETTE COLOR"
    check_size(file, height, width, 4 * bands * width)

    in_colours = bands > 1 or palette

    def decode() -> np.ndarray:
        whole = dcmread(io.BytesIO(data))
        return np.atleast_3d(_colours(whole) if in_colours else _grey(whole))

    colours: Colours = "rgb" if in_colours else "grey"
    nodata = None if in_colours else _padding(header)
    return Stored((height, width), 3 if palette else bands, decode, colours, nodata=nodata)


def _colours(whole: Any) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    stored = whole.pixel_array  # YBR is RGB by now
    if whole.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, whole)
    return (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored


def _grey(whole: Any) -> np.ndarray:
    values = _rescaled(whole.pixel_array, whole)
    inverted = whole.PhotometricInterpretation == "MONOCHROME1"
    if _has_window(whole):
        shown = _windowed(values, whole)
        return 255 - shown if inverted else shown
    ends = _rescaled(_stored_range(whole), whole)
    values = ends.sum() - values.astype(ends.dtype) if inverted else values
    fitting = (kind for kind in (np.uint8, np.uint16, np.int16) if _holds(kind, ends))
    return values.astype(next(fitting, np.float32) if ends.dtype.kind == "i" else np.float32)


def _stored_range(header: Any) -> np.ndarray:
    """Return the least and the greatest number of the stored bits: one range for all pictures."""
    least = -(1 << (header.BitsStored - 1)) if header.PixelRepresentation else 0
    return np.array([least, least + (1 << header.BitsStored) - 1], np.int64)


def _holds(kind: type, ends: np.ndarray) -> bool:
    limits = np.iinfo(kind)
    return bool(limits.min <= ends.min() and ends.max() <= limits.max)


def _rescaled(stored: np.ndarray, header: Any) -> np.ndarray:
    slope = float(header.get("RescaleSlope") or 1)
    intercept = float(header.get("RescaleIntercept") or 0)
    if slope == 1 and intercept == 0:
        return stored
    if slope.is_integer() and intercept.is_integer():
        return stored.astype(np.int64) * int(slope) + int(intercept)
    return stored * slope + intercept


def _windowed(values: np.ndarray, header: Any) -> np.ndarray:
    """Map values to 8 bits by the first window; formulas of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    centre, width = _first(header.WindowCenter), _first(header.WindowWidth)
    function = header.get("VOILUTFunction") or "LINEAR"
    if function == "SIGMOID":
        share = 1 / (1 + np.exp(-4 * (values - centre) / width))
    elif function == "LINEAR_EXACT":
        share = (values - centre) / width + 0.5
    else:
        share = (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
    return (share.clip(0, 1) * 255).round().astype(np.uint8)


def _has_window(header: Any) -> bool:
    """Return whether a file says which values to show; anonymised ones may have empty tags."""
    centre, width = header.get("WindowCenter"), header.get("WindowWidth")
    return centre not in (None, "") and width not in (None, "") and _first(width) > 0


def _padding(header: Any) -> float | None:
    """Return the rescaled value of padding, where no window hides it."""
    value = header.get("PixelPaddingValue")
    if value is None or _has_window(header):
        return None
    padding = _rescaled(np.array(int(value), np.int64), header)
    if header.PhotometricInterpretation == "MONOCHROME1":
        padding = _rescaled(_stored_range(header), header).sum() - padding
    return float(padding)


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, Sequence) else value)
