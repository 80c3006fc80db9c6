"""Training on one band and on four: samples, augmentation, resuming, previews, the saved model."""

import dataclasses
import sys

import numpy as np
import pytest
from helpers import ROOT, run
from test_augment import FULL, OFF, drawn
from test_training import ENGINE, TABLE, train, with_changes

from segpipe.common.bands import in_words
from segpipe.common.errors import UserError
from segpipe.common.files import write_json
from segpipe.common.modelfile import read_card
from segpipe.common.records import MANIFEST, open_records, read
from segpipe.common.tfrecord import write_shards
from segpipe.evaluate.load import load_for_records
from segpipe.model.pretrained import Backbone
from segpipe.train import loop, provenance
from segpipe.train.augment import DRAWS, augment
from segpipe.train.engine import Batching
from segpipe.train.params import AugmentParams
from segpipe.train.previews import sheet
from segpipe.train.samples import Arrays, bytes_needed, load, locate, preview_samples
from segpipe.train.saving import save_model

CHOICES = [(7,), (1, 2, 3), (8, 4, 3, 2)]
BY_BANDS = pytest.mark.parametrize("bands", CHOICES, ids=lambda bands: f"{len(bands)} bands")
STRONG = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.9, "hue": 0.5}


def write_records(folder, bands, **changes):
    """Records of noise by hand; the class of a pixel is told by the last band alone."""
    folder.mkdir(exist_ok=True)
    rng, splits = np.random.default_rng(0), {}
    for split, count in {"train": 12, "val": 4, "test": 4}.items():
        images = rng.integers(0, 256, (count, 32, 32, len(bands)), np.uint8)
        samples = [
            {
                "name": f"{split} {number}".encode(),
                "image": image.tobytes(),
                "mask": (image[..., -1] > 127).astype(np.uint8).tobytes(),
            }
            for number, image in enumerate(images)
        ]
        splits[split] = {"samples": count, "shards": write_shards(folder, split, samples, 0.01)}
    content = {"source": "by hand", "image_size": [32, 32], "resize": "stretch", "left_out": []}
    content |= {"bands": bands, "intensity": [[0, 100 * n] for n in range(1, len(bands) + 1)]}
    write_json(folder / MANIFEST, content | TABLE.to_json() | {"splits": splits} | changes)
    return open_records(folder)


@BY_BANDS
def test_samples_from_the_shards_are_those_from_memory_and_those_that_were_written(bands, tmp_path):
    manifest = write_records(tmp_path, bands)
    assert (manifest.bands, manifest.channels, manifest.shape("train")) == (
        bands,
        len(bands),
        (32, 32, len(bands)),
    )
    kept, read_later = load(manifest, "train"), locate(manifest, "train")
    written = np.stack([sample["image"] for sample in read(manifest, "train")])
    np.testing.assert_array_equal(kept.images, written)
    np.testing.assert_array_equal(kept.masks, written[..., -1] > 127)
    for samples in (kept, read_later, kept.only([2, 0]), read_later.only([2, 0])):
        assert (samples.shape, samples.bands) == (manifest.shape("train"), bands)
    for mine, theirs in zip(kept.take([3, 1]), read_later.take([3, 1]), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert bytes_needed(manifest) == 16 * 32 * 32 * (len(bands) + 1)


@BY_BANDS
def test_a_batch_moves_every_band_with_its_mask_from_memory_as_from_the_shards(bands, tmp_path):
    manifest = write_records(tmp_path, bands)
    moved = AugmentParams(**OFF | {"flip": True, "rotation": 20.0, "scale": [0.8, 1.2]})
    sides = [
        list(ENGINE.train_batches(samples, range(3), Batching(4, 0, moved)).as_numpy_iterator())
        for samples in (load(manifest, "train"), locate(manifest, "train"))
    ]
    for (images, masks), (same_images, same_masks) in zip(*sides, strict=True):
        assert images.shape == (4, 32, 32, len(bands))
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(masks, same_masks)
        assert (images[masks == 255] == 0).all(), "what a moved picture does not cover is black in each"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_hue_and_saturation_leave_bands_alone_that_are_no_colours(channels, rng):
    images = rng.integers(0, 256, (5, 8, 8, channels), np.uint8)
    masks, draws = np.zeros((5, 8, 8), np.uint8), rng.random((5, DRAWS), np.float32)
    params = AugmentParams(**OFF | {"saturation": 0.9, "hue": 0.5})
    found, _ = augment(images, masks, draws, params, rgb=False)
    np.testing.assert_array_equal(found, images)


def test_brightness_scales_every_band_and_contrast_changes_each_about_its_own_mean():
    """Band means 40, 80, 120, 160; a draw of 1 is the largest change: 1.5 times and 1.25 times."""
    means = np.array([40, 80, 120, 160])
    ramp = np.array([-20, -10, 10, 20])[None, :, None]
    images = np.broadcast_to(means + ramp, (1, 3, 4, 4)).astype(np.uint8)
    masks = np.zeros((1, 3, 4), np.uint8)
    brighter = drawn(brightness=1.0)
    found, _ = augment(images, masks, brighter, AugmentParams(**OFF | {"brightness": 0.5}), rgb=False)
    np.testing.assert_array_equal(found, np.minimum(images * 1.5, 255))
    contrasted = drawn(contrast=1.0)
    found, _ = augment(images, masks, contrasted, AugmentParams(**OFF | {"contrast": 0.25}), rgb=False)
    by_hand = np.round(means + 1.25 * ramp)  # halves to the even number, as Keras does
    np.testing.assert_array_equal(found, np.broadcast_to(by_hand, images.shape))


def test_a_grey_picture_as_one_band_changes_as_it_does_as_rgb(rng):
    grey = rng.integers(0, 256, (8, 16, 16, 1), np.uint8)
    masks, draws = rng.integers(0, 2, (8, 16, 16), np.uint8), rng.random((8, DRAWS), np.float32)
    params = FULL.model_copy(update={"hue": 0.0, "saturation": 0.0})
    one, one_mask = augment(grey, masks, draws, params, rgb=False)
    three, three_mask = augment(grey.repeat(3, -1), masks, draws, params)
    np.testing.assert_array_equal(one_mask, three_mask)
    assert np.abs(one.numpy().astype(int) - three.numpy()).max() <= 1, "one grey level of rounding"
    assert (one.numpy() == three.numpy()).mean() > 0.999


@pytest.mark.parametrize("bands", ["rgb", (1, 2, 3)])
def test_only_pictures_called_rgb_get_another_hue(bands, rng):
    images = rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
    samples = Arrays(images, np.zeros((4, 8, 8), np.uint8), ["a", "b", "c", "d"], bands)
    params = AugmentParams(**OFF | {"hue": 0.5})
    ((found, _),) = ENGINE.train_batches(samples, range(1), Batching(4, 0, params)).as_numpy_iterator()
    kept = sum((image == found).all((1, 2, 3)).any() for image in images)
    assert kept == (0 if bands == "rgb" else 4)


ON_JAX = """
from segpipe.common.records import open_records
from segpipe.train.engine import Batching
from segpipe.train.on_jax import JaxEngine
from segpipe.train.params import AugmentParams
from segpipe.train.samples import locate
from pathlib import Path
params, samples = AugmentParams(**{params}), locate(open_records(Path()), "train")
for images, masks in JaxEngine().train_batches(samples, range(2), Batching(4, 0, params)):
    print(images.shape, images.dtype)
"""


@pytest.mark.slow
def test_jax_draws_batches_of_four_bands(tmp_path):
    write_records(tmp_path, (8, 4, 3, 2))
    script = ON_JAX.replace("{params}", repr(FULL.model_dump()))
    done = run(
        sys.executable, "-c", script, cwd=tmp_path, KERAS_BACKEND="jax", PYTHONPATH=str(ROOT / "src")
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("(4, 32, 32, 4) uint8") == 2


def identity_of(params, manifest, backbone):
    resolved = provenance.resolved(params.seed, params.model, params.train, backbone)
    return provenance.identity(resolved, manifest, backbone, [])


SOME_SLOW = [*(pytest.param(choice, marks=pytest.mark.slow) for choice in CHOICES[:2]), CHOICES[2]]


@pytest.fixture(scope="module", params=SOME_SLOW, ids=lambda bands: f"{len(bands)} bands")
def trained(request, tmp_path_factory):
    """Two epochs of a step each, then the second once more, from the first one's checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    manifest = write_records(folder / "records", request.param)
    samples, backbone = load(manifest, "train"), Backbone("mobilenet_v2", 0.35, None)
    params = with_changes(epochs=2, steps_per_epoch=1, augment=STRONG)
    weights = []
    for _ in range(2):
        network = loop.build_model(backbone, params.model, manifest, params.seed)
        _, progress = train(samples, folder, params, network=network)
        weights.append(network.get_weights())
        (folder / "run/epoch-0002.npz").unlink()
    card = provenance.card(
        identity_of(params, manifest, backbone), manifest, progress.summary(params.train), 1.0
    )
    save_model(network, folder / "model.keras", card)
    return manifest, folder, weights, network


def test_what_was_cut_off_goes_on_to_the_same_weights(trained):
    _, _, (whole, again), _ = trained
    assert all(np.array_equal(*pair) for pair in zip(whole, again, strict=True))


def test_the_saved_model_is_the_trained_one_and_its_card_says_what_it_sees(trained):
    manifest, folder, _, network = trained
    loaded = load_for_records(folder / "model.keras", manifest)
    images = np.stack([sample["image"] for sample in read(manifest, "test")])
    np.testing.assert_array_equal(loaded.predict_on_batch(images), network.predict_on_batch(images))
    card = read_card(folder / "model.keras")
    assert (card["format"], card["bands"]) == (4, [*manifest.bands])
    assert card["intensity"] == [[0, 100 * number] for number in range(1, manifest.channels + 1)]


@pytest.mark.parametrize("changes", [{"bands": "rgb"}, {"intensity": None}])
def test_a_model_for_other_bands_or_ranges_does_not_fit_the_records(trained, changes):
    manifest, folder, _, _ = trained
    other = dataclasses.replace(manifest, **changes)
    theirs, ours = (in_words(one.bands, one.intensity) for one in (manifest, other))
    with pytest.raises(UserError, match=rf"in {theirs}, but the records have .* in {ours}; train it on"):
        load_for_records(folder / "model.keras", other)


def test_previews_show_the_first_three_bands_or_one_as_grey(trained):
    manifest, *_ = trained
    shown = preview_samples(load(manifest, "val"), 1)
    drawn = np.asarray(sheet(shown, shown.masks, TABLE, "a title"))
    seen = [0, 1, 2] if manifest.channels >= 3 else [0, 0, 0]
    enlarged = shown.images[0][..., seen].repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(drawn[36 : 36 + 128, :128], enlarged)


@pytest.mark.slow
def test_a_network_learns_what_only_the_fourth_band_tells(tmp_path):
    manifest = write_records(tmp_path / "records", (8, 4, 3, 2))
    params = with_changes(epochs=15, learning_rate=0.01)
    network = loop.build_model(Backbone("mobilenet_v2", 0.35, None), params.model, manifest, params.seed)
    _, progress = train(load(manifest, "train"), tmp_path, params, network=network)
    assert progress.history[-1]["mean_iou"] > 0.8
