"""The plan: the params that suit data, machine and minutes, each with its reason."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.common.classes import class_table
from segpipe.common.devices import take_gpus
from segpipe.common.errors import UserError
from segpipe.common.files import read_json
from segpipe.common.quiet import quiet
from segpipe.common.records import Manifest, Tiles
from segpipe.evaluate.params import sizes
from segpipe.model.pretrained import expected_backbone
from segpipe.params.load import Params
from segpipe.plan import rare, shape
from segpipe.plan.look import Look
from segpipe.plan.measure import Timing, measure
from segpipe.plan.memory import Need, needs
from segpipe.plan.pieces import Pieces, cut
from segpipe.plan.schedule import EPOCHS, VALIDATING, Schedule, fitting, has_room
from segpipe.train.engine import current_engine
from segpipe.train.mosaics import MOST_TILES
from segpipe.train.samples import available_memory

_FEW = 4  # passes over the samples
_ENCODER = Path("data/encoder/encoder.json")


@dataclass(frozen=True)
class Row:
    """A param: its value now, the proposed one, and why."""

    key: str
    now: Any
    proposed: Any
    reason: str


@dataclass(frozen=True)
class Plan:
    """Params for some minutes, and what the run will take."""

    rows: list[Row]
    needs: list[Need]
    schedule: Schedule
    before: float  # seconds until training begins
    device: str

    def changes(self) -> dict[str, Any]:
        """Return the proposed params as nested sections."""
        nested: dict[str, Any] = {}
        for row in self.rows:
            *sections, last = row.key.split(".")
            section = nested
            for name in sections:
                section = section.setdefault(name, {})
            section[last] = row.proposed
        return nested


def plan(look: Look, params: Params, minutes: float, importing: float) -> Plan:
    """Plan a run of some minutes; `importing` is how many seconds the libraries take to start.

    Raises UserError where the minutes are too few, the params have a second phase, or the proposed input
    does not go with the scales of `evaluate`.
    """
    if params.train.fine_tuning.epochs:
        raise UserError("a plan has one phase of training; set train.fine_tuning.epochs to 0")
    data, names = params.data, [row.name for row in params.data.classes]
    picture = shape.typical_size(look.sizes)
    now = shape.Input(data.resize, data.image_size, data.tiles.scale)
    found = shape.propose(look.thickness, picture, now)
    _require_views(found.input, params)
    multiple = params.train.steps_per_execution
    tiles, pieces = _cut(look, found.input, params)
    count = _count(pieces, params)
    batch = _batch(params, count)
    device = _device(params, batch)
    loss = _lovasz_row(params, look)
    timing, network = _measured(params, found.input, tiles, pieces, batch, loss.proposed)

    def fits(times: float) -> bool:
        predicted = _predicted(look, params, tiles, times * pieces.count["val"])
        return has_room(minutes, timing, (times * count, predicted), batch, multiple)

    if (better := shape.finer(found, look.thickness, picture, fits)) != found:
        found = better
        tiles, pieces = _cut(look, found.input, params)
        count = _count(pieces, params)
        if (larger := _batch(params, count)) != batch:
            batch = larger
            timing, network = _measured(params, found.input, tiles, pieces, batch, loss.proposed)
    predicted = _predicted(look, params, tiles, pieces.count["val"])
    schedule = fitting(minutes, timing, predicted, multiple, params.train.warmup_epochs)
    rows = [
        *_input_rows(now, found),
        _sampling_row(params, pieces, look),
        loss,
        Row("train.batch_size", params.train.batch_size, batch, _of_batch(params, batch, count, timing)),
        *_schedule_rows(params, schedule, timing, pieces, batch, count),
        _encoder(params),
    ]
    batches = batch, params.evaluate.batch_size
    needed = needs(
        look, found.input, pieces, network, batches, len(names), params.train.in_memory,
        available_memory(),
    )  # fmt: skip
    return Plan(rows, needed, schedule, importing + timing.build, device)


def _cut(look: Look, chosen: shape.Input, params: Params) -> tuple[Tiles | None, Pieces]:
    """Return how pictures are cut, if they are, and some samples."""
    data, tiles = params.data, None
    if chosen.resize == "tiles":
        tiles = dataclasses.replace(Tiles(**data.tiles.model_dump()), scale=chosen.scale)
    return tiles, cut(look, chosen, tiles, data.bands, len(data.classes), params.train.batch_size)


def _predicted(look: Look, params: Params, tiles: Tiles | None, validated: float) -> float:
    """Return how many samples an epoch ends with: of validation and, for tiles, of previews."""
    previews = params.train.previews
    if not tiles or not previews.every:
        return validated
    of_picture = min(validated / max(look.pictures.get("val", 0), 1), MOST_TILES)
    return validated + of_picture * previews.samples / previews.every


def _count(pieces: Pieces, params: Params) -> int:
    """Return how many samples there are to train on."""
    return min(pieces.count["train"], params.train.samples or pieces.count["train"])


def _batch(params: Params, count: int) -> int:
    """Return the user's batch, or a smaller one where there are fewer samples.

    Raises UserError where these do not go round the devices. Where their number is auto, it follows the
    batch.
    """
    train, own = params.train, params.train.batch_size
    if own <= count:
        return own
    devices = math.prod(number for number in (train.devices, train.hosts) if number != "auto")
    if devices > count:
        raise UserError(
            f"there are {count} training samples for {devices} devices (train.devices = "
            f"{train.devices}, train.hosts = {train.hosts}), and each takes one of a batch at least; "
            "lower them, or add pictures"
        )
    return devices << (max(count // 4 // devices, 1).bit_length() - 1)


def _require_views(chosen: shape.Input, params: Params) -> None:
    """Raise UserError where the scales of `evaluate` come to one size for the input that is proposed."""
    try:
        sizes(chosen.size, params.evaluate.tta.scales)
    except UserError as error:
        raise UserError(
            "evaluate.tta.scales does not go with the proposed data.image_size of "
            f"{_edges(chosen.size)}: {error}; then plan again"
        ) from None


def _device(params: Params, batch: int) -> str:
    """Take the device of the run, and return it in words; a later batch may be the user's own."""
    engine = current_engine()
    take_gpus(engine.gpus(params.train), math.gcd(batch, params.train.batch_size))
    with quiet():  # TensorFlow looks for GPUs
        return engine.prepare(params.train)


def _measured(
    params: Params, chosen: shape.Input, tiles: Tiles | None, pieces: Pieces, batch: int, lovasz: float
) -> tuple[Timing, Any]:
    """Train a little; return timing and the network's memory."""
    data = params.data
    manifest = Manifest(
        Path(), data.source, chosen.size, chosen.resize, class_table(data.classes, data.ignore), {}, [],
        bands=data.bands, tiles=tiles,
    )  # fmt: skip
    backbone = expected_backbone(params.model)
    epochs = max(EPOCHS, params.train.warmup_epochs)
    loss = params.train.loss.model_copy(update={"lovasz": lovasz})
    train = params.train.model_copy(update={"batch_size": batch, "epochs": epochs, "loss": loss})
    arrays = pieces.training, pieces.validation
    return measure(backbone, params.model, train, manifest, *arrays, current_engine())


def _input_rows(now: shape.Input, found: shape.Proposal) -> list[Row]:
    rows = [
        Row("data.resize", now.resize, found.input.resize, found.resize),
        Row("data.image_size", _edges(now.size), _edges(found.input.size), found.size),
    ]
    if found.input.resize == "tiles":
        rows.append(Row("data.tiles.scale", now.scale, found.input.scale, found.scale))
    return rows


def _edges(size: shape.Size) -> int | list[int]:
    return size[0] if size[0] == size[1] else [*size]


def _lovasz_row(params: Params, look: Look) -> Row:
    """Propose whether small classes count as large ones; very rare ones count for nothing."""
    total, now = sum(look.pixels.values()), params.train.loss
    names = enumerate(row.name for row in params.data.classes)
    covered = {name: look.pixels[n] / total for n, name in names if name in look.thickness}
    return Row("train.loss.lovasz", now.lovasz, *rare.lovasz(now, covered))


def _sampling_row(params: Params, pieces: Pieces, look: Look) -> Row:
    names = enumerate(row.name for row in params.data.classes)
    now, held = params.train.sampling, {name: pieces.held[n] for n, name in names if n in look.pixels}
    return Row("train.sampling", now, *rare.sampling(now, held))


def _of_batch(params: Params, batch: int, count: int, timing: Timing) -> str:
    if batch < params.train.batch_size:
        return f"there are {count} training samples"
    return f"a step of training takes {timing.step:.2g} s here"


def _schedule_rows(
    params: Params, found: Schedule, timing: Timing, pieces: Pieces, batch: int, count: int
) -> list[Row]:
    validation = timing.sample * pieces.count["val"]
    if found.epochs < EPOCHS:
        after_each = found.validating / found.epochs
        why = (
            f"validation, previews and checkpoint take {after_each:.2g} s an epoch; those of more "
            f"epochs, over {100 * VALIDATING:.0f} % of the time"
        )
    else:
        why = f"a validation of {pieces.count['val']} samples takes {validation:.2g} s"
    passes = found.passes(batch, count)
    few = "; give more minutes if you can" if passes < _FEW else ""
    rows = [
        Row("train.epochs", params.train.epochs, found.epochs, why),
        Row("train.steps_per_epoch", params.train.steps_per_epoch, found.steps,
            f"fills the time: each of {count} samples is seen {passes:.2g} times{few}"),
    ]  # fmt: skip
    if params.train.max_minutes:
        reason = "the steps fill the time, and do not depend on the machine's load"
        rows.append(Row("train.max_minutes", params.train.max_minutes, 0.0, reason))
    return rows


def _encoder(params: Params) -> Row:
    """Keep the encoder, and say where its weights are."""
    encoder = params.model.encoder
    fetched = read_json(_ENCODER, "fetch_encoder") if _ENCODER.is_file() else {}
    wanted = {"name": encoder.name, "alpha": encoder.alpha, "pretrained": True}
    if encoder.weights == "none":
        where = "its weights start from random (model.encoder.weights)"
    elif encoder.weights != "imagenet":
        where = f"its weights are {encoder.weights}"
        if not Path(encoder.weights).is_file():
            where = f"there is no file {encoder.weights} (model.encoder.weights)"
    elif fetched.items() >= wanted.items():
        where = "its weights are in data/encoder"
    else:
        where = "`dvc repro fetch_encoder` fetches its weights"
    reason = f"your own, since encoders are not compared; {where}"
    return Row("model.encoder.name", encoder.name, encoder.name, reason)
