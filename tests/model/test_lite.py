"""EfficientNet-Lite0: its size, and that with ImageNet's weights it knows cats from dogs."""

import keras
import numpy as np
import pytest
from helpers import plain_params
from PIL import Image

from segpipe.model.backbone import backbone
from segpipe.model.params import EncoderParams
from segpipe.model.pretrained import fetch_backbone
from segpipe.model.torch_file import read_torch

CATS, DOGS = range(281, 286), range(151, 269)
"""Of ImageNet's 1000 classes."""


def test_with_its_classifier_it_has_the_parameters_that_are_published():
    """4.65 million that are trained, and the statistics of BatchNorm."""
    network, classifier = backbone("efficientnet_lite0", (32, 32)), 1280 * 1000 + 1000
    trained = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert trained + classifier == 4_652_008
    assert network.count_params() + classifier == 4_694_024


@pytest.fixture(scope="module")
def classify(lite0_weights, tmp_path_factory):
    """Logits of scaled pictures [n, 224, 224, 3]: the encoder, and the checkpoint's classifier."""
    content = {"name": "efficientnet_lite0", "alpha": 1.0, "weights": str(lite0_weights)}
    params = EncoderParams.model_validate({**plain_params().model.encoder.model_dump(), **content})
    network = fetch_backbone(params, tmp_path_factory.mktemp("lite0") / "encoder").build((224, 224))
    tensors = read_torch(lite0_weights)
    pooled = keras.layers.GlobalAveragePooling2D()(network.output)
    pooled = keras.Model(network.input, pooled)

    def classify(pictures):
        scaled = (pictures.astype(np.float32) - 127) / 128
        return pooled.predict(scaled, 20, verbose=0) @ tensors["_fc.weight"].T + tensors["_fc.bias"]

    return classify


def test_logits_are_those_that_timm_computes_with_these_weights(classify):
    """Computed by timm 1.0.31 (tf_efficientnet_lite0) with PyTorch 2.13.0, for squares of 28 px."""
    squares = np.random.RandomState(1).randint(0, 256, (8, 8, 3)).repeat(28, 0).repeat(28, 1)
    (logits,) = classify(squares[None])
    assert logits.argsort()[::-1][:5].tolist() == [111, 604, 623, 844, 769]
    np.testing.assert_allclose(
        np.sort(logits)[::-1][:5], [2.685909, 2.517178, 2.508619, 2.494696, 2.493531], rtol=1e-4
    )


def as_evaluated(path):
    """A photograph as ImageNet is evaluated: its shorter edge 256 px, the middle 224 px."""
    photo = Image.open(path).convert("RGB")
    scale = 256 / min(photo.size)
    photo = photo.resize([round(edge * scale) for edge in photo.size], Image.Resampling.BICUBIC)
    left, top = ((edge - 224) // 2 for edge in photo.size)
    return np.asarray(photo.crop((left, top, left + 224, top + 224)))


@pytest.mark.parametrize(
    ("breed", "classes", "least"),
    [("Abyssinian", CATS, 50), ("Bengal", CATS, 50), ("american_bulldog", DOGS, 55)],
)
def test_of_60_photographs_of_a_breed_it_knows_nearly_all(classify, pet_dir, breed, classes, least):
    photos = sorted((pet_dir / "images").glob(f"{breed}_*.jpg"))[:60]
    said = classify(np.stack([as_evaluated(path) for path in photos])).argmax(1)
    assert sum(label in classes for label in said) >= least
