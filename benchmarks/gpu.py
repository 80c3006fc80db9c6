"""Training from arrays on one accelerator with Keras on JAX: images a second, and why not more.

Needs no TensorFlow. Networks and step are those of the stage `train`. A cell of the grid is a precision,
a frozen or a trained encoder, and a batch size. For each cell the table shows its shares of the device's
matrix rate and memory bandwidth (the roofline, https://doi.org/10.1145/1498765.1498785), which a large
matrix product and a large copy measure in the same run. Operations are counted in the convolutions as
written, bytes in the compiled step. Steps are sent one after another; unlike `fit`, nothing reads the
loss in between. The last line is the rate of the input without a network.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import argparse
import concurrent.futures
import datetime
import itertools
import math
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import jax
import keras
import numpy as np
from _networks import ROOT, learner, of_recipe
from jax import numpy as jnp

from segpipe.common.files import write_json
from segpipe.params.load import Params
from segpipe.train.engine import POLICIES, Batching, current_engine
from segpipe.train.samples import Arrays

CLASSES, REPEATS = 3, 5
ON_GPU = jax.default_backend() == "gpu"


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    precision: str
    trained: bool
    batch: int


@dataclass(frozen=True)
class Step:
    """A compiled training step."""

    cell: Cell
    run: Any
    state: Any
    operations: float
    moved: float
    """Bytes read from and written to the device's memory."""
    peak: float
    """Peak memory, bytes."""


def main() -> None:
    """Measure the grid, print the table, write it to `benchmarks/results/gpu.json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="tutorial")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=POLICIES)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each timing")
    arguments = parser.parse_args()
    params = of_recipe(arguments.recipe)
    device = jax.devices()[0]
    rates = {precision: matrix_rate(precision) for precision in arguments.precisions}
    bandwidth = copy_rate()
    print(f"{device.device_kind}: {bandwidth / 1e12:.3g} TB/s", end="")
    print("".join(f", {name} {rate / 1e12:.3g} TFLOP/s" for name, rate in rates.items()), flush=True)
    cells = [Cell(*c) for c in itertools.product(rates, (False, True), arguments.batches)]
    made = [(cell, *traced(cell, params, batch_of(cell.batch, arguments.size))) for cell in cells]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        steps = list(pool.map(lambda parts: compiled(*parts), made))
    print("precision encoder   batch   images/s   ms  matrix  memory  peak GB")
    rows = [measured(s, timed(s, arguments.seconds, arguments.size), rates, bandwidth) for s in steps]
    fed = input_rate(params, arguments.batches[-1], arguments.size)
    print(f"the input alone, batches of {arguments.batches[-1]}: {fed:,.0f} images/s")
    result = {
        "device": device.device_kind,
        "recipe": arguments.recipe,
        "size": arguments.size,
        "versions": {"jax": jax.__version__, "keras": keras.__version__},
        "date": datetime.date.today().isoformat(),
        "matrix_rates": rates,
        "memory_rate": bandwidth,
        "input_images_per_second": fed,
        "grid": rows,
    }
    write_json(ROOT / "benchmarks/results/gpu.json", result)


def measured(step: Step, seconds: float, rates: dict[str, float], bandwidth: float) -> dict[str, Any]:
    """Print and return a row of the table, for a step of so many seconds."""
    cell = step.cell
    row = asdict(cell) | {
        "images_per_second": cell.batch / seconds,
        "matrix_share": step.operations / seconds / rates[cell.precision],
        "memory_share": step.moved / seconds / bandwidth,
        "peak_bytes": step.peak,
    }
    print(
        f"{cell.precision:9} {'trained' if cell.trained else 'frozen':7} {cell.batch:7} "
        f"{row['images_per_second']:10,.0f} {1e3 * seconds:6.1f} {row['matrix_share']:6.0%} "
        f"{row['memory_share']:7.0%} {step.peak / 1e9:8.1f}",
        flush=True,
    )
    return row


def traced(cell: Cell, params: Params, batch: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the traced step of a cell for a batch, without class weights, and its initial state."""
    keras.config.set_dtype_policy(POLICIES[cell.precision])
    encoder = params.model.encoder.model_copy(update={"trainable": cell.trained})
    model = params.model.model_copy(update={"encoder": encoder})
    made = learner(params.model_copy(update={"model": model}), batch[1].shape[1:])
    made._symbolic_build(data_batch=batch)
    state = made._get_jax_state(
        trainable_variables=True, non_trainable_variables=True, optimizer_variables=True,
        metrics_variables=True,
    )  # fmt: skip
    return jax.jit(made.train_step, donate_argnums=0).trace(state, batch), state


def batch_of(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random images and masks."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    return images, rng.integers(0, CLASSES, (count, size, size), np.uint8)


def compiled(cell: Cell, step: Any, state: Any) -> Step:
    """Return the compiled step of a cell."""
    run = step.lower().compile()
    memory = run.memory_analysis()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    peak -= memory.alias_size_in_bytes
    moved = run.cost_analysis()["bytes accessed"]
    return Step(cell, run, state, operations(step.jaxpr.jaxpr), moved, peak)


def operations(jaxpr: Any) -> float:
    """Count the multiplications and additions of a traced function's convolutions.

    JAX's own count leaves them out on GPUs.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            (_, kernel), (out,) = equation.invars, equation.outvars
            numbers = equation.params["dimension_numbers"]
            taken = math.prod(kernel.aval.shape) / kernel.aval.shape[numbers.rhs_spec[0]]
            # A transposed convolution puts zeros between the input's pixels, and skips them.
            total += 2 * math.prod(out.aval.shape) * taken / math.prod(equation.params["lhs_dilation"])
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            total += operations(inner) if hasattr(inner, "eqns") else 0
    return total


def timed(step: Step, seconds: float, size: int) -> float:
    """Return the seconds of a step: the median of repeated timings of many steps."""
    batch = jax.device_put(batch_of(step.cell.batch, size))
    state = jax.tree.map(jnp.copy, step.state)  # the step uses its state up

    def take(count: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(count):
            _, state = step.run(state, batch)
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / count

    take(3)
    count = max(3, round(seconds / take(3)))
    return statistics.median(take(count) for _ in range(REPEATS))


def matrix_rate(precision: str) -> float:
    """Return the operations a second of a large matrix product."""
    edge = 8192 if ON_GPU else 1024
    dtype = jnp.float32 if precision == "float32" else precision
    product = jax.jit(lambda a, b: a @ b)
    a = jax.random.normal(jax.random.key(0), (edge, edge), dtype)
    return 2 * edge**3 / fastest(lambda: product(a, a))


def copy_rate() -> float:
    """Return the bytes a second, read and written, of adding a number to a large array."""
    count = 1 << (28 if ON_GPU else 24)
    plus_one = jax.jit(lambda x: x + 1)
    x = jnp.zeros(count, jnp.float32)
    return 8 * count / fastest(lambda: plus_one(x))


def fastest(work: Any) -> float:
    """Return the shortest time of several runs, seconds."""
    times = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - start)
    return min(times)


def input_rate(params: Params, batch: int, size: int, steps: int = 20) -> float:
    """Return the images a second of the input alone, with the recipe's augmentation."""
    images, masks = batch_of(2 * batch, size)
    arrays = Arrays(images, masks, [str(number) for number in range(2 * batch)])
    batches = current_engine().train_batches(
        arrays, range(steps + 2), Batching(batch, 0, params.train.augment)
    )
    jax.block_until_ready([next(batches), next(batches)])
    start = time.perf_counter()
    jax.block_until_ready(list(batches))
    return steps * batch / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
