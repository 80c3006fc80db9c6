"""The U-Net: an encoder, and a decoder that draws the mask from its outputs."""

import re

import keras
from keras import layers

from segpipe.model.decoders import DECODERS, normalization
from segpipe.model.encoders import Scaling
from segpipe.model.params import DecoderParams


def unet(encoder: keras.Model, scaling: Scaling, params: DecoderParams, classes: int) -> keras.Model:
    """Join an encoder with a decoder that upsamples from its last output.

    Where an encoder has nothing of stride 2 (ConvNeXt), the decoder's last step does without a skip
    connection, as in segmentation_models.pytorch.

    Args:
        encoder: takes float images, scaled; outputs of stride 2 or 4 and on, doubling, finest first.
        scaling: what makes pixels of 0..255 what the encoder takes.
        params: the decoder; of its filters one for each doubling of the resolution up to stride 2.
        classes: number of classes N.

    Returns:
        A model from uint8 images [batch, H, W, 3] in 0..255 to float32 logits [batch, H, W, N].
        Scaling is inside, so nothing outside can feed it wrongly. Source of the shape:
        https://arxiv.org/abs/1505.04597
    """
    image = keras.Input(encoder.input_shape[1:], dtype="uint8", name="image")
    scaled = layers.Rescaling(scaling.scale, scaling.offset, name="scale")(image)
    *skips, x = encoder(scaled)
    skips = [*([None] if _finest_stride(encoder) == 4 else []), *skips]
    decoder, norm = DECODERS[params.name], normalization(params)
    steps = zip(params.filters, reversed(skips), strict=True)
    for number, (width, skip) in enumerate(steps, 1):
        x = decoder.step(x, skip, width, number, norm)
    return keras.Model(image, decoder.head(x, classes), name="unet")


def level(name: str) -> int | None:
    """The level of a U-Net's decoder, from 1, that a layer belongs to, by its name; None for others."""
    found = re.match(r"(?:up|join)_(\d+)", name)
    return int(found[1]) if found else None


def _finest_stride(encoder: keras.Model) -> int:
    return encoder.input_shape[1] // encoder.outputs[0].shape[1]
