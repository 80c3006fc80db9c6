"""Test-time augmentation: the mean over several looks at each image, mirrored and at other sizes."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops, tree

from segpipe.errors import UserError
from segpipe.prediction.masks import Predict

_MULTIPLE = 32
"""What an encoder's edges are multiples of."""


def augmented(network: keras.Model, flip: bool, scales: Sequence[float]) -> Predict:
    """A network that looks several times: at each scale, and there at the mirror image too.

    Args:
        network: from uint8 images [n, H, W, 3] to float32 logits [n, H, W, classes].
        flip: whether to look at mirror images.
        scales: sizes to look at, as factors of H and W; see `sizes`.

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


def sizes(size: tuple[int, int], scales: Sequence[float]) -> list[tuple[int, int]]:
    """What `scales` make of a network's height and width: to the nearest multiple of 32, at least 32.

    Raises:
        UserError: a scale is not 0.25 to 4, two come to the same size, or there is none.
    """
    if not scales:
        raise UserError("no scale to look at; 1 is the network's own size")
    found: dict[tuple[int, int], float] = {}
    for scale in scales:
        if not 0.25 <= scale <= 4:
            raise UserError(f"a scale of {scale:g}; expected 0.25 to 4")
        height, width = (_MULTIPLE * max(1, int(scale * edge / _MULTIPLE + 0.5)) for edge in size)
        if (height, width) in found:
            raise UserError(
                f"the scales {found[height, width]:g} and {scale:g} both come to {height} x {width} px, "
                f"because edges are multiples of {_MULTIPLE}; leave one of them out"
            )
        found[height, width] = scale
    return list(found)


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
