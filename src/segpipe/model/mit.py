"""MiT-B0, the encoder of SegFormer: a transformer that looks at the whole picture at every stage.

`keras.applications` lacks it. Attention compares each position with a coarser map, so that its cost
grows with the square of the map's size over `reduction` squared. The maps keep their shape [batch, h, w,
C]; only attention flattens them.
"""

import keras
from keras import layers

STAGES = ((7, 4, 32, 1, 8), (3, 2, 64, 2, 4), (3, 2, 160, 5, 2), (3, 2, 256, 8, 1))
"""Of each stage: kernel size and stride of its first convolution, channels, heads, reduction."""
BLOCKS = 2  # of each stage
DROPPED = 0.1  # how often the last block's branches are left out of training; the first one's never


def mit_b0(image: keras.KerasTensor) -> keras.Model:
    """Build the network.

    Args:
        image: float input [batch, H, W, C], each channel standardised by ImageNet's mean and deviation.
            H and W are multiples of 32.

    Returns:
        A model with the output [batch, H / 32, W / 32, 256]. The last layers of the four stages, of
        stride 4 to 32, are `stage1_norm` to `stage4_norm`. Source: https://arxiv.org/abs/2105.15203
    """
    x = image
    for stage, (kernel, stride, channels, heads, reduction) in enumerate(STAGES, 1):
        name = f"stage{stage}"
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        x = layers.Conv2D(channels, kernel, strides=stride, name=f"{name}_patches")(x)
        x = _norm(x, f"{name}_patches")
        for number in range(BLOCKS):
            dropped = DROPPED * ((stage - 1) * BLOCKS + number) / (len(STAGES) * BLOCKS - 1)
            block = f"{name}_block{number + 1}"
            x = _residual(x, _attention(x, heads, reduction, block), dropped, f"{block}_attention")
            x = _residual(x, _mixed(x, block), dropped, f"{block}_mix")
        x = _norm(x, name)
    return keras.Model(image, x, name="mit_b0")


def _attention(x: keras.KerasTensor, heads: int, reduction: int, name: str) -> keras.KerasTensor:
    """Let each position look at all positions of a map that is `reduction` times coarser."""
    height, width, channels = x.shape[1:]
    x = seen = _norm(x, f"{name}_attention")
    if reduction > 1:
        seen = layers.Conv2D(channels, reduction, strides=reduction, name=f"{name}_reduce")(x)
        seen = _norm(seen, f"{name}_reduce")
    seen = layers.Reshape((-1, channels), name=f"{name}_keys")(seen)
    queries = layers.Reshape((-1, channels), name=f"{name}_queries")(x)
    attention = layers.MultiHeadAttention(heads, channels // heads, name=f"{name}_attention")
    return layers.Reshape((height, width, channels), name=f"{name}_map")(attention(queries, seen))


def _mixed(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Apply the feed-forward network, whose depthwise convolution tells positions apart."""
    channels = x.shape[-1]
    x = layers.Dense(4 * channels, name=f"{name}_widen")(_norm(x, f"{name}_mix"))
    x = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(x)
    # Approximated by tanh, since the exact GELU is an erfc in TensorFlow, which ONNX lacks.
    x = keras.activations.gelu(x, approximate=True)
    return layers.Dense(channels, name=f"{name}_narrow")(x)


def _residual(
    x: keras.KerasTensor, branch: keras.KerasTensor, dropped: float, name: str
) -> keras.KerasTensor:
    """Add a branch, which training leaves out of some samples: https://arxiv.org/abs/1603.09382."""
    branch = layers.Dropout(dropped, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(branch)
    return layers.Add(name=f"{name}_add")([x, branch])


def _norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(x)
