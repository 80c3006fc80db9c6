"""MiT-B0, the encoder of SegFormer."""

import numpy as np

from segpipe.model.backbone import backbone


def test_it_has_as_many_parameters_as_published():
    """3,319,392: those of the encoder in Hugging Face's `nvidia/mit-b0`, counted by hand from the paper.

    A stage of C channels, the last one having I, a first kernel of K and a reduction of R has
    I C K^2 + C in the patches, 2 C in each norm, and in each of two blocks 4 C^2 + 4 C in attention,
    C^2 R^2 + C in the reduction and 8 C^2 + 45 C in the feed-forward network (4 C (9 + 1) of it in the
    depthwise convolution, 5 C of biases).
    """
    count, before = 0, 3
    for kernel, channels, reduction in ((7, 32, 8), (3, 64, 4), (3, 160, 2), (3, 256, 1)):
        block = 12 * channels**2 + 49 * channels + 2 * 2 * channels
        if reduction > 1:
            block += channels**2 * reduction**2 + channels + 2 * channels
        count += before * channels * kernel**2 + channels + 2 * channels + 2 * block + 2 * channels
        before = channels
    assert backbone("mit_b0", (32, 32)).count_params() == count == 3_319_392


def test_far_pixels_change_every_position_of_the_finest_map(rng):
    """Convolutions alone would reach 40 px there; attention sees the whole picture."""
    network = backbone("mit_b0", (256, 32))
    finest = network.get_layer("stage1_norm").output
    finest = type(network)(network.input, finest)
    image = rng.standard_normal((1, 256, 32, 3)).astype(np.float32)
    other = image.copy()
    other[:, -16:] += 1
    changed = (finest.predict_on_batch(image) != finest.predict_on_batch(other)).any(-1)
    assert changed.all()
