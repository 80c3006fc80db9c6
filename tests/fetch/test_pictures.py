"""Pictures of any format and depth: what is read from their files, and what is refused."""

import gzip
import io
import struct
import tracemalloc
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segpipe.common.codec import decode_tiff, encode_tiff
from segpipe.fetch.integrity import decode_pair
from segpipe.fetch.pictures import bands_in, decode_picture, stored_size
from segpipe.fetch.sample import BadSampleError

RNG = np.random.default_rng(0)
TYPES = {
    "uint8": RNG.integers(0, 1 << 8, (20, 30, 16), np.uint8),
    "uint16": RNG.integers(0, 1 << 16, (20, 30, 16), np.uint16),
    "int16": RNG.integers(-1 << 15, 1 << 15, (20, 30, 16), np.int16),
    "float32": RNG.normal(0, 1000, (20, 30, 16)).astype(np.float32),
}
COLOURS = TYPES["uint8"][..., :3].copy()


def tiff(pixels, **options):
    """A TIFF of an array, written by tifffile."""
    buffer = io.BytesIO()
    banded = pixels.ndim == 3 and pixels.shape[2] <= 5
    plain = {"photometric": "minisblack", "metadata": None}
    planes = {"planarconfig": "contig"} if banded else {}
    tifffile.imwrite(buffer, pixels, **(plain | planes | options))
    return buffer.getvalue()


def by_pillow(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(pixels):
    """A PNG of 16 bits, as libpng writes it."""
    return imagecodecs.png_encode(
        np.ascontiguousarray(pixels if pixels.shape[2] > 1 else pixels[..., 0])
    )


def problem(data, bands="rgb", file="x.tif"):
    with pytest.raises(BadSampleError) as error:
        decode_picture(data, file, bands)
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith(f"{file}: ")
    return said


def with_tag(data, tag, value):
    """Overwrite a tag of a small TIFF with one 32-bit number."""
    changed = bytearray(data)
    (first,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[first : first + 2])
    for place in range(first + 2, first + 2 + 12 * count, 12):
        if struct.unpack("<H", data[place : place + 2]) == (tag,):
            changed[place + 2 : place + 12] = struct.pack("<HII", 4, 1, value)
    assert changed != data
    return bytes(changed)


@pytest.mark.parametrize("depth", TYPES)
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits"])
def test_tiff_of_any_type_bands_and_compression_gives_every_value(depth, bands, compression):
    pixels, chosen = TYPES[depth][..., :bands], tuple(range(bands, 0, -1))
    predictor = (
        {} if compression in (None, "packbits") else {"predictor": 3 if depth == "float32" else 2}
    )
    for layout in ({"rowsperstrip": 7}, {"tile": (16, 32)}, {"bigtiff": True, "byteorder": ">"}):
        for planes in ("contig", "separate") if bands > 1 else (None,):
            stored = np.moveaxis(pixels, -1, 0) if planes == "separate" else pixels
            stored = stored if bands > 1 else pixels[..., 0]
            options = {**layout, **predictor, "compression": compression, "planarconfig": planes}
            found = decode_picture(tiff(stored, **options), "x.tif", chosen)
            assert (found.pixels == pixels[..., ::-1]).all()
            assert (found.depth, found.bands, found.invalid) == (depth, bands, None)


def test_jpeg_inside_tiff_gives_its_colours():
    """Stored as RGB by tifffile, and as YCbCr by Pillow."""
    smooth = np.asarray(Image.fromarray(COLOURS).resize((4, 3)).resize((64, 48)))
    by_tifffile = tiff(smooth, photometric="rgb", compression="jpeg", tile=(32, 32))
    for data in (
        by_tifffile,
        by_pillow(Image.fromarray(smooth).convert("YCbCr"), "TIFF", compression="jpeg"),
    ):
        assert abs(decode_picture(data, "x.tif").pixels.astype(int) - smooth).mean() < 3


def test_rgb_is_the_picture_as_people_see_it():
    """All of these hold one photograph, or its grey."""
    photo = Image.fromarray(COLOURS)
    alpha, grey = photo.copy(), photo.convert("L")
    alpha.putalpha(7)
    indexed = photo.quantize(16)
    black = grey.point(lambda level: 255 * (level > 127)).convert("1")
    for picture, expected in (
        (photo, photo), (alpha, photo), (grey, grey), (indexed, indexed), (black, black),
        (Image.merge("LA", (grey, grey)), grey), (photo.convert("CMYK"), photo),
    ):  # fmt: skip
        found = decode_picture(by_pillow(picture, "TIFF"), "x.tif")
        assert (found.pixels == np.asarray(expected.convert("RGB"))).all(), picture.mode
        assert found.depth == "uint8"
    inverted = tiff(255 - np.asarray(grey), photometric="miniswhite")
    assert (decode_picture(inverted, "x.tif").pixels[..., 0] == np.asarray(grey)).all()


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_a_list_of_bands_means_the_numbers_in_the_file(kind):
    photo = Image.fromarray(COLOURS)
    photo.putalpha(Image.fromarray(TYPES["uint8"][..., 5]))
    found = decode_picture(by_pillow(photo, kind), "x", (4, 2))
    assert (found.pixels == np.asarray(photo)[..., [3, 1]]).all()
    with_alpha = Image.merge("LA", (photo.getchannel(0), photo.getchannel(3)))
    assert (
        decode_picture(by_pillow(with_alpha, kind), "x", (2,)).pixels[..., 0]
        == np.asarray(photo)[..., 3]
    ).all()
    indexed = Image.fromarray(COLOURS).quantize(16)
    found = decode_picture(by_pillow(indexed, kind), "x", (3, 1))
    assert (found.pixels == np.asarray(indexed.convert("RGB"))[..., [2, 0]]).all()
    assert found.bands == 3


def test_more_than_8_bits_keep_their_type_and_grey_stays_one_band():
    for depth in ("uint16", "int16", "float32"):
        grey, colours = TYPES[depth][..., 0], TYPES[depth][..., :3]
        assert (decode_picture(tiff(grey), "x").pixels == grey[..., None]).all()
        assert (decode_picture(tiff(colours, photometric="rgb"), "x").pixels == colours).all()
        assert (decode_picture(tiff(colours), "x").pixels == colours).all(), "as GDAL stores three bands"


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_a_png_of_16_bits_keeps_every_level_in_colours_too(bands):
    """Pillow reads such colours with 8 bits."""
    pixels = TYPES["uint16"][..., :bands]
    data = png(pixels)
    found = decode_picture(data, "x.png", tuple(range(1, bands + 1)))
    assert (found.pixels == pixels).all()
    seen = decode_picture(data, "x.png")
    assert (seen.pixels == pixels[..., : 1 if bands < 3 else 3]).all()


def test_jpeg_2000_is_read_in_8_and_16_bits():
    for depth in ("uint8", "uint16"):
        pixels = TYPES[depth][..., :3]
        data = imagecodecs.jpeg2k_encode(pixels.copy(), level=0, reversible=True)
        assert (decode_picture(data, "x.jp2").pixels == pixels).all()
        assert stored_size(data, "x.jp2") == ((20, 30), 1)
        assert "an unreadable image" in problem(data[: len(data) // 2], file="x.jp2")


def box(kind, content):
    """A box of JPEG 2000's file format."""
    return struct.pack(">I4s", len(content) + 8, kind) + content


def in_boxes(codestream, *before, header=b""):
    """A JP2 of 30 x 20 pixels in one band, with other boxes before its pixels."""
    signature = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    size = box(b"ihdr", struct.pack(">IIHBBBB", 20, 30, 1, 7, 7, 0, 0))
    colours = box(b"colr", b"\x01\0\0" + struct.pack(">I", 16 if b"pclr" in header else 17))
    pixels = struct.pack(">I4sQ", 1, b"jp2c", len(codestream) + 16) + codestream  # of extended length
    return b"".join([signature, box(b"jp2h", size + colours + header), *before, pixels])


def palette(bands):
    """The boxes of a palette that turns a number into that many."""
    entries = np.arange(256 * bands, dtype=np.uint32).astype(np.uint8).tobytes()
    maps = b"".join(struct.pack(">HBB", 0, 1, band) for band in range(bands))
    table = struct.pack(">HB", 256, bands) + bytes([7] * bands) + entries
    return box(b"pclr", table) + box(b"cmap", maps)


def codestream(pixels):
    return imagecodecs.jpeg2k_encode(pixels.copy(), level=0, reversible=True, codecformat="j2k")


def test_the_header_of_a_jpeg_2000_is_that_of_its_pixels_and_not_one_before_them():
    """A few bytes that look like a small picture stand in a box of their own."""
    grey = COLOURS[..., 0]
    small = codestream(np.zeros((8, 8), np.uint8))
    for data in (
        in_boxes(codestream(grey), box(b"uuid", bytes(16) + small[:60])),
        in_boxes(codestream(grey), header=box(b"jp2c", small)),
    ):
        assert stored_size(data, "x.jp2") == ((20, 30), 1)
        assert (decode_picture(data, "x.jp2").pixels[..., 0] == grey).all()
    assert (decode_picture(codestream(grey), "x.j2k").pixels[..., 0] == grey).all()


def test_a_jpeg_2000_whose_boxes_lead_to_no_pixels_is_refused():
    whole = in_boxes(codestream(COLOURS[..., 0]))
    nowhere = "a JPEG 2000 without a codestream; expected a whole image"
    assert nowhere in problem(whole.replace(b"jp2c", b"uuid"))
    assert nowhere in problem(whole[: whole.index(b"jp2c") - 4])
    assert "a box of 7 bytes at 12" in problem(whole.replace(b"\0\0\0\x14ftyp", b"\0\0\0\x07ftyp"))


def test_a_palette_of_jpeg_2000_becomes_its_colours_and_counts_as_its_bands():
    grey = COLOURS[..., 0]
    found = decode_picture(in_boxes(codestream(grey), header=palette(3)), "x.jp2")
    assert (found.pixels == np.arange(768).astype(np.uint8).reshape(256, 3)[grey]).all()
    assert bands_in(in_boxes(codestream(grey), header=palette(200)), "x.jp2") == 200


def test_a_jpeg_2000_of_very_many_tiles_is_refused():
    """A decoder takes 10 kB for each tile of a pixel, and more for each of its bands."""
    data = codestream(np.zeros((200, 200, 3), np.uint8))
    tiled = data[:24] + struct.pack(">II", 1, 1) + data[32:]
    expected = "a JPEG 2000 in 40000 tiles of 3 bands; expected 5461 at most; give it larger tiles"
    assert expected in problem(tiled)


def test_other_numbers_become_one_of_the_four_types():
    values = np.array([[0, 1], [100, 127]])
    for stored, depth in (
        ("int8", "int16"), ("uint32", "float32"), ("int32", "float32"), ("float64", "float32"),
        ("float16", "float32"),
    ):  # fmt: skip
        found = decode_picture(tiff(values.astype(stored)), "x.tif")
        assert found.depth == depth
        assert (found.pixels[..., 0] == values).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff_turns_it_as_exif_turns_a_photograph(orientation):
    data = tiff(COLOURS, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = by_pillow(Image.fromarray(COLOURS), "PNG", exif=exif)
    turned, expected = decode_picture(data, "x.tif"), decode_picture(photo, "x.png")
    assert (turned.pixels == expected.pixels).all()
    assert (decode_picture(photo, "x.png", (1, 2, 3)).pixels == expected.pixels).all()
    assert turned.orientation == orientation
    assert stored_size(data, "x.tif") == ((20, 30), orientation)
    assert turned.digest == expected.digest, "the same picture"


def test_the_bands_of_a_picture_may_lie_in_several_files():
    """As nnU-Net stores them; a depth map of 16 bits beside a photograph of 8 widens it."""
    photo, depth = by_pillow(Image.fromarray(COLOURS), "PNG"), tiff(TYPES["uint16"][..., 0])
    found = decode_picture((photo, depth), "x", (4, 1))
    assert (found.pixels == np.dstack([TYPES["uint16"][..., 0], COLOURS[..., 0]])).all()
    assert (found.depth, found.bands) == ("uint16", 4)
    red, green, blue = (by_pillow(Image.fromarray(COLOURS[..., band]), "PNG") for band in range(3))
    assert (decode_picture((red, green, blue), "x").pixels == COLOURS).all()
    assert (decode_picture((photo,), "x").kept) == photo
    said = problem((photo, tiff(COLOURS[:10], photometric="rgb")), (1,))
    assert "file 2 of 2 has a size of (10, 30), where the first has (20, 30)" in said
    assert "list them in data.bands" in problem((red, green))


def test_nan_in_any_band_and_no_data_in_all_are_invalid():
    """Row 0 is no data in both bands, row 1 in the first alone; a NaN and an infinity lie in row 2."""
    pixels = TYPES["float32"][..., :2].copy()
    pixels[0], pixels[1, :, 0], pixels[2, 3, 1], pixels[2, 4, 0] = -9999, -9999, np.nan, np.inf
    data = tiff(pixels, extratags=[(42113, 2, 0, "-9999", True)])
    found = decode_picture(data, "x.tif", (1, 2))
    expected = np.zeros((20, 30), bool)
    expected[0], expected[2, 3], expected[2, 4] = True, True, True
    assert (found.invalid == expected).all()
    kept, invalid = decode_tiff(found.encoded())
    assert np.array_equal(kept, pixels, equal_nan=True)
    assert (invalid == expected).all(), "data/raw keeps it"
    assert (decode_picture(data, "x.tif", (1,)).invalid[:2]).all(), "of the chosen bands"
    assert (
        decode_picture(tiff(COLOURS[..., 0], extratags=[(42113, 2, 0, "-9999", True)]), "x").invalid
        is None
    )


def test_no_data_means_the_pixels_as_the_file_stores_them():
    """White is 0 here: the value 0 becomes 255, and its pixel is the one without data."""
    pixels = np.array([[0, 9, 255]], np.uint8)
    options = {"extratags": [(42113, 2, 0, "0", True)]}
    found = decode_picture(tiff(pixels, photometric="miniswhite", **options), "x")
    assert found.pixels[0, :, 0].tolist() == [255, 246, 0]
    assert found.invalid.tolist() == [[True, False, False]]


def test_bands_in_files_whose_no_data_is_nan_fit_together():
    plane = np.ones((4, 5), np.float32)
    files = tuple(tiff(plane, extratags=[(42113, 2, 0, "nan", True)]) for _ in range(2))
    assert decode_picture(files, "x", (1, 2)).pixels.shape == (4, 5, 2)


def test_a_picture_without_a_valid_pixel_is_refused():
    said = problem(tiff(np.full((3, 4), np.nan, np.float32)))
    assert said == "x.tif: a picture of NaN or no data alone; expected at least one valid pixel"


def test_what_data_raw_holds_is_the_file_itself_an_rgb_png_or_a_tiff_without_a_date():
    photo = by_pillow(Image.fromarray(COLOURS), "JPEG")
    assert decode_picture(photo, "x").encoded() == photo
    of_tiff = decode_picture(tiff(COLOURS, photometric="rgb"), "x").encoded()
    assert of_tiff == decode_picture(by_pillow(Image.fromarray(COLOURS), "BMP"), "x").encoded()
    assert of_tiff.startswith(b"\x89PNG")
    chosen = decode_picture(photo, "x", (1, 2, 3))
    assert (decode_tiff(chosen.encoded())[0] == decode_picture(photo, "x").pixels).all()
    for pixels in TYPES.values():
        data = encode_tiff(pixels, 7.0)
        assert data == encode_tiff(pixels.copy(), 7.0)
        with tifffile.TiffFile(io.BytesIO(data)) as written:
            tags = {tag.name for tag in written.pages[0].tags}
        assert not tags & {"DateTime", "Software", "ImageDescription"}


def stacked(kind):
    planes = np.zeros((40, 16, 16), np.uint16)
    return {
        "pages": lambda: tiff(planes),
        "imagej": lambda: tiff(planes, imagej=True, metadata={}, photometric=None),
        "shaped": lambda: tiff(planes, truncate=True, metadata={}),
        "volume": lambda: tiff(planes, volumetric=True, tile=(8, 16, 16)),
    }[kind]()


@pytest.mark.parametrize("kind", ["pages", "imagej", "shaped", "volume"])
def test_a_stack_of_pages_is_refused_by_name(kind):
    expected = "x.tif: holds 40 pages; segpipe takes single pictures; expected one picture a file"
    assert problem(stacked(kind)) == expected


def test_a_smaller_copy_and_a_mask_behind_the_picture_are_no_pages():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(COLOURS, photometric="rgb", metadata=None)
        file.write(COLOURS[::2, ::2], photometric="rgb", metadata=None, subfiletype=1)
        file.write(COLOURS[..., 0] > 9, photometric="mask", metadata=None, subfiletype=4)
    assert (decode_picture(buffer.getvalue(), "x.tif").pixels == COLOURS).all()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_nifti_volume_is_refused_by_name(pack):
    header = bytearray(352)
    header[:4], header[344:348] = struct.pack("<i", 348), b"n+1\0"
    header[40:56] = struct.pack("<8h", 3, 240, 230, 155, 1, 1, 1, 1)
    assert problem(pack(bytes(header)), file="x.nii.gz") == (
        "x.nii.gz: a NIfTI volume of 240x230x155: holds 155 slices; segpipe takes single pictures; "
        "expected one picture a file"
    )


@pytest.mark.parametrize("part", [0, 4, 100, 0.1, 0.5, 0.9, -1])
def test_a_tiff_cut_short_is_refused_in_one_line(part):
    data = tiff(TYPES["uint16"], planarconfig="contig", compression="lzw", rowsperstrip=4)
    cut = data[: int(part * len(data)) if isinstance(part, float) else part]
    said = problem(cut, tuple(range(1, 17)))
    assert "a TIFF cut short (" in said or len(cut) <= 100


def test_a_header_that_claims_too_much_is_refused_before_anything_is_allocated():
    small = tiff(COLOURS, photometric="rgb", compression="zlib")
    vast = with_tag(with_tag(small, 256, 100_000), 257, 100_000)
    forged = bytearray(png(TYPES["uint16"][..., :1]))
    forged[16:24] = struct.pack(">II", 100_000, 100_000)
    forged[29:33] = struct.pack(">I", zlib.crc32(bytes(forged[12:29])))
    jpeg_2000 = bytearray(imagecodecs.jpeg2k_encode(COLOURS, level=0))
    place = jpeg_2000.index(b"\xff\x4f\xff\x51") + 8
    jpeg_2000[place : place + 8] = struct.pack(">II", 100_000, 100_000)
    tracemalloc.start()
    for data in (vast, bytes(forged), bytes(jpeg_2000)):
        assert "a picture of 10000000000 pixels; expected 536870912 at most" in problem(data)
    assert "a picture of 60000 bands; expected 1000 at most" in problem(with_tag(small, 277, 60_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6


def test_a_jpeg_that_is_larger_than_its_tile_is_refused():
    """A few bytes of a tile promise 65,000 x 65,000 pixels."""
    data = tiff(np.zeros((32, 32, 3), np.uint8), photometric="rgb", compression="jpeg", tile=(32, 32))
    tile = bytearray(by_pillow(Image.new("L", (16, 16)), "JPEG"))
    frame = tile.index(b"\xff\xc0")
    tile[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    forged = with_tag(with_tag(data + bytes(tile), 324, len(data)), 325, len(tile))
    assert "a TIFF with a JPEG larger than its tile" in problem(forged)


@pytest.mark.parametrize(
    ("data", "bands", "words"),
    [
        (tiff(TYPES["uint16"][..., :5]), "rgb", "5 bands that are no RGB; expected grey or RGB; for"),
        (tiff(TYPES["uint16"][..., :4]), (5,), "4 bands in the file; expected 5 at least, since"),
        (tiff(TYPES["uint8"][..., 0]), (1, 2), "1 band in the file; expected 2 at least"),
        (by_pillow(Image.fromarray(COLOURS).convert("LAB"), "TIFF"), "rgb", "3 bands that are no RGB"),
        (tiff(np.zeros((4, 5), np.complex64)), "rgb", "samples of complex64"),
        (tiff(COLOURS, photometric="rgb", compression="jpeg2000"), "rgb", "compression JPEG2000"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said_with_what_to_do(data, bands, words):
    assert words in problem(data, bands)


def test_content_decides_the_format_of_a_mask_too():
    values = np.array([[1, 2, 3], [3, 2, 1]], np.uint8)
    image = by_pillow(Image.new("RGB", (3, 2)), "PNG")
    palette = Image.fromarray(values, "L")
    palette.putpalette([200, 10, 10] * 256)
    for mask in (
        tiff(values), tiff(values.astype(np.int32)), tiff(values.astype(np.float32)),
        tiff(np.dstack([values] * 3), photometric="rgb"), by_pillow(palette, "TIFF"),
    ):  # fmt: skip
        assert (decode_pair(image, mask, "image", "mask")[1] == values).all()
    coloured = np.dstack([values, values, 0 * values])
    with pytest.raises(BadSampleError, match="for masks in colours"):
        decode_pair(image, tiff(coloured, photometric="rgb"), "image", "mask")
    found = decode_pair(image, tiff(coloured, photometric="rgb"), "image", "mask", by_colour=True)[1]
    assert (found == coloured).all()
    with pytest.raises(
        BadSampleError, match=r"values from 0\.5 to 0\.5; expected class values 0 to 255"
    ):
        decode_pair(image, tiff(np.full((2, 3), 0.5, np.float32)), "image", "mask")


SEEDS = [
    tiff(TYPES["uint16"][..., :3], compression="lzw", tile=(16, 16), predictor=2),
    tiff(TYPES["float32"][..., 0], compression="zlib", rowsperstrip=7),
    tiff(COLOURS, photometric="rgb", compression="jpeg", tile=(16, 16)),
    tiff(np.moveaxis(COLOURS, -1, 0), photometric="rgb", planarconfig="separate"),
    by_pillow(Image.fromarray(COLOURS), "JPEG"),
    png(TYPES["uint16"][..., :3]),
    imagecodecs.jpeg2k_encode(COLOURS, level=0),
]


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(SEEDS), st.data())
def test_damaged_bytes_give_a_picture_or_a_line_and_never_another_error(seed, data):
    damaged = bytearray(
        seed[: data.draw(st.integers(0, len(seed)))] if data.draw(st.booleans()) else seed
    )
    if damaged:
        places = st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255))
        for place, value in data.draw(st.lists(places, max_size=8)):
            damaged[place] = value
    for bands in ("rgb", (1,)):
        try:
            assert decode_picture(bytes(damaged), "x", bands).pixels.ndim == 3
        except BadSampleError as error:
            assert "\n" not in str(error)
