"""Test-time augmentation: the mean over several views of each image, mirrored and at other sizes."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops, tree

from segpipe.evaluate.masks import Predict
from segpipe.evaluate.params import sizes


def augmented(network: keras.Model, flip: bool, scales: Sequence[float]) -> Predict:
    """Return a network that averages its probabilities over several views of each image.

    Both networks map uint8 images [n, H, W, bands] to float32 logits [n, H, W, classes]. The views have
    the sizes `scales`, as factors of H and W; `flip` adds the mirror image of each. The logits are the
    logarithm of the mean probability, so their softmax is that mean; if the image itself is the only
    view, they are the network's own. Raises a UserError for wrong scales, as `sizes` does.
    """
    own = network.input_shape[1:3]
    view_sizes, steps = sizes(own, scales), (1, -1) if flip else (1,)
    if view_sizes == [own] and not flip:
        return network.predict_on_batch
    networks = {size: at_size(network, size) for size in view_sizes}

    def predict(images: np.ndarray) -> np.ndarray:
        total = -math.inf  # logarithm of the summed probabilities; a running sum keeps memory small
        for size, sized in networks.items():
            scaled = _resized(images.astype(np.float32), size)
            view = ops.convert_to_numpy(ops.cast(ops.round(scaled), "uint8"))
            for step in steps:  # -1 mirrors, and mirrors the logits back
                logits = sized.predict_on_batch(view[:, :, ::step])[:, :, ::step]
                total = ops.logaddexp(total, ops.log_softmax(_resized(logits, own)))
        return ops.convert_to_numpy(total - math.log(len(networks) * len(steps)))

    return predict


def at_size(network: keras.Model, size: tuple[int | None, int | None]) -> keras.Model:
    """Return a network of the same layers, and so the same weights, for images of another size.

    Inner networks take any size. The outermost does not, since bilinear upsampling must know the size.
    """

    def shared(layer: keras.Layer) -> keras.Layer:
        return at_size(layer, (None, None)) if isinstance(layer, keras.Model) else layer

    image = tree.map_structure(lambda x: keras.Input((*size, x.shape[-1]), dtype=x.dtype), network.input)
    return keras.models.clone_model(network, image, shared)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> keras.KerasTensor:
    """Resize floats [n, h, w, channels] to `size`: bilinear, antialiased as in training."""
    return ops.image.resize(pixels, size, antialias=True)
