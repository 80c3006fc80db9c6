"""Commands on a model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from segpipe.cli import tables
from segpipe.common.modelfile import MODEL, read_card
from segpipe.common.quiet import quiet
from segpipe.common.words import extent

if TYPE_CHECKING:
    import keras

    from segpipe.params.load import Params


def info(
    model: Annotated[
        Path | None,
        typer.Argument(help="A model that segpipe saved or exported.", show_default=str(MODEL)),
    ] = None,
) -> None:
    """Show what made a model: scores, classes, params, data, libraries (as YAML).

    Without a file, list the hosts of the Ray cluster before it, if RAY_ADDRESS names one.
    """
    from segpipe.common.profile import KEY, Profile  # takes a moment, for NumPy

    if model is None and "RAY_ADDRESS" in os.environ:
        from segpipe.common import cluster

        with cluster.connected("segpipe info"):
            print(yaml.safe_dump({"hosts": cluster.hosts()}, default_flow_style=None), end="")
        if not MODEL.exists():
            return
    card = read_card(model or MODEL)
    if profile := Profile.of_card(card):
        card |= {KEY: profile.summary()}  # in place of the values of hundreds of pictures
    print(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), end="")


def model(
    layers: Annotated[
        bool, typer.Option("--layers", help="List the encoder's layers and their strides instead.")
    ] = False,
) -> None:
    """Show the cost of the network in params.yaml: size, parameters, MACs, memory.

    Needs no data and downloads no weights.
    """
    from segpipe.params.load import load_params

    params = load_params()
    with quiet():  # takes seconds, for TensorFlow
        from segpipe.common.bands import numbers
        from segpipe.model.pretrained import expected_backbone
        from segpipe.model.unet import assemble, freeze

        backbone = expected_backbone(params.model)
        channels = len(numbers(params.data.bands))
        inner = backbone.architecture(params.data.image_size, channels)
    if layers:
        _print_layers(params, inner)
    else:
        classes = len(params.data.classes)
        network = assemble(backbone, inner, params.model, classes, channels)
        freeze(network, params.train.freeze)
        _print_cost(params, network)


def _print_layers(params: "Params", inner: "keras.Model") -> None:
    from segpipe.model.backbone import strides
    from segpipe.model.encoders import taps

    chosen = taps(params.model.encoder.name, params.model.encoder.layers)
    outputs = {operation.name: operation.output for operation in inner.operations}
    table = tables.table(
        f"Layers of {params.model.encoder.name} (*: those that feed the decoder)",
        "layer", "stride", "output",
    )  # fmt: skip
    for name, stride in strides(inner).items():
        height, width, channels = outputs[name].shape[1:]
        mark = " *" if name in chosen else ""
        table.add_row(name + mark, str(stride), f"{height} x {width} x {channels}")
    tables.show(table)


def _print_cost(params: "Params", network: "keras.Model") -> None:
    from segpipe.common.bands import in_words
    from segpipe.plan import cost

    size, parts, memory = params.data.image_size, cost.parts(network), cost.memory(network)
    print(
        f"{params.model.encoder.name} with the decoder {params.model.decoder.name}, "
        f"{len(params.data.classes)} classes, {extent(size)}, {in_words(params.data.bands, None)}"
    )
    table = tables.table("", "", "output", "stride", "params", "MMAC")
    for part in parts:
        height, width = part.size
        output, stride = f"{height} x {width} x {part.channels}", str(size[0] // height)
        table.add_row(part.name, output, stride, f"{part.params:,}", f"{part.macs / 1e6:,.1f}")
    table.add_section()
    total, macs = sum(part.params for part in parts), sum(part.macs for part in parts)
    table.add_row("total", "", "", f"{total:,}", f"{macs / 1e6:,.1f}")
    tables.show(table)
    trained = cost.count(network.trainable_weights)
    print(f"trainable params: {trained:,}; frozen: {total - trained:,}")
    for use, needed, batch, parts_of_it in (
        ("training", memory.training, params.train.batch_size,
         "activations for the backward pass, weights, gradients, Adam's moments"),
        ("inference", memory.inference, params.evaluate.batch_size,
         "skip connections, the widest layer, weights"),
    ):  # fmt: skip
        print(f"memory for {use} in batches of {batch}: {needed(batch) / 2**30:.2f} GiB ({parts_of_it})")
    print("Both are estimates from the graph's tensors; the libraries' own memory comes on top.")
