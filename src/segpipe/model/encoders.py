"""The encoders that `model.encoder.name` may name: what is known of each before it is built."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scaling:
    """What a network was trained to see: `pixel * scale + offset` of pixels 0..255, maybe by channel."""

    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...]


@dataclass(frozen=True)
class Family:
    """A network of `keras.applications` as an encoder."""

    builder: str
    """Its function there."""
    layers: tuple[str, ...]
    """The layers whose outputs feed the decoder by default: the last ones of each stride, finest first,
    down to stride 32, named as `model.encoder.backbone` names them."""
    scaling: Scaling
    finest: int = 2
    """The stride of the first layer."""
    alpha: bool = False
    """Whether there is a width multiplier."""
    scales_itself: bool = False
    """Whether Keras' function would put the scaling inside; here it stands before every encoder."""


def _standardised() -> Scaling:
    """ImageNet's mean and standard deviation by channel, as in torchvision."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return Scaling(
        tuple(1 / (255 * d) for d in deviation),
        tuple(-m / d for m, d in zip(mean, deviation, strict=True)),
    )


_CENTRED = Scaling(1 / 127.5, -1)
"""To -1..1."""


def _efficientnet_v2(builder: str, *layers: str, scaling: Scaling | None = None) -> Family:
    return Family(builder, layers, scaling or _standardised(), scales_itself=True)


FAMILIES = {
    "mobilenet_v2": Family(
        "MobileNetV2",
        (
            "block_1_expand_relu",
            "block_3_expand_relu",
            "block_6_expand_relu",
            "block_13_expand_relu",
            "block_16_project",
        ),
        _CENTRED,
        alpha=True,
    ),
    "mobilenet_v3_small": Family(
        "MobileNetV3Small",
        (
            "conv_bn_activation",
            "expanded_conv_1_expand_bn_relu",
            "expanded_conv_3_expand_bn_activation",
            "expanded_conv_8_expand_bn_activation",
            "expanded_conv_10_add",
        ),
        _CENTRED,
        alpha=True,
        scales_itself=True,
    ),
    "mobilenet_v3_large": Family(
        "MobileNetV3Large",
        (
            "expanded_conv_1_expand_bn_relu",
            "expanded_conv_3_expand_bn_relu",
            "expanded_conv_6_expand_bn_activation",
            "expanded_conv_12_expand_bn_activation",
            "expanded_conv_14_add",
        ),
        _CENTRED,
        alpha=True,
        scales_itself=True,
    ),
    "efficientnet_v2_b0": _efficientnet_v2(
        "EfficientNetV2B0",
        "block1a_project_activation",
        "block2b_add",
        "block3b_add",
        "block5e_add",
        "block6h_add",
    ),
    "efficientnet_v2_b1": _efficientnet_v2(
        "EfficientNetV2B1", "block1b_add", "block2c_add", "block3c_add", "block5f_add", "block6i_add"
    ),
    "efficientnet_v2_b2": _efficientnet_v2(
        "EfficientNetV2B2", "block1b_add", "block2c_add", "block3c_add", "block5f_add", "block6j_add"
    ),
    "efficientnet_v2_b3": _efficientnet_v2(
        "EfficientNetV2B3", "block1b_add", "block2c_add", "block3c_add", "block5g_add", "block6l_add"
    ),
    "efficientnet_v2_s": _efficientnet_v2(
        "EfficientNetV2S",
        "block1b_add",
        "block2d_add",
        "block3d_add",
        "block5i_add",
        "block6o_add",
        scaling=Scaling(1 / 128, -1),  # the B ones were trained anew with another
    ),
    "resnet50_v2": Family(
        "ResNet50V2",
        (
            "conv1_conv",
            # Keras halves at the end of a stage: up to here the last block has the resolution before.
            "conv2_block3_preact_relu",
            "conv3_block4_preact_relu",
            "conv4_block6_preact_relu",
            "post_relu",
        ),
        _CENTRED,
    ),
    "densenet121": Family(
        "DenseNet121",
        ("conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "relu"),
        _standardised(),
    ),
    "convnext_tiny": Family(
        "ConvNeXtTiny",
        tuple(
            f"convnext_tiny_stage_{stage}_block_{block}_identity_add"
            for stage, block in enumerate((2, 2, 8, 2))
        ),
        _standardised(),
        finest=4,  # its first convolution is 4 x 4 with stride 4: stride 2 it has none
        scales_itself=True,
    ),
}


def taps(name: str, layers: Sequence[str] | Literal["default"]) -> Sequence[str]:
    """The layers that `model.encoder.layers` comes to with the encoder `name`."""
    return FAMILIES[name].layers if layers == "default" else layers


def doublings(name: str, layers: Sequence[str] | Literal["default"]) -> int:
    """How often a decoder doubles the resolution of the last of `layers` to reach stride 2."""
    first = FAMILIES[name].finest.bit_length() - 2  # 0 for stride 2, 1 for stride 4
    return first + len(taps(name, layers)) - 1
