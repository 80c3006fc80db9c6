"""The tutorial's recipe in plain TensorFlow and Keras, to compare with; it uses nothing of segpipe.

Photographs and masks are decoded, scaled to 128 px (bilinear, nearest), mirrored once, and cached as
float32 in 0..1; batches of 64 come from a shuffled buffer. The network is a frozen MobileNetV2 with the
pix2pix upsampler, trained by Adam on sparse cross-entropy.
Source: https://www.tensorflow.org/tutorials/images/segmentation
"""

from pathlib import Path

import keras
import tensorflow as tf

SIZE, BATCH, CLASSES = 128, 64, 3
TAPS = (
    "block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu",
    "block_16_project",
)  # fmt: skip
FILTERS = (512, 256, 128, 64)


def files(pets: Path, split: str) -> list[tuple[str, str]]:
    """Return the paths of the photographs and masks of a split: `trainval` or `test`."""
    lines = (pets / f"annotations/{split}.txt").read_text(encoding="utf-8").splitlines()
    names = [line.split()[0] for line in lines if line and not line.startswith("#")]
    trimaps = pets / "annotations/trimaps"
    return [(str(pets / f"images/{name}.jpg"), str(trimaps / f"{name}.png")) for name in names]


def load(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode bytes to float32 [128, 128, 3] in 0..1 and a mask [128, 128, 1] of 0, 1, 2."""
    picture = tf.image.resize(tf.io.decode_jpeg(image, channels=3), (SIZE, SIZE))
    truth = tf.image.resize(tf.io.decode_png(mask, channels=1), (SIZE, SIZE), method="nearest")
    return tf.cast(picture, tf.float32) / 255, truth - 1


def load_mirrored(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode as `load` does, and mirror half of the samples."""
    picture, truth = load(image, mask)
    if tf.random.uniform(()) > 0.5:
        picture, truth = tf.image.flip_left_right(picture), tf.image.flip_left_right(truth)
    return picture, truth


def encoded(pairs: list[tuple[str, str]]) -> tf.data.Dataset:
    """Return the files' bytes."""
    paths = tf.data.Dataset.from_tensor_slices(pairs)
    return paths.map(lambda pair: (tf.io.read_file(pair[0]), tf.io.read_file(pair[1])), tf.data.AUTOTUNE)


def loaded(pairs: list[tuple[str, str]]) -> tf.data.Dataset:
    """Return the samples as they are cached."""
    return encoded(pairs).map(load_mirrored, tf.data.AUTOTUNE)


def train_batches(pairs: list[tuple[str, str]]) -> tf.data.Dataset:
    """Return endless batches."""
    return loaded(pairs).cache().shuffle(1000).batch(BATCH).repeat().prefetch(tf.data.AUTOTUNE)


def network(weights: str | None = None) -> keras.Model:
    """Return a compiled model from float images to logits.

    Args:
        weights: a file of MobileNetV2's weights without top; None: random weights.
    """
    encoder = keras.applications.MobileNetV2(
        input_shape=(SIZE, SIZE, 3), include_top=False, weights=weights
    )
    taps = keras.Model(encoder.input, [encoder.get_layer(name).output for name in TAPS])
    taps.trainable = False
    image = keras.Input((SIZE, SIZE, 3))
    *skips, x = taps(image)
    for filters, skip in zip(FILTERS, reversed(skips), strict=True):
        x = doubled(x, filters, use_bias=False)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        x = keras.layers.Concatenate()([x, skip])
    model = keras.Model(image, doubled(x, CLASSES))
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model


def doubled(x: keras.KerasTensor, filters: int, **options: bool) -> keras.KerasTensor:
    """Apply a transposed convolution of stride 2."""
    return keras.layers.Conv2DTranspose(
        filters,
        3,
        strides=2,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(0, 0.02),
        **options,
    )(x)
