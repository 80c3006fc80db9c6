"""DICOM: rescaled, windowed as the file says, one frame alone."""

import io
import sys

import numpy as np
import pytest

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


def test_without_pydicom_the_command_that_brings_it_is_said(monkeypatch):
    data = dicom()
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        BadSampleError, match=r"a DICOM file; expected pydicom.*pip install -e '\.\[medical\]'"
    ):
        read(data)
