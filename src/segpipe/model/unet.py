"""The U-Net: an encoder, and a decoder that draws the mask from its outputs."""

import keras
from keras import layers

from segpipe.model.backbone import set_trainable, tap
from segpipe.model.decoders import DECODERS, HEAD, normalization
from segpipe.model.encoders import ENCODERS, Scaling, taps
from segpipe.model.params import DecoderParams, EncoderParams, Freeze, ModelParams
from segpipe.model.pretrained import Backbone

GREY = "grey_as_rgb"
"""The layer that repeats a single band three times for an encoder of RGB."""


def assemble(
    backbone: Backbone, inner: keras.Model, params: ModelParams, classes: int, channels: int = 3
) -> keras.Model:
    """Return the U-Net that the params ask for.

    Args:
        backbone: which network the encoder is cut from, and whether it is pretrained.
        inner: that network, built for one size and number of bands.
        params: the encoder's layers, what is trained, and the decoder.
        classes: number of classes.
        channels: number of bands.

    Raises:
        UserError: `model.encoder.layers` names a layer that does not fit.
    """
    encoder = tap(inner, taps(backbone.name, params.encoder.layers))
    set_trainable(encoder, is_trainable(params.encoder, backbone), backbone.pretrained)
    return unet(encoder, ENCODERS[backbone.name].scaling, params.decoder, classes, channels)


def is_trainable(params: EncoderParams, backbone: Backbone) -> bool:
    """Resolve `model.encoder.trainable`: `auto` freezes pretrained weights."""
    return not backbone.pretrained if params.trainable == "auto" else params.trainable


def freeze(network: keras.Model, part: Freeze) -> None:
    """Keep a part of a U-Net from being trained, its BatchNorm in inference mode."""
    if part == "none":
        return
    set_trainable(network.get_layer("encoder"), trainable=False, pretrained=True)
    if part == "all_but_head":
        for layer in network.layers:
            layer.trainable = layer.name.startswith(HEAD)


def unet(
    encoder: keras.Model, scaling: Scaling, params: DecoderParams, classes: int, channels: int = 3
) -> keras.Model:
    """Join an encoder with a decoder that upsamples from its last output.

    An encoder without an output of stride 2 (ConvNeXt) leaves the decoder's last step without a skip
    connection, as in segmentation_models.pytorch.

    Args:
        encoder: takes scaled float images; its outputs, finest first, have stride 2 or 4, and then twice
            that of the one before.
        scaling: from pixels of 0..255 to the encoder's input.
        params: the decoder, with one filter count for each doubling of the resolution up to stride 2.
        classes: number of classes N.
        channels: number of bands C: those of the encoder's input, or one, repeated as grey RGB.

    Returns:
        A model from uint8 images [batch, H, W, C] in 0..255 to float32 logits [batch, H, W, N].
        Scaling is inside, so nothing outside can feed it wrongly. Source of the shape:
        https://arxiv.org/abs/1505.04597
    """
    *size, inputs = encoder.input_shape[1:]
    image = x = keras.Input((*size, channels), dtype="uint8", name="image")
    if inputs != channels:
        x = layers.Concatenate(name=GREY)([image] * inputs)
    scaling = scaling.of(inputs)
    maps = encoder(layers.Rescaling(scaling.scale, scaling.offset, name="scale")(x))
    finest_stride = encoder.input_shape[1] // encoder.outputs[0].shape[1]
    maps = [*([None] if finest_stride == 4 else []), *maps]
    logits = DECODERS[params.name](maps, params.filters, classes, normalization(params))
    return keras.Model(image, logits, name="unet")


def divide_logits(network: keras.Model, divisor: float) -> None:
    """Divide a U-Net's logits in place, exact up to rounding, at no cost for inference and exports.

    Every head is linear from the last layer that has weights on: those are divided.
    """
    last = next(layer for layer in reversed(network.layers) if layer.weights)
    last.set_weights([weight / divisor for weight in last.get_weights()])
