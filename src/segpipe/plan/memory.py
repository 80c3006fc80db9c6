"""The memory that stages will take, estimated before they run."""

from dataclasses import dataclass

from segpipe.common.parallel import usable_cores
from segpipe.plan.cost import Memory
from segpipe.plan.look import Look, largest
from segpipe.plan.pieces import Pieces
from segpipe.plan.shape import Input, typical_size
from segpipe.preprocess.write import DECODED

LIBRARIES = 0.9e9  # bytes of Python, TensorFlow and Keras, measured on a CPU
_WORKSPACE = 0.3e9  # more in training: buffers of the libraries, measured on a CPU
_PYTHON = 0.15e9  # bytes of a stage without them
_CHECKED = 10  # bytes a pixel more while fetch checks a sample, measured: it counts the mask's classes
_SHARE = 2  # samples are kept in memory where they take at most this part of what is free


@dataclass(frozen=True)
class Need:
    """The bytes of a stage, and what takes them."""

    stage: str
    bytes: float
    reason: str


def needs(
    look: Look, chosen: Input, pieces: Pieces, network: Memory, batches: tuple[int, int],
    classes: int, in_memory: bool | str, available: float,
) -> list[Need]:  # fmt: skip
    """Return what fetch, preprocess, train and evaluate need; `batches` are those of the last two.

    `in_memory` is `train.in_memory`, of which `auto` depends on the bytes that are `available`.
    """
    return [
        _fetch(look),
        _preprocess(look, chosen),
        _train(pieces, network, batches[0], in_memory, available),
        _evaluate(look, chosen, network, batches[1], classes),
    ]


def _fetch(look: Look) -> Need:
    """Count a picture in each worker, and Python there and in the process that writes."""
    pixels = largest(look)
    count = min(usable_cores(), sum(look.pictures.values()))
    own = look.levels.bands * (2 if look.deep else 1) + 1
    needed = (count + 1) * _PYTHON + count * pixels * (own + _CHECKED)
    return Need("fetch", needed, f"{count} pictures at once, of {pixels / 1e6:.3g} Mpx")


def _preprocess(look: Look, chosen: Input) -> Need:
    pictures, pixels = sum(look.pictures.values()), largest(look)
    ahead = 4 * usable_cores() + 1
    if chosen.resize == "tiles":
        ahead = max(1, min(ahead, DECODED // pixels)) + 1  # and the one that is being cut
    count = min(ahead, pictures)
    bands = look.levels.bands
    scaled = (bands + 1) * min(chosen.factor(typical_size(look.sizes)), 2) ** 2
    own = bands * (3 if look.deep else 1) + 1  # 16 bits, and their 8
    needed = count * pixels * (own + scaled)
    return Need("preprocess", _PYTHON + needed, f"{count} pictures under way, of {pixels / 1e6:.3g} Mpx")


def _train(pieces: Pieces, network: Memory, batch: int, in_memory: bool | str, available: float) -> Need:
    records = sum(
        pieces.count[split] * (one.images[0].nbytes + one.masks[0].nbytes)
        for split, one in (("train", pieces.training), ("val", pieces.validation))
    )
    held = _SHARE * records <= available if in_memory == "auto" else bool(in_memory)
    where = "in memory" if held else "read from their shards"
    said = f"{_size(records)} of samples {where}, batches of {batch}"
    needed = LIBRARIES + _WORKSPACE + records * held + network.training(batch)
    return Need("train", needed, said)


def _evaluate(look: Look, chosen: Input, network: Memory, batch: int, classes: int) -> Need:
    """Count a few copies of the probabilities, of a row of tiles or of a picture at its own size."""
    inference = LIBRARIES + network.inference(batch)
    if chosen.resize != "tiles":
        needed = 3 * largest(look) * classes * 4
        return Need("evaluate", inference + needed, f"batches of {batch}, one picture at its own size")
    width = max(width for _, width in look.sizes)
    row = chosen.size[0] * width * (chosen.scale + 1) * classes * 4
    return Need("evaluate", inference + 3 * row, f"batches of {batch}, a row of tiles")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
