"""DICOM: rescaled, windowed as the file says, one frame alone."""

import io
import struct
import sys
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from segpipe.fetch.pictures import decode_picture, stored_size
from segpipe.fetch.sample import BadSampleError

pydicom = pytest.importorskip("pydicom")
STORED = np.array([[0, 1000, 1040], [1240, 2000, 4095]], np.uint16)


def dicom(pixels=STORED, **tags):
    """A file of one picture with 12 bits stored, as a scanner writes it."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    colours = pixels.ndim == 3 and pixels.shape[2] == 3
    file.Rows, file.Columns = pixels.shape[-3:-1] if colours else pixels.shape[-2:]
    file.SamplesPerPixel = 3 if colours else 1
    file.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        file.PlanarConfiguration = 0
    file.BitsAllocated = 8 * pixels.dtype.itemsize
    file.BitsStored = 12 if file.BitsAllocated == 16 else 8
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, 0
    file.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(file, name, value)
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def packed(syntax, frames, edge=8, depth=np.uint8):
    """A file of 8 x 8 grey pixels whose frames are compressed."""
    file = pydicom.dcmread(io.BytesIO(dicom(np.zeros((edge, edge), depth))))
    file.file_meta.TransferSyntaxUID = syntax
    file.PixelData = pydicom.encaps.encapsulate(frames)
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def deflated(pixels, more=b""):
    """A deflated file with something behind its pixels."""
    file = pydicom.dcmread(io.BytesIO(dicom(pixels)))
    file.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    file.save_as(buffer, enforce_file_format=True)
    data = buffer.getvalue()
    start = 144 + struct.unpack("<I", data[140:144])[0]
    packing = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    inner = zlib.decompress(data[start:], -zlib.MAX_WBITS) + more
    return data[:start] + packing.compress(inner) + packing.flush()


def run_lengths(segment):
    return struct.pack("<16I", 1, 64, *[0] * 14) + segment


def jpeg(edge, kind="JPEG", **options):
    buffer = io.BytesIO()
    Image.new("L", (edge, edge), 77).save(buffer, kind, **options)
    return buffer.getvalue()


def read(data):
    return decode_picture(data, "x.dcm")


def test_values_are_rescaled_and_keep_their_range_without_a_window():
    """Hounsfield units: 12 bits from -1024 to 3071 fit 16 bits, whatever values a picture has."""
    found = read(dicom(RescaleSlope=1, RescaleIntercept=-1024))
    assert (found.pixels[..., 0] == STORED.astype(int) - 1024).all()
    assert found.depth == "int16"
    assert (read(dicom()).pixels[..., 0] == STORED).all()
    assert read(dicom()).depth == "uint16"
    of_pet = read(dicom(RescaleSlope=0.5, RescaleIntercept=2))
    assert (of_pet.pixels[..., 0] == STORED * 0.5 + 2).all()
    assert of_pet.depth == "float32"


def test_a_window_maps_values_to_8_bits_as_viewers_show_them():
    """Centre 40 and width 400 in Hounsfield units: DICOM PS3.3 C.11.2.1.2, by hand.

    -24 is ((-24 - 39.5) / 399 + 0.5) * 255 = 86.9, 16 is 112.5, 216 is 240.3.
    """
    window = {"WindowCenter": [40, 50], "WindowWidth": [400, 1500]}
    found = read(dicom(RescaleSlope=1, RescaleIntercept=-1024, **window))
    assert found.depth == "uint8"
    assert found.pixels[..., 0].tolist() == [[0, 87, 112], [240, 255, 255]]
    assert found.pixels.shape == (2, 3, 3), "grey, as rgb"
    inverted = read(dicom(PhotometricInterpretation="MONOCHROME1", RescaleIntercept=-1024, **window))
    assert (inverted.pixels == 255 - found.pixels).all()
    exact = read(dicom(WindowCenter=2000, WindowWidth=2000, VOILUTFunction="LINEAR_EXACT"))
    assert exact.pixels[..., 0].tolist() == [[0, 0, 5], [31, 128, 255]]


def test_white_and_black_change_places_within_the_stored_bits():
    found = read(dicom(PhotometricInterpretation="MONOCHROME1"))
    assert (found.pixels[..., 0] == 4095 - STORED).all()


def test_padding_is_invalid():
    found = read(dicom(PixelPaddingValue=0, RescaleSlope=1, RescaleIntercept=-1024))
    assert found.invalid.tolist() == [[True, False, False], [False, False, False]]


def test_colours_are_colours():
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    assert (read(dicom(pixels)).pixels == pixels).all()


def test_frames_are_refused_by_name():
    data = dicom(np.zeros((40, 2, 3), np.uint16), NumberOfFrames=40)
    with pytest.raises(BadSampleError) as error:
        read(data)
    expected = "x.dcm: holds 40 frames; segpipe takes single pictures; expected one picture a file"
    assert str(error.value) == expected


def test_the_size_comes_from_the_header_and_a_file_cut_short_is_refused():
    data = dicom()
    assert stored_size(data, "x.dcm") == ((2, 3), 1)
    for part in (data[:-4], data[:200], data[:140], dicom(Rows=50_000, Columns=50_000)):
        with pytest.raises(BadSampleError, match=r"^x\.dcm: .*; expected .*$"):
            read(part)


def test_compressed_files_are_read():
    grey = np.full((8, 8), 77, np.uint8)
    uid = pydicom.uid
    assert (read(deflated(STORED)).pixels[..., 0] == STORED).all()
    for data in (
        packed(uid.RLELossless, [run_lengths(b"\xc1\x4d")]),  # 64 times 77
        packed(uid.RLELossless, [run_lengths(b"\x80\x01\x4d\x4d" + b"\xc3\x4d\x80")]),
        packed(uid.JPEGBaseline8Bit, [jpeg(8)]),
        packed(uid.JPEG2000Lossless, [jpeg(8, "JPEG2000", no_jp2=True)]),
    ):
        assert (read(data).pixels[..., 0] == grey).all()


def test_a_file_that_unpacks_to_more_than_it_says_is_refused_before_it_is_unpacked():
    large = jpeg(3000, "JPEG2000", no_jp2=True)
    boxed = jpeg(3000, "JPEG2000")
    size = boxed.index(b"ihdr") + 4
    uid = pydicom.uid
    bombs = [
        deflated(np.zeros((8, 8), np.uint8), bytes(100_000_000)),
        packed(uid.RLELossless, [run_lengths(b"\x81\x00" * 1_000_000)]),
        packed(uid.JPEGBaseline8Bit, [jpeg(3000)]),
        packed(uid.JPEG2000Lossless, [large]),
        packed(uid.JPEG2000Lossless, [boxed[:size] + struct.pack(">II", 8, 8) + boxed[size + 8 :]]),
    ]
    tracemalloc.start()
    for data in bombs:
        assert stored_size(data, "x.dcm") == ((8, 8), 1)
        with pytest.raises(BadSampleError) as error:
            read(data)
        assert str(error.value) == (
            "x.dcm: a DICOM file that unpacks to more than its 8x8 pixels; "
            "expected one frame of that size"
        )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6


@pytest.mark.parametrize("encode", [imagecodecs.ljpeg_encode, imagecodecs.jpegls_encode])
def test_a_frame_that_only_pydicoms_decoders_read_is_left_to_them(encode):
    """They are not installed here: pydicom names them, or reads the frame where they are."""
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    syntaxes = {imagecodecs.ljpeg_encode: "JPEGLosslessSV1", imagecodecs.jpegls_encode: "JPEGLSLossless"}
    data = packed(getattr(pydicom.uid, syntaxes[encode]), [encode(pixels)], depth=np.uint16)
    try:
        assert (read(data).pixels[..., 0] == pixels).all()
    except BadSampleError as error:
        assert "pylibjpeg - requires pylibjpeg" in str(error)


def test_a_second_frame_that_the_header_does_not_name_is_not_decoded():
    data = packed(pydicom.uid.JPEGBaseline8Bit, [jpeg(8), jpeg(8)])
    assert read(data).pixels.shape == (8, 8, 3)


def test_without_pydicom_the_command_that_brings_it_is_said(monkeypatch):
    data = dicom()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        BadSampleError, match=r"a DICOM file; expected pydicom.*pip install -e '\.\[medical\]'"
    ):
        read(data)
