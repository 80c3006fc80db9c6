"""Georeferenced rasters: masks that lie where their picture lies, by window as in memory."""

import tracemalloc

import numpy as np
import pytest
import rasterio
import tifffile
from helpers import PETS
from rasterio.transform import from_origin
from test_predict_folder import files, rows

from segpipe import load_model
from segpipe.common.classes import ClassTable
from segpipe.predict import outputs, raster

PLACE = {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_200_000, 0.5, 0.5)}


def geotiff(path, pixels, **profile):
    """Write [height, width, bands] as GeoTIFF in Zurich's zone."""
    height, width, bands = pixels.shape
    given = {"driver": "GTiff", "dtype": pixels.dtype, **PLACE, **profile}
    with rasterio.open(path, "w", height=height, width=width, count=bands, **given) as target:
        target.write(np.moveaxis(pixels, -1, 0))
    return path


@pytest.fixture
def scene(tmp_path, rng):
    """A raster of 3 x 4 tiles of the model."""
    coarse = rng.integers(1, 256, (10, 14, 3), np.uint8)
    return geotiff(tmp_path / "scene.tif", np.kron(coarse, np.ones((9, 9, 1), np.uint8)))


@pytest.mark.parametrize("options", [[], ["--tile"]])
def test_a_mask_lies_where_its_raster_lies_and_holds_the_tables_values(
    predict, model, scene, tmp_path, options
):
    code, _, _ = predict(scene, "-o", tmp_path / "out", *options)
    assert code == 0
    assert files(tmp_path / "out") == ["masks/scene.tif", "overlays/scene.jpg", "shares.csv"]
    expected = load_model(model).predict(scene, tile=bool(options))
    with rasterio.open(tmp_path / "out/masks/scene.tif") as written:
        assert (written.crs, written.transform) == (PLACE["crs"], PLACE["transform"])
        assert (written.read(1) == expected + 1).all(), "as in memory, to the pixel"
        assert written.colormap(1)[1][:3] == PETS.classes[0].rgb
    (row,) = rows(tmp_path / "out/shares.csv")
    assert float(row["share_pet"]) == pytest.approx((expected == 0).mean(), abs=1e-6)


@pytest.mark.parametrize("options", [[], ["--tile"]])
def test_pixels_without_data_have_none_in_the_mask(predict, scene, tmp_path, options):
    with rasterio.open(scene) as opened:
        pixels = np.moveaxis(opened.read(), 0, -1)
    pixels[5:40, 10:30] = 0
    geotiff(scene, pixels, nodata=0)
    assert predict(scene, "-o", tmp_path / "out", *options)[0] == 0
    with rasterio.open(tmp_path / "out/masks/scene.tif") as written:
        mask = written.read(1)
        assert written.nodata == 255
    assert (mask[5:40, 10:30] == 255).all()
    assert (mask == 255).sum() == 35 * 20


@pytest.mark.parametrize(
    ("ignore", "nodata"), [((), 255), ((9,), 9), (("#ff0000", 0, 200), 0), (("blur",), 255)]
)
def test_pixels_without_data_have_the_first_number_that_the_table_ignores(
    model, tmp_path, rng, ignore, nodata
):
    """So `fetch` reads such masks, with the very table of the model."""
    pixels = rng.integers(1, 256, (6, 7, 3), np.uint8)
    pixels[:2] = 0
    scene = geotiff(tmp_path / "scene.tif", pixels, nodata=0)
    table = ClassTable(PETS.classes, ignore)
    with raster.opened(scene, load_model(model).input) as opened:
        raster.write_mask(tmp_path / "mask.tif", np.zeros((6, 7), np.uint8), opened, table)
    with rasterio.open(tmp_path / "mask.tif") as written:
        assert written.nodata == nodata
        mask = written.read(1)
    assert (mask[:2] == nodata).all() and (mask[2:] == 1).all()
    known = any(isinstance(value, int) for value in ignore)
    assert table.unknown_values(mask) == ({} if known else {255: 14})


def test_what_cannot_be_read_or_has_other_bands_is_listed_and_the_rest_is_done(
    predict, scene, tmp_path, rng
):
    folder = tmp_path / "scenes"
    folder.mkdir()
    (folder / "cut.tif").write_bytes(scene.read_bytes()[:9000])
    geotiff(folder / "five.tif", rng.integers(0, 255, (90, 90, 5), np.uint8))
    scene.rename(folder / "good.tif")
    code, _, said = predict(folder, "-o", tmp_path / "out", "--tile")
    assert code == 1
    assert "2 of 3 pictures could not be read" in said
    assert "five.tif: 5 bands that are no RGB" in said
    assert files(tmp_path / "out/masks") == ["good.tif"], "nothing half-written"


@pytest.mark.parametrize("options", [[], ["--tile"]])
def test_a_few_bytes_of_a_tiff_and_a_palette_do_not_end_the_run(predict, scene, tmp_path, rng, options):
    folder = tmp_path / "scenes"
    folder.mkdir()
    (folder / "cut.tif").write_bytes(b"II*\0")
    indices = rng.integers(0, 3, (90, 90, 1), np.uint8)
    with rasterio.open(geotiff(folder / "palette.tif", indices), "r+") as opened:
        opened.write_colormap(1, {0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 0, 255)})
    scene.rename(folder / "good.tif")
    code, said, _ = predict(folder, "-o", tmp_path / "out", *options)
    assert code == 1
    assert "2 pictures in" in said
    assert "palette.tif: a GeoTIFF, whose mask is a PNG without its place; since GDAL reads it" in said
    assert [row["path"].rpartition("/")[2] for row in rows(tmp_path / "out/failed.csv")] == ["cut.tif"]


@pytest.mark.parametrize("options", [[], ["--tile"]])
def test_stacks_and_rasters_without_a_valid_pixel_are_listed(predict, scene, tmp_path, rng, options):
    folder = tmp_path / "scenes"
    folder.mkdir()
    pixels = rng.integers(1, 256, (90, 90, 3), np.uint8)
    with tifffile.TiffWriter(folder / "stack.tif") as stack:
        for _ in range(3):
            stack.write(pixels, photometric="rgb", extratags=[(33550, "d", 3, (0.5, 0.5, 0))])
    geotiff(folder / "nothing.tif", 0 * pixels, nodata=0)
    scene.rename(folder / "good.tif")
    code, _, said = predict(folder, "-o", tmp_path / "out", *options)
    assert (code, "2 of 3 pictures could not be read" in said) == (1, True)
    assert "stack.tif: holds 3 pages; segpipe takes single pictures" in said
    assert "nothing.tif: a picture of NaN or no data alone" in said
    assert files(tmp_path / "out/masks") == ["good.tif"], "nothing half-written"


def test_smaller_copies_of_a_raster_are_no_pages(predict, scene, tmp_path):
    with rasterio.open(scene, "r+") as opened:
        opened.build_overviews([2, 4])
    assert predict(scene, "-o", tmp_path / "out", "--tile")[0] == 0
    assert files(tmp_path / "out/masks") == ["scene.tif"]


@pytest.mark.parametrize("options", [[], ["--tile"]])
def test_shares_are_those_of_the_pixels_with_data(predict, scene, tmp_path, options):
    with rasterio.open(scene) as opened:
        pixels = np.moveaxis(opened.read(), 0, -1)
    pixels[:60] = 0
    geotiff(scene, pixels, nodata=0)
    predict(scene, "-o", tmp_path / "out", *options)
    with rasterio.open(tmp_path / "out/masks/scene.tif") as written:
        valid = written.read(1)[60:]
    (row,) = rows(tmp_path / "out/shares.csv")
    for value, name in enumerate(PETS.names, 1):
        assert float(row[f"share_{name}"]) == pytest.approx((valid == value).mean(), abs=1e-6)


def test_without_rasterio_the_mask_is_a_png_and_it_is_said(predict, scene, tmp_path, monkeypatch):
    monkeypatch.setattr(raster, "AVAILABLE", False)
    code, said, _ = predict(scene, "-o", tmp_path / "out", "--tile")
    assert code == 0
    assert files(tmp_path / "out/masks") == ["scene.png"]
    assert "scene.tif: a GeoTIFF, whose mask is a PNG without its place; pip install" in said


def test_an_overlay_has_every_nth_pixel_of_a_large_raster(predict, scene, tmp_path, monkeypatch):
    monkeypatch.setattr(raster, "_OVERLAY", 50)
    predict(scene, "-o", tmp_path / "out", "--tile")
    with rasterio.open(tmp_path / "out/overlays/scene.jpg") as overlay:
        assert (overlay.height, overlay.width) == (30, 42)  # of 90 x 126, every third


@pytest.mark.parametrize("partly", [False, True], ids=["whole", "partly invalid"])
def test_counting_classes_takes_less_than_4_bytes_a_pixel(partly):
    """A third of 3000 rows each; 1500 columns are valid of 3000, or all."""
    mask = np.repeat(np.arange(3, dtype=np.uint8), 1000)[:, None].repeat(3000, 1)
    invalid = np.arange(3000)[None].repeat(3000, 0) >= 1500 if partly else None
    tracemalloc.start()
    counts = outputs.valid_pixels_by_class(mask, invalid, PETS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * mask.size
    assert counts.tolist() == [1000 * (1500 if partly else 3000)] * 3
