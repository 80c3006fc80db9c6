"""DICOM: one frame, in the values and the window that its file asks for."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from segpipe.fetch.jpeg import MOST_SCANS, scans
from segpipe.fetch.pictures import stored_size
from segpipe.fetch.sample import BadSampleError, TooLargeError
from segpipe.fetch.stored import READABLE, Colours, Stored, check_size, several

_MOST_BESIDE = 1 << 22  # bytes of a deflated file beside its picture


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
    header = dcmread(io.BytesIO(_inflated(data, _MOST_BESIDE)[0]), stop_before_pixels=True)
    if "Rows" not in header:
        raise BadSampleError(file, "a DICOM file without a picture", READABLE)
    if (frames := int(header.get("NumberOfFrames") or 1)) > 1:
        raise several(file, frames, "frames")
    height, width, bands = int(header.Rows), int(header.Columns), int(header.SamplesPerPixel)
    palette = header.PhotometricInterpretation == "PALETTE COLOR"
    check_size(file, height, width, 4 * bands * width)

    in_colours = bands > 1 or palette

    def decode() -> np.ndarray:
        plain, is_more = _inflated(data, 4 * bands * width * height + _MOST_BESIDE)
        if is_more or _is_larger(whole := dcmread(io.BytesIO(plain))):
            found = f"a DICOM file that unpacks to more than its {width}x{height} pixels"
            raise BadSampleError(file, found, "one frame of that size")
        return np.atleast_3d(_colours(whole) if in_colours else _grey(whole))

    colours: Colours = "rgb" if in_colours else "grey"
    nodata = None if in_colours else _padding(header)
    return Stored((height, width), 3 if palette else bands, decode, colours, nodata=nodata)


def _inflated(data: bytes, most: int) -> tuple[bytes, bool]:
    """Return a file as it was before it was deflated, up to `most` bytes, and whether it has more.

    pydicom would unpack it without a bound.
    """
    from pydicom.filereader import _read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian as Deflated
    from pydicom.uid import ExplicitVRLittleEndian as Plain

    stream = io.BytesIO(data)
    read_preamble(stream, False)
    if _read_file_meta_info(stream).get("TransferSyntaxUID") != Deflated:
        return data, False
    meta = data[: stream.tell()].replace(Deflated.encode(), Plain.encode().ljust(len(Deflated), b"\0"))
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    return meta + unpacking.decompress(stream.read(), most), bool(unpacking.unconsumed_tail)


def _is_larger(whole: Any) -> bool:
    """Return whether a frame unpacks to more than its file says; leave out all frames but the first."""
    from pydicom.encaps import encapsulate, generate_frames
    from pydicom.uid import RLELossless

    syntax = whole.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return False
    frame = next(generate_frames(whole.PixelData, number_of_frames=1))
    whole.PixelData = encapsulate([frame])  # pydicom decodes all frames that are there
    for table in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        whole.pop(table, None)
    if syntax == RLELossless:
        pixels = whole.Rows * whole.Columns
        return any(_outgrows(segment, 2 * pixels + 128) for segment in _segments(frame))
    if scans(frame) > MOST_SCANS:
        return True
    try:
        return stored_size(frame, "frame")[0] != (whole.Rows, whole.Columns)
    except TooLargeError:
        return True
    except BadSampleError:  # JPEG Lossless, JPEG-LS, 12 bits: pydicom's own decoders alone read them
        return False


def _segments(frame: bytes) -> Iterator[bytes]:
    """Yield the segments of a frame in DICOM's run lengths: DICOM PS3.5 G.5."""
    count, *starts = struct.unpack("<16I", frame[:64])
    for start, end in zip(starts[:count], [*starts[1:count], len(frame)], strict=True):
        yield frame[start:end]


def _outgrows(segment: bytes, most: int) -> bool:
    """Return whether run lengths, DICOM PS3.5 G.3.2, stand for more bytes; nothing is unpacked."""
    place = size = 0
    while place < len(segment) and size <= most:
        head = segment[place]
        size += head + 1 if head < 128 else 257 - head if head > 128 else 0
        place += head + 2 if head < 128 else 2 if head > 128 else 1
    return size > most


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
