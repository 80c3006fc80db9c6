"""Weights of the classes in the loss, from the pixels of the training split alone."""

from collections.abc import Mapping

import numpy as np

from segpipe.common.records import Manifest


def class_weights(wanted: str | Mapping[str, float], manifest: Manifest) -> list[float] | None:
    """Return the weight of each class, in the order of the table; None where all are equal.

    Args:
        wanted: `none`; `balanced`: inverse to the class's share of the pixels
            (https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html);
            `median_frequency`: the median frequency divided by the class's, which is counted in the
            images that hold the class (https://arxiv.org/abs/1411.4734, section 6.3.2); or weights by
            name, 1 where a class is not named.
        manifest: the records; only the training split counts.

    Returns:
        Weights of mean 1 over the pixels for `balanced`; 0 for a class without a pixel.
    """
    if wanted == "none":
        return None
    names = manifest.classes.names
    if not isinstance(wanted, str):
        return [wanted.get(name, 1.0) for name in names]
    training = manifest.splits["train"]
    pixels, around = (
        np.array([training[key][name] for name in names], float)
        for key in ("class_pixels", "pixels_of_images_with_class")
    )
    present = pixels > 0
    weights = np.zeros(len(names))
    if wanted == "balanced":
        weights[present] = pixels.sum() / (present.sum() * pixels[present])
    else:
        frequency = pixels[present] / around[present]
        weights[present] = np.median(frequency) / frequency
    return weights.tolist()
