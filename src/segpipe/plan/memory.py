"""The memory that stages need, estimated before they run."""

from dataclasses import dataclass

from segpipe.common.parallel import usable_cores
from segpipe.params.load import Params
from segpipe.plan.cost import Memory
from segpipe.plan.pieces import Pieces
from segpipe.plan.sampled import SampledPictures
from segpipe.plan.shape import Input, typical_size
from segpipe.preprocess.write import DECODED
from segpipe.train.samples import keeps_in_memory

LIBRARIES = 0.9e9  # bytes of Python, TensorFlow and Keras, measured on a CPU
_WORKSPACE = 0.3e9  # more in training: buffers of the libraries, measured on a CPU
_PYTHON = 0.15e9  # bytes of a stage without them
_CHECKED = 10  # bytes a pixel more while fetch checks a sample, measured: it counts the mask's classes


@dataclass(frozen=True)
class Need:
    """The bytes of a stage, and what takes them."""

    stage: str
    bytes: float
    reason: str


def needs(
    sampled: SampledPictures, chosen: Input, pieces: Pieces, network: Memory,
    batch: int, params: Params, available: float,
) -> list[Need]:  # fmt: skip
    """Return the memory of fetch, preprocess, train and evaluate, with batches of `batch` in training.

    `train.in_memory: auto` depends on the bytes that are `available`.
    """
    return [
        _fetch(sampled),
        _preprocess(sampled, chosen),
        _train(pieces, network, batch, params.train.in_memory, available),
        _evaluate(sampled, chosen, network, params.evaluate.batch_size, len(params.data.classes)),
    ]


def _fetch(sampled: SampledPictures) -> Need:
    """Count a picture in each worker, and Python there and in the process that writes."""
    count = min(usable_cores(), sum(sampled.pictures.values()))
    own = sampled.levels.bands * (2 if sampled.deep else 1) + 1
    needed = (count + 1) * _PYTHON + count * sampled.largest * (own + _CHECKED)
    return Need("fetch", needed, f"{count} pictures at once, of {sampled.largest / 1e6:.3g} Mpx")


def _preprocess(sampled: SampledPictures, chosen: Input) -> Need:
    pictures, pixels = sum(sampled.pictures.values()), sampled.largest
    ahead = 4 * usable_cores() + 1
    if chosen.resize == "tiles":
        ahead = max(1, min(ahead, DECODED // pixels)) + 1  # and the one that is being cut
    count = min(ahead, pictures)
    bands = sampled.levels.bands
    scaled = (bands + 1) * min(chosen.factor(typical_size(sampled.sizes)), 2) ** 2
    own = bands * (3 if sampled.deep else 1) + 1  # 16 bits, and their 8
    needed = count * pixels * (own + scaled)
    return Need("preprocess", _PYTHON + needed, f"{count} pictures under way, of {pixels / 1e6:.3g} Mpx")


def _train(pieces: Pieces, network: Memory, batch: int, in_memory: bool | str, available: float) -> Need:
    records = sum(
        pieces.count[split] * (arrays.images[0].nbytes + arrays.masks[0].nbytes)
        for split, arrays in (("train", pieces.training), ("val", pieces.validation))
    )
    held = keeps_in_memory(in_memory, records, available)
    where = "in memory" if held else "read from their shards"
    reason = f"{_size(records)} of samples {where}, batches of {batch}"
    needed = LIBRARIES + _WORKSPACE + records * held + network.training(batch)
    return Need("train", needed, reason)


def _evaluate(
    sampled: SampledPictures, chosen: Input, network: Memory, batch: int, classes: int
) -> Need:
    """Count a few copies of the probabilities, of a row of tiles or of a picture at its own size."""
    inference = LIBRARIES + network.inference(batch)
    if chosen.resize != "tiles":
        needed = 3 * sampled.largest * classes * 4
        return Need("evaluate", inference + needed, f"batches of {batch}, one picture at its own size")
    width = max(width for _, width in sampled.sizes)
    row = chosen.size[0] * width * (chosen.scale + 1) * classes * 4
    return Need("evaluate", inference + 3 * row, f"batches of {batch}, a row of tiles")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
