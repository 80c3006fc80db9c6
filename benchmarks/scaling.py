"""How far more GPUs would go: the bytes that they exchange in a step, against the step's seconds.

    python benchmarks/scaling.py           # writes benchmarks/results/scaling.json, and docs/cluster.md

Data-parallel devices sum the gradients of all trained weights in each step (all-reduce). In a ring
each of n devices sends 2 (n - 1) / n times their bytes (https://doi.org/10.1016/j.jpdc.2008.09.002).
Those bytes are counted in the training step of the first encoder, as XLA compiles it for 2 to 16
virtual CPU devices. The seconds are arithmetic, not a measurement: computing takes the convolutions'
operations at RATE, and the exchange the bytes at the link's bandwidth. Latency is left out, and so is
that both can overlap.
"""

import os

os.environ |= {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_force_host_platform_device_count=16"}

import _bench

import re
from typing import Any

import gpu
import keras
import numpy as np
from _networks import of_recipe
from table import put, row_of

from segpipe.common.nested import changed
from segpipe.model.encoders import doublings
from segpipe.params.load import Params

PAGE = _bench.ROOT / "docs/cluster.md"
ENCODERS = ("mobilenet_v2", "efficientnet_v2_s")
BATCHES = {128: 64, 512: 16}
"""Images a GPU in a step, by their size in pixels."""
RATE = 1e13
"""Operations a second that a GPU is assumed to reach in float32."""
LINKS = {"10 Gb/s": 1.25e9, "100 Gb/s": 1.25e10, "NVLink, 450 GB/s": 4.5e11}
"""Bytes a second that a device sends."""
COUNTS = (2, 8, 64)
COMPILED = (2, 4, 8, 16)
BYTES = {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "pred": 1}


def main() -> None:
    """Count, compare the count with the arithmetic, publish, and write the table."""
    rows, found = [], {}
    for encoder in ENCODERS:
        params = of_encoder(encoder)
        for size, batch in BATCHES.items():
            trained = gradients(params)
            seconds = computing(params, size, batch)
            name = f"{encoder}, {size} px"
            found |= {f"MB exchanged, {name}": trained / 1e6, f"ms computing, {name}": 1e3 * seconds}
            rates = [
                expected(batch / seconds, efficiency(trained, seconds, count, link), count)
                for link in LINKS.values()
                for count in COUNTS
            ]
            rows.append([f"`{encoder}`", f"{size}", f"{batch}", f"{trained / 1e6:.1f}",
                         f"{1e3 * seconds:.0f}", f"{batch / seconds:,.0f}", *rates])  # fmt: skip
    for count in COMPILED:
        found[f"MB summed by {count} devices"] = exchanged(of_encoder(ENCODERS[0]), count) / 1e6
    _bench.publish("scaling", found, {})
    put(PAGE, "scaling", table(rows))


def of_encoder(name: str) -> Params:
    """Return the params of `quick` with another encoder."""
    quick = of_recipe("quick")
    values = {
        "model.encoder.name": name,
        "model.encoder.alpha": 1.0,
        "model.encoder.layers": "default",
        "model.decoder.filters": quick.model.decoder.filters[:1] * doublings(name, "default"),
    }
    return Params.model_validate(changed(quick.model_dump(), values))


def gradients(params: Params) -> int:
    """Return the bytes of all trained weights, which are those of their gradients."""
    _, state = gpu.traced(gpu.Cell("float32", True, 1), params, gpu.batch_of(1, 32))
    return sum(weight.nbytes for weight in state[0])


def computing(params: Params, size: int, batch: int) -> float:
    """Return the seconds of a step on one GPU, by arithmetic."""
    step, _ = gpu.traced(gpu.Cell("float32", True, batch), params, gpu.batch_of(batch, size))
    return gpu.operations(step.jaxpr.jaxpr) / RATE


def efficiency(trained: int, seconds: float, count: int, link: float) -> float:
    """Return images a second on several devices, as a share of so many times those on one."""
    return seconds / (seconds + 2 * (count - 1) / count * trained / link)


def expected(of_one: float, share: float, count: int) -> str:
    """Return images a second on several devices in words, where one computes `of_one`."""
    return f"{count * share * of_one:,.0f} ({share:.0%})"


def exchanged(params: Params, count: int) -> int:
    """Return the bytes that the compiled step sums over so many virtual devices."""
    devices = keras.distribution.list_devices()[:count]
    shared = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    keras.distribution.set_distribution(shared)
    batch = tuple(keras.distribution.distribute_tensor(some, shared.get_data_layout(some.shape))
                  for some in gpu.batch_of(16, 32))  # fmt: skip
    try:
        step, _ = gpu.traced(gpu.Cell("float32", True, 16), params, batch)
        return summed(step.lower().compile().as_text())
    finally:
        keras.distribution.set_distribution(None)


def summed(program: str) -> int:
    """Return the bytes of the results of a compiled program's all-reduces."""
    total = 0
    for result in re.findall(r"= (.*?) all-reduce(?:-start)?\(", program):
        for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", result):
            total += BYTES[dtype] * int(np.prod([int(n) for n in shape.split(",") if n]))
    return total


def table(rows: list[list[Any]]) -> str:
    """Return the table in Markdown."""
    shares = [f"{link}: {n} GPUs" for link in LINKS for n in COUNTS]
    heads = ["encoder", "px", "images a GPU", "gradients, MB", "computing, ms", "1 GPU", *shares]
    return "\n".join([row_of(heads), row_of(["---", *["---:"] * (len(heads) - 1)]), *map(row_of, rows)])


if __name__ == "__main__":
    main()
