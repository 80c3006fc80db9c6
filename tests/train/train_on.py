"""Train small networks with JAX on so many devices: `python train_on.py NUMBER OUTPUT < cases.json`.

A case has `samples`, how many, `train`, changes of that section, and `weights` of the classes. The
output, an archive, has of each the history, the weights at the end and what was previewed, by its name.
"""

import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers
from test_training import train, with_changes

from segpipe.model.encoders import ENCODERS
from segpipe.model.params import ModelParams
from segpipe.model.unet import unet
from segpipe.train.engine import current_engine
from segpipe.train.samples import Arrays


def pictures(count: int) -> Arrays:
    """Of 2 classes; in the first half of them hardly a pixel counts."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    masks = (images[..., 0] > 127).astype(np.uint8)
    masks[: count // 2, 3:] = 255
    return Arrays(images, masks, [f"photo {n}" for n in range(count)])


def small_network(params: ModelParams) -> keras.Model:
    """A U-Net on an encoder of three convolutions, which compiles in a moment."""
    keras.utils.set_random_seed(0)
    outputs = [keras.Input((32, 32, 3))]
    for _ in range(3):
        x = layers.Conv2D(8, 3, strides=2, padding="same")(outputs[-1])
        outputs.append(layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x)))
    encoder = keras.Model(outputs[0], outputs[1:], name="encoder")
    return unet(encoder, ENCODERS["mobilenet_v2"].scaling, params.decoder, 2)


def results(case: dict, number: int, folder: Path) -> dict[str, np.ndarray]:
    """Train on, from where `folder` has got to."""
    params = with_changes(levels=2, **case["train"], devices=number)
    section = params.train.model_copy(update={"class_weights": case["weights"]})
    params = params.model_copy(update={"train": section})
    drawn: list[np.ndarray] = []
    network, progress = train(
        pictures(case["samples"]),
        folder,
        params,
        lambda epoch, masks: drawn.append(masks),
        small_network(params.model),
    )
    copies = copies_of(network.trainable_variables[0])
    history = [[row[name] for name in sorted(row)] for row in progress.history]
    found = {f"weights {n}": weights for n, weights in enumerate(network.get_weights())}
    return {
        "history": np.array(history),
        "previews": np.array(drawn),
        "copies": np.array(copies),
        **found,
    }


def copies_of(variable: keras.Variable) -> int:
    """On how many devices a variable lies."""
    return len(variable.value.devices())


def main() -> None:
    """Run the cases; those that say `again` go back to their first epoch then, and on from there."""
    number, output = int(sys.argv[1]), Path(sys.argv[2])
    cases, found = json.load(sys.stdin), {}
    print(current_engine().prepare(with_changes(devices=number).train))
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            first = results(case, number, Path(folder))
            if case.get("again"):
                (Path(folder) / "run/epoch-0002.npz").unlink()
                first = results(case, number, Path(folder))
        found |= {f"{name} {key}": value for key, value in first.items()}
    np.savez(output, **found)


if __name__ == "__main__":
    main()
