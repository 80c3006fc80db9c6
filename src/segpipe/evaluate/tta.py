"""Test-time augmentation: the mean over several looks at each image, mirrored and at other sizes."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops, tree

from segpipe.evaluate.masks import Predict
from segpipe.evaluate.scales import sizes


def augmented(network: keras.Model, flip: bool, scales: Sequence[float]) -> Predict:
    """A network that looks several times: at each scale, and there at the mirror image too.

    Args:
        network: from uint8 images [n, H, W, 3] to float32 logits [n, H, W, classes].
        flip: whether to look at mirror images.
        scales: sizes to look at, as factors of H and W; see `segpipe.evaluate.scales`.

    Returns:
        A function of the same images to float32 logits of the same shape. They are the logarithm of the
        mean probability, so that their softmax is that mean; for the single look at the images as they
        are, they are the network's own.

    Raises:
        UserError: as `sizes` does.
    """
    own = network.input_shape[1:3]
    looked_at, steps = sizes(own, scales), (1, -1) if flip else (1,)
    if looked_at == [own] and not flip:
        return network.predict_on_batch
    networks = {size: at_size(network, size) for size in looked_at}

    def predict(images: np.ndarray) -> np.ndarray:
        total = -math.inf  # the logarithm of the sum; one look's logits at a time beside it
        for size, sized in networks.items():
            seen = _scaled(images, size)
            for step in steps:
                total = ops.logaddexp(total, _look(sized, seen, step, own))
        return ops.convert_to_numpy(total - math.log(len(networks) * len(steps)))

    return predict


def at_size(network: keras.Model, size: tuple[int | None, int | None]) -> keras.Model:
    """The same layers, and so the same weights, for images of another height and width.

    A network takes the one size that it was built for, and so do the networks in it: those are made to
    take any. The outermost is not, because bilinear upsampling has to know the size.
    """

    def shared(layer: keras.Layer) -> keras.Layer:
        return at_size(layer, (None, None)) if isinstance(layer, keras.Model) else layer

    image = tree.map_structure(lambda x: keras.Input((*size, x.shape[-1]), dtype=x.dtype), network.input)
    return keras.models.clone_model(network, image, shared)


def _look(
    network: keras.Model, images: np.ndarray, step: int, size: tuple[int, int]
) -> keras.KerasTensor:
    """Log-probabilities [n, *size, classes] of images as they are (1) or mirrored and back (-1)."""
    logits = network.predict_on_batch(images[:, :, ::step])[:, :, ::step]
    return ops.log_softmax(_resized(logits, size))


def _scaled(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Uint8 images [n, H, W, 3] at another size."""
    scaled = _resized(images.astype(np.float32), size)
    return ops.convert_to_numpy(ops.cast(ops.round(scaled), "uint8"))


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> keras.KerasTensor:
    """Floats [n, h, w, channels] at `size`: bilinear, antialiased as in training."""
    return ops.image.resize(pixels, size, antialias=True)
