"""The network that the params ask for, put together from a backbone and a decoder."""

import keras

from segpipe.model.backbone import set_trainable, tap
from segpipe.model.encoders import FAMILIES, taps
from segpipe.model.params import EncoderParams, ModelParams
from segpipe.model.pretrained import Backbone
from segpipe.model.unet import unet


def assemble(backbone: Backbone, inner: keras.Model, params: ModelParams, classes: int) -> keras.Model:
    """The U-Net on a backbone.

    Args:
        backbone: which network it is, and whether it is pretrained.
        inner: that network, built for one size.
        params: layers, what is trained, and the decoder.
        classes: number of classes.

    Raises:
        UserError: `model.encoder.layers` names what does not fit.
    """
    encoder = tap(inner, taps(backbone.name, params.encoder.layers))
    set_trainable(encoder, is_trainable(params.encoder, backbone), backbone.pretrained)
    scaling = FAMILIES[backbone.name].scaling
    return unet(encoder, scaling, params.decoder, classes)


def is_trainable(params: EncoderParams, backbone: Backbone) -> bool:
    """What `model.encoder.trainable` comes to: `auto` trains only what is not pretrained."""
    return not backbone.pretrained if params.trainable == "auto" else params.trainable
