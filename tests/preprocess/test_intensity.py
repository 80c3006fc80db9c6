"""Pictures of more than 8 bits: from their files to the records, by ranges of the training split."""

import io
import json

import numpy as np
import pytest
import tifffile
import yaml
from helpers import PETS, ROOT
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from segpipe.common import records
from segpipe.common.errors import ParamsError
from segpipe.common.files import name_hash
from segpipe.common.tfrecord import read_shard
from segpipe.fetch import layouts
from segpipe.fetch.raw import write_raw
from segpipe.params.load import check_params
from segpipe.preprocess.intensity import Levels
from segpipe.preprocess.percentiles import found_ranges
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records

SIZE = (32, 32)  # of the pictures too, so that records hold their very pixels


def picture_folder(root, pictures, suffix=".tif"):
    """A folder of the layout `pairs`: arrays as TIFF, bytes as they are, and masks of one class each."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for name, pixels in pictures.items():
        if isinstance(pixels, bytes):
            (root / f"images/{name}{suffix}").write_bytes(pixels)
        else:
            planes = {"planarconfig": "contig"} if pixels.ndim == 3 else {}
            file = root / f"images/{name}{suffix}"
            tifffile.imwrite(file, pixels, photometric="minisblack", metadata=None, **planes)
        Image.new("L", SIZE[::-1], 1 + len(name) % 3).save(root / f"masks/{name}.png")
    return root


def fetched(root, bands="rgb", skip_bad=False):
    found = layouts.samples("pairs", root, 0.3, PETS)
    return write_raw("a test", found, PETS, skip_bad, 100, root / "../raw", processes=1, bands=bands)


def preprocessed(root, intensity="auto", share=0.3):
    format_ = RecordFormat(SIZE, "stretch", intensity)
    write_records(root / "../raw", PETS, format_, SplitRule(share), 100, root / "../records", 1)
    return records.open_records(root / "../records")


def by_name(manifest):
    return {s["name"]: s for split in ("train", "val", "test") for s in records.read(manifest, split)}


def split_of(name, share=0.3):
    if name_hash(name, "test") < 0.3:
        return "test"
    return "val" if name_hash(name, "val") < share else "train"


@pytest.fixture
def camera(tmp_path, rng):
    """Grey of 12 bits in 16, darker in training than elsewhere."""
    pictures = {}
    for number in range(16):
        name = f"p{number:02d}"
        top = 1000 if split_of(name) == "train" else 4096
        pictures[name] = rng.integers(0, top, SIZE, np.uint16)
    return picture_folder(tmp_path / "data", pictures), pictures


def test_auto_takes_the_percentiles_of_the_training_split_alone(camera):
    root, pictures = camera
    fetched(root, (1,))
    manifest = preprocessed(root)
    training = np.stack([p for name, p in pictures.items() if split_of(name) == "train"])
    low, high = np.percentile(training, [0.5, 99.5])
    assert manifest.intensity == ((pytest.approx(low), pytest.approx(high)),)
    assert high < 1000, "neither validation nor test, which reach 4095"
    assert (manifest.bands, manifest.channels, manifest.depths) == ((1,), 1, ("uint16",))
    for name, sample in by_name(manifest).items():
        share = ((pictures[name] - low) / (high - low)).clip(0, 1)
        assert (sample["image"][..., 0] == np.rint(share * 255)).all()


def test_all_levels_of_a_12_bit_camera_reach_the_scaling(tmp_path):
    """A PNG with a ramp over 256 of 4,096 levels: its upper 8 bits would leave two of them."""
    pictures = {}
    for number in range(16):
        ramp = (np.arange(1024) // 4 + 2000).astype(np.uint16)
        buffer = io.BytesIO()
        Image.fromarray(np.roll(ramp, number).reshape(SIZE)).save(buffer, "PNG")
        pictures[f"p{number:02d}"] = buffer.getvalue()
    root = picture_folder(tmp_path / "data", pictures, ".png")
    fetched(root)
    for sample in by_name(preprocessed(root)).values():
        assert len(np.unique(sample["image"])) > 250


def test_a_range_of_the_params_holds_for_every_band_or_each_has_its_own(camera, tmp_path, rng):
    root, pictures = camera
    fetched(root, (1,))
    sample = by_name(preprocessed(root, (100.0, 355.0)))["p00"]
    assert (sample["image"][..., 0] == (pictures["p00"].astype(int) - 100).clip(0, 255)).all()
    two = {f"p{n:02d}": rng.integers(-500, 500, (*SIZE, 2), np.int16) for n in range(16)}
    banded = picture_folder(tmp_path / "two/data", two)
    fetched(banded, (2, 1))
    manifest = preprocessed(banded, ((0.0, 255.0), (-255.0, 0.0)))
    assert manifest.intensity == ((0, 255), (-255, 0))
    sample = by_name(manifest)["p03"]["image"]
    assert (sample[..., 0] == two["p03"][..., 1].clip(0, 255)).all()
    assert (sample[..., 1] == two["p03"][..., 0].clip(-255, 0) + 255).all()


def test_pictures_of_8_bits_stay_as_they_are_beside_others(tmp_path, rng):
    deep = {f"p{n:02d}": rng.integers(0, 4096, SIZE, np.uint16) for n in range(12)}
    plain = {f"q{n:02d}": rng.integers(0, 256, SIZE, np.uint8) for n in range(12)}
    root = picture_folder(tmp_path / "data", deep | plain)
    fetched(root, (1,))
    manifest = preprocessed(root)
    assert manifest.depths == ("uint16", "uint8")
    assert manifest.intensity[0][1] > 4000
    assert (by_name(manifest)["q05"]["image"][..., 0] == plain["q05"]).all()


def test_a_range_for_pictures_of_8_bits_alone_stretches_them(tmp_path, rng):
    plain = {f"q{n:02d}": rng.integers(0, 256, SIZE, np.uint8) for n in range(12)}
    root = picture_folder(tmp_path / "data", plain)
    fetched(root, (1,))
    assert preprocessed(root).intensity is None, "auto"
    sample = by_name(preprocessed(root, (50.0, 101.0)))["q05"]["image"][..., 0]
    assert (sample == (plain["q05"].astype(int) - 50).clip(0, 51) * 5).all()


def test_grey_of_16_bits_is_seen_three_times_as_rgb(camera):
    root, _ = camera
    fetched(root)
    manifest = preprocessed(root)
    assert manifest.channels == 3
    assert len({*manifest.intensity}) == 1
    image = by_name(manifest)["p01"]["image"]
    assert (image == image[..., :1]).all()


def test_invalid_pixels_are_ignored_in_masks_black_in_pictures_and_no_part_of_percentiles(tmp_path, rng):
    pictures = {}
    for number in range(16):
        pixels = rng.normal(100, 10, SIZE).astype(np.float32)
        pixels[:8], pixels[8] = 9999, np.nan
        buffer = io.BytesIO()
        tags = [(42113, 2, 0, "9999", True)]
        tifffile.imwrite(buffer, pixels, metadata=None, extratags=tags, compression="zlib", predictor=3)
        pictures[f"p{number:02d}"] = buffer.getvalue()
    root = picture_folder(tmp_path / "data", pictures)
    fetched(root, (1,))
    manifest = preprocessed(root)
    ((low, high),) = manifest.intensity
    assert 60 < low < 80 < 120 < high < 140
    for sample in by_name(manifest).values():
        assert (sample["mask"][:9] == 255).all()
        assert (sample["mask"][9:] != 255).all()
        assert (sample["image"][:9] == 0).all()


def test_a_photograph_as_tiff_gives_the_record_of_its_png(pet_dir, tmp_path):
    names = sorted(path.stem for path in (pet_dir / "images").glob("*.jpg"))[:6]
    made = []
    for kind in ("png", "tif"):
        root = tmp_path / kind / "data"
        for folder in ("images", "masks"):
            (root / folder).mkdir(parents=True)
        for name in names:
            with Image.open(pet_dir / f"images/{name}.jpg") as photo:
                pixels = np.asarray(photo.convert("RGB"))
            with Image.open(pet_dir / f"annotations/trimaps/{name}.png") as mask:
                mask.save(root / f"masks/{name}.png")
            if kind == "png":
                Image.fromarray(pixels).save(root / f"images/{name}.png")
            else:
                options = {"compression": "lzw", "predictor": True, "tile": (64, 64)}
                tifffile.imwrite(root / f"images/{name}.tif", pixels, photometric="rgb", **options)
        (root / "test.txt").write_text("\n".join(names[:2]))
        (root / "train.txt").write_text("\n".join(names[2:]))
        fetched(root)
        made.append(by_name(preprocessed(root, share=0.5)))
    for name, sample in made[0].items():
        assert (sample["image"] == made[1][name]["image"]).all()
        assert (sample["mask"] == made[1][name]["mask"]).all()


def test_raw_and_records_have_equal_bytes_every_time(camera, tmp_path):
    root, _ = camera
    fetched(root, (1,))
    preprocessed(root)
    first = {p: p.read_bytes() for kind in ("raw", "records") for p in (root / ".." / kind).iterdir()}
    fetched(root, (1,))
    preprocessed(root)
    assert first == {p: p.read_bytes() for p in first}


def test_pictures_with_other_numbers_of_bands_are_problems(tmp_path, rng):
    pictures = {f"p{n:02d}": rng.integers(0, 99, (*SIZE, 4), np.uint16) for n in range(12)}
    pictures["p07"] = pictures["p07"][..., :3]
    root = picture_folder(tmp_path / "data", pictures)
    left_out = fetched(root, (1, 2), skip_bad=True)["left_out"]
    (only,) = [problem["problem"] for problem in left_out]
    assert only.startswith("images/p07.tif: a picture with 3 bands; expected 4, the number in images/p")
    assert only.endswith(" (data.bands)")
    assert json.loads((root / "../raw/summary.json").read_text())["bands"] == [1, 2]


def test_data_raw_holds_the_chosen_bands_in_their_own_type(tmp_path, rng):
    pictures = {f"p{n:02d}": rng.integers(0, 9999, (*SIZE, 5), np.uint16) for n in range(12)}
    root = picture_folder(tmp_path / "data", pictures)
    summary = fetched(root, (5, 2))
    assert {k for split in summary["splits"].values() for k in split["depths"]} == {"uint16"}
    for shard in sorted((root / "../raw").glob("*.tfrecord")):
        for sample in read_shard(shard):
            kept = tifffile.imread(io.BytesIO(sample["image"]))
            assert (kept == pictures[sample["name"].decode()][..., [4, 1]]).all()


@given(
    arrays.arrays(
        st.sampled_from([np.uint16, np.int16, np.float32]),
        st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
        elements=st.integers(0, 32767) | st.sampled_from([0, 1, 255]),
    )
)
def test_the_percentiles_are_those_of_numpy(pixels):
    found = found_ranges(lambda: [(pixels, None)], pixels.shape[2], [pixels.dtype.name])
    for band, (low, high) in enumerate(found):
        values = pixels[..., band].astype(np.float64)
        expected = np.percentile(values, [0.5, 99.5])
        if expected[0] < expected[1]:
            assert (low, high) == pytest.approx(tuple(expected), rel=1e-12)
        elif values.min() < values.max():
            assert (low, high) == (values.min(), values.max())
        else:
            assert low == values.min() < high


def test_percentiles_of_floats_are_exact_far_from_zero(rng):
    """Heights around 2,000 m that differ by centimetres."""
    pixels = (2000 + rng.normal(0, 0.05, (200, 300, 1))).astype(np.float32)
    pixels = np.concatenate([pixels, -pixels])
    invalid = rng.random((400, 300)) < 0.5
    expected = np.percentile(pixels[~invalid].astype(np.float64), [0.5, 99.5])
    ((low, high),) = found_ranges(lambda: [(pixels, invalid)], 1, ["float32"])
    assert (low, high) == pytest.approx(tuple(expected), rel=1e-12)


def test_without_a_range_a_type_has_its_full_range():
    levels = Levels(1, None, ("uint8",))
    for depth, values, expected in (
        ("uint16", [0, 257, 65535], [0, 1, 255]),
        ("int16", [-32768, 32767], [0, 255]),
        ("float32", [-1, 0, 0.2, 1, 2], [0, 0, 51, 255, 255]),
    ):
        pixels = np.array(values, depth)[None, :, None]
        assert levels.in_8_bits(pixels)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"intensity": [5, 5]}, r"data\.intensity.*low must be less than high, and this is \[5, 5\]"),
        ({"intensity": [[0, 1], [9, 2], [0, 1]]}, r"low must be less than high, and this is \[9, 2\]"),
        ({"intensity": [0, 1, 2]}, "a range is two numbers"),
        (
            {"intensity": "full"},
            r"data\.intensity = 'full': input should be auto, \[low, high\], or a list",
        ),
        ({"intensity": [True, 2]}, "a range is two numbers"),
        ({"intensity": [0, float("nan")]}, "a range is two numbers"),
        ({"intensity": [[0, 1], [0, 2]]}, r"intensity has 2 ranges, but the network sees 3"),
        ({"intensity": [[0, 1], [0, 2]], "bands": [1]}, "2 ranges, but the network sees 1"),
    ],
)
def test_wrong_ranges_are_errors_of_the_params(changes, words):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["data"] |= changes
    with pytest.raises(ParamsError, match=words):
        check_params(content, ROOT / "params.yaml")


def test_ranges_may_be_one_for_all_or_one_a_band():
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for given_, parsed in (([0, 4095], (0, 4095)), ([[0, 1]] * 3, ((0, 1),) * 3), ("auto", "auto")):
        content["data"]["intensity"] = given_
        assert check_params(content, ROOT / "params.yaml").data.intensity == parsed
