"""EfficientNet-Lite0, which `keras.applications` lacks: EfficientNet-B0 made for int8 on phones.

It has ReLU6 in place of swish, and no squeeze-and-excitation. Its layers are named as those of Keras'
EfficientNets.
"""

import keras
from keras import layers

_STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
           (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1))  # fmt: skip
"""Of each stage: kernel size, stride of its first block, expansion, channels, number of blocks."""


def efficientnet_lite0(image: keras.KerasTensor) -> keras.Model:
    """Build the network without its classifier.

    Args:
        image: float input [batch, H, W, C], scaled to (pixel - 127) / 128.

    Returns:
        A model with the output [batch, H / 32, W / 32, 1280], rounded up. Source:
        https://arxiv.org/abs/1905.11946, and `efficientnet/lite` in its authors' repository.
    """
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(image)
    x = _relu6(_norm(x, "stem"), "stem")
    for stage, (kernel, stride, expansion, channels, blocks) in enumerate(_STAGES, 1):
        for number in range(blocks):
            name = f"block{stage}{'abcd'[number]}"
            x = _block(x, name, kernel, 1 if number else stride, expansion, channels)
    x = layers.Conv2D(1280, 1, use_bias=False, name="top_conv")(x)
    return keras.Model(image, _relu6(_norm(x, "top"), "top"), name="efficientnet_lite0")


def _block(
    x: keras.KerasTensor, name: str, kernel: int, stride: int, expansion: int, channels: int
) -> keras.KerasTensor:
    """Apply an inverted residual block: expand, convolve each channel, project."""
    before, expand, depthwise = x, f"{name}_expand", f"{name}_dw"
    if expansion > 1:
        width = before.shape[-1] * expansion
        x = layers.Conv2D(width, 1, use_bias=False, name=f"{expand}_conv")(x)
        x = _relu6(_norm(x, expand), expand)
    convolution = layers.DepthwiseConv2D(
        kernel, strides=stride, padding="same", use_bias=False, name=f"{depthwise}_conv"
    )
    x = _relu6(_norm(convolution(x), depthwise), depthwise)
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _norm(x, f"{name}_project")
    if before.shape == x.shape:
        return layers.Add(name=f"{name}_add")([before, x])
    return x


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)


def _relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.ReLU(6.0, name=f"{name}_relu")(x)
