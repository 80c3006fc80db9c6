"""The plan: params that suit data, machine and minutes, each with its reason."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.common.classes import class_table
from segpipe.common.devices import take_gpus
from segpipe.common.errors import UserError
from segpipe.common.files import read_json
from segpipe.common.memory import available_memory
from segpipe.common.quiet import quiet
from segpipe.common.records import Manifest, Tiles
from segpipe.evaluate.params import sizes
from segpipe.model.pretrained import expected_backbone
from segpipe.params.load import Params
from segpipe.plan import rare, shape
from segpipe.plan.cost import Memory
from segpipe.plan.measure import Timing, measure
from segpipe.plan.memory import Need, needs
from segpipe.plan.pieces import Pieces, cut
from segpipe.plan.sampled import SampledPictures
from segpipe.plan.schedule import EPOCHS, VALIDATING, Schedule, fitting, has_room
from segpipe.train.engine import current_engine
from segpipe.train.mosaics import MOST_TILES

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


@dataclass(frozen=True)
class _Draft:
    """A proposed input, samples of that input, and what training on them takes."""

    proposal: shape.Proposal
    tiles: Tiles | None  # how pictures are cut, if they are
    pieces: Pieces
    batch: int
    timing: Timing
    network: Memory


def plan(sampled: SampledPictures, params: Params, minutes: float, importing: float) -> Plan:
    """Plan a run of some minutes; `importing` is how many seconds the libraries take to start.

    Raises UserError where the minutes are too few, the params have a second phase, or the proposed input
    does not go with the scales of `evaluate`.
    """
    if params.train.fine_tuning.epochs:
        raise UserError("a plan has one phase of training; set train.fine_tuning.epochs to 0")
    now = shape.Input(params.data.resize, params.data.image_size, params.data.tiles.scale)
    proposal = shape.propose(sampled.thickness, shape.typical_size(sampled.sizes), now)
    _require_views(proposal.input, params)
    tiles, pieces = _cut(sampled, proposal.input, params)
    batch = _batch(params, pieces)
    device = _device(params, batch)
    loss = _lovasz_row(params, sampled)
    measured = _measured(params, proposal.input, tiles, pieces, batch, loss.proposed)
    draft = _Draft(proposal, tiles, pieces, batch, *measured)
    draft = _refined(draft, sampled, params, minutes, loss.proposed)
    validated = _validated(sampled, params, draft.tiles, draft.pieces.count["val"])
    train = params.train
    schedule = fitting(minutes, draft.timing, validated, train.steps_per_execution, train.warmup_epochs)
    rows = [
        *_input_rows(now, draft.proposal),
        _sampling_row(params, draft.pieces, sampled),
        loss,
        _batch_row(params, draft),
        *_schedule_rows(params, schedule, draft),
        _encoder(params),
    ]
    chosen, before = draft.proposal.input, importing + draft.timing.build
    needed = needs(sampled, chosen, draft.pieces, draft.network, draft.batch, params, available_memory())
    return Plan(rows, needed, schedule, before, device)


def _refined(
    draft: _Draft, sampled: SampledPictures, params: Params, minutes: float, lovasz: float
) -> _Draft:
    """Return a draft with tiles of a larger scale, where the minutes have room for their samples."""
    count = _count(params, draft.pieces)

    def fits(times: float) -> bool:
        validated = _validated(sampled, params, draft.tiles, times * draft.pieces.count["val"])
        samples = times * count, validated
        return has_room(minutes, draft.timing, samples, draft.batch, params.train.steps_per_execution)

    picture = shape.typical_size(sampled.sizes)
    proposal = shape.finer(draft.proposal, sampled.thickness, picture, fits)
    if proposal == draft.proposal:
        return draft
    tiles, pieces = _cut(sampled, proposal.input, params)
    batch = _batch(params, pieces)
    measured = draft.timing, draft.network
    if batch != draft.batch:
        measured = _measured(params, proposal.input, tiles, pieces, batch, lovasz)
    return _Draft(proposal, tiles, pieces, batch, *measured)


def _cut(sampled: SampledPictures, chosen: shape.Input, params: Params) -> tuple[Tiles | None, Pieces]:
    """Return how pictures are cut, if they are, and some samples."""
    data, tiles = params.data, None
    if chosen.resize == "tiles":
        tiles = dataclasses.replace(Tiles(**data.tiles.model_dump()), scale=chosen.scale)
    return tiles, cut(sampled, chosen, tiles, data.bands, len(data.classes), params.train.batch_size)


def _validated(
    sampled: SampledPictures, params: Params, tiles: Tiles | None, validation: float
) -> float:
    """Return how many samples are predicted at an epoch's end: validation and, for tiles, previews."""
    previews = params.train.previews
    if not tiles or not previews.every:
        return validation
    tiles_each = min(validation / max(sampled.pictures.get("val", 0), 1), MOST_TILES)
    return validation + tiles_each * previews.samples / previews.every


def _count(params: Params, pieces: Pieces) -> int:
    """Return how many samples there are to train on."""
    return min(pieces.count["train"], params.train.samples or pieces.count["train"])


def _batch(params: Params, pieces: Pieces) -> int:
    """Return the user's batch, or a smaller one where there are fewer samples.

    Raises UserError where there are fewer samples than devices. A number of devices that is auto adapts
    to the batch.
    """
    train, count = params.train, _count(params, pieces)
    if train.batch_size <= count:
        return train.batch_size
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
) -> tuple[Timing, Memory]:
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
    return measure(backbone, params.model, train, manifest, pieces, current_engine())


def _input_rows(now: shape.Input, proposal: shape.Proposal) -> list[Row]:
    chosen = proposal.input
    rows = [
        Row("data.resize", now.resize, chosen.resize, proposal.resize),
        Row("data.image_size", _edges(now.size), _edges(chosen.size), proposal.size),
    ]
    if chosen.resize == "tiles":
        rows.append(Row("data.tiles.scale", now.scale, chosen.scale, proposal.scale))
    return rows


def _edges(size: shape.Size) -> int | list[int]:
    return size[0] if size[0] == size[1] else [*size]


def _lovasz_row(params: Params, sampled: SampledPictures) -> Row:
    """Propose whether small classes count as much as large ones; very rare classes are left out."""
    total, now = sum(sampled.pixels.values()), params.train.loss
    names = enumerate(row.name for row in params.data.classes)
    covered = {name: sampled.pixels[n] / total for n, name in names if name in sampled.thickness}
    return Row("train.loss.lovasz", now.lovasz, *rare.lovasz(now, covered))


def _sampling_row(params: Params, pieces: Pieces, sampled: SampledPictures) -> Row:
    names, now = enumerate(row.name for row in params.data.classes), params.train.sampling
    held = {name: pieces.held[n] for n, name in names if n in sampled.pixels}
    return Row("train.sampling", now, *rare.sampling(now, held))


def _batch_row(params: Params, draft: _Draft) -> Row:
    own = params.train.batch_size
    if draft.batch < own:
        reason = f"there are {_count(params, draft.pieces)} training samples"
    else:
        reason = f"a step of training takes {draft.timing.step:.2g} s here"
    return Row("train.batch_size", own, draft.batch, reason)


def _schedule_rows(params: Params, schedule: Schedule, draft: _Draft) -> list[Row]:
    count, validation = _count(params, draft.pieces), draft.pieces.count["val"]
    seconds = draft.timing.sample * validation
    if schedule.epochs < EPOCHS:
        after_each = schedule.validating / schedule.epochs
        why = (
            f"validation, previews and checkpoint take {after_each:.2g} s an epoch; those of more "
            f"epochs, over {100 * VALIDATING:.0f} % of the time"
        )
    else:
        why = f"a validation of {validation} samples takes {seconds:.2g} s"
    passes = schedule.passes(draft.batch, count)
    few = "; give more minutes if you can" if passes < _FEW else ""
    rows = [
        Row("train.epochs", params.train.epochs, schedule.epochs, why),
        Row("train.steps_per_epoch", params.train.steps_per_epoch, schedule.steps,
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
