"""Fused layers for TensorFlow on a CPU, which fuses little itself: fewer passes over memory."""

import functools
import operator
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

_CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D)


def fused(network: keras.Model) -> keras.Model:
    """Return a faster network for training with the same variables, equal to float tolerance.

    Args:
        network: a functional model of float32 layers, channels last, not compiled, each called once. It
            is the one to save.
    """
    return keras.models.clone_model(
        network, clone_function=lambda layer: layer, call_function=_call, recursive=True
    )


class Fused(layers.Layer):
    """A convolution fused with the concatenation before it and the BatchNorm behind it, if any.

    * The parts of a concatenation are convolved one by one, each with its share of the kernel: nothing
      is copied, and a part from frozen layers needs no gradient.
    * BatchNorm in inference mode is folded into kernel and bias (https://arxiv.org/abs/1712.05877,
      section 3.2); in training it is one operation forward and one back.
    """

    def __init__(self, convolution: Any = None, norm: layers.BatchNormalization | None = None) -> None:
        """Take at least one of the two, which have their variables already."""
        super().__init__(name=norm.name if norm else convolution.name)
        self.convolution, self.norm, self.built = convolution, norm, True

    def call(self, parts: list[tf.Tensor], training: bool = False) -> tf.Tensor:
        """Compute float32 [batch, h', w', C] from parts, float32 [batch, h, w, C_i]."""
        norm = self.norm
        if norm is None:
            return self._convolved(parts)
        if training and norm.trainable:
            return _normalized(self._convolved(parts), norm)
        scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon)
        scale = scale * norm.gamma if norm.scale else scale
        shift = norm.beta - norm.moving_mean * scale if norm.center else -norm.moving_mean * scale
        return self._convolved(parts, scale, shift)

    def _convolved(
        self, parts: list[tf.Tensor], scale: tf.Tensor | None = None, shift: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Convolve; multiply each channel by `scale` and add `shift`."""
        convolution = self.convolution
        if convolution is None:
            return parts[0] if scale is None else parts[0] * scale + shift
        kernel, bias = convolution.kernel, convolution.bias if convolution.use_bias else None
        if scale is not None:
            kernel = kernel * _by_output(convolution, scale)
            bias = shift if bias is None else bias * scale + shift
        kernels = [kernel]
        if len(parts) > 1:
            inputs = 3 if isinstance(convolution, layers.Conv2DTranspose) else 2
            kernels = tf.split(kernel, [part.shape[-1] for part in parts], inputs)
        by_part = [_apply(convolution, part, k) for part, k in zip(parts, kernels, strict=True)]
        x = functools.reduce(operator.add, by_part)
        return x if bias is None else tf.nn.bias_add(x, bias)


def _call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
    """Call a layer of the new network, or a `Fused` of it and of those before it."""
    if type(layer) in _CONVOLUTIONS and layer.activation is keras.activations.linear:
        maker, inputs = _made_by(args[0])
        splits = isinstance(maker, layers.Concatenate) and _takes_parts(layer)
        return Fused(layer)(inputs if splits else [args[0]])
    if type(layer) is layers.BatchNormalization:
        maker, inputs = _made_by(args[0])
        if isinstance(maker, Fused) and maker.norm is None:
            return Fused(maker.convolution, layer)(inputs)
        return Fused(norm=layer)([args[0]])
    return layer(*args, **kwargs)


def _takes_parts(convolution: keras.Layer) -> bool:
    """Return whether each output channel is a sum over all input channels."""
    return isinstance(convolution, layers.Conv2DTranspose) or (
        isinstance(convolution, layers.Conv2D) and convolution.groups == 1
    )


def _made_by(tensor: keras.KerasTensor) -> tuple[keras.Operation, list[keras.KerasTensor]]:
    """Return the operation that made a tensor, and its inputs."""
    history = tensor._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index].input_tensors


def _apply(convolution: keras.Layer, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Apply a convolution with another kernel, and without its bias."""
    options = {"padding": convolution.padding, "dilation_rate": convolution.dilation_rate}
    if isinstance(convolution, layers.Conv2DTranspose):
        options |= {"output_padding": convolution.output_padding}
        return ops.conv_transpose(x, kernel, list(convolution.strides), **options)
    operation = ops.depthwise_conv if isinstance(convolution, layers.DepthwiseConv2D) else ops.conv
    return operation(x, kernel, convolution.strides, **options)


def _by_output(convolution: keras.Layer, channels: tf.Tensor) -> tf.Tensor:
    """Shape one number an output channel so that it broadcasts over the kernel."""
    if isinstance(convolution, layers.DepthwiseConv2D):  # [h, w, inputs, multiplier]
        return tf.reshape(channels, convolution.kernel.shape[2:])
    if isinstance(convolution, layers.Conv2DTranspose):  # [h, w, outputs, inputs]
        return channels[:, None]
    return channels  # [h, w, inputs, outputs]


def _normalized(x: tf.Tensor, norm: layers.BatchNormalization) -> tf.Tensor:
    """Normalize by the statistics of the batch, and update the layer's moving statistics."""
    channels = x.shape[-1]
    gamma = norm.gamma if norm.scale else tf.ones(channels)
    beta = norm.beta if norm.center else tf.zeros(channels)
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=norm.epsilon)
    count = tf.cast(tf.size(x) / channels, tf.float32)
    variance *= (count - 1) / count  # unbiased here, while Keras takes the biased one
    for moving, now in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
        moving.assign(moving * norm.momentum + now * (1 - norm.momentum))
    return y
