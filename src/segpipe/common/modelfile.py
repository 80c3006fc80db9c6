"""A model's file, seen from outside: each holds a card, which says what made it and what it is for.

In a `.keras` archive, and in the archive at the end of a `.tflite` file, the card is a member; a
SavedModel's is a file beside the graph, an ONNX model's a property. Reading it takes neither Keras nor
the export's runtime.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from segpipe.common import __version__
from segpipe.common.errors import UserError, brief

CARD = "segpipe.json"
CARD_FORMAT = 2
"""Counts up when what the card says, or how the network wants its images, changes."""

SAVED_MODEL_CARD = Path("assets.extra", CARD)
"""Inside a SavedModel, where its format has what the graph does not read."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip archive can hold


def read_card(path: Path) -> dict[str, Any]:
    """The card of a model or of an export.

    Raises:
        UserError: there is no such file, segpipe did not save it, or another version of it did.
    """
    try:
        card = json.loads(_card_text(path))
        saved_by, found = card["segpipe"], card.get("format", 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dvc repro train` writes models/model.keras") from None
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path}: not a model that segpipe saved ({brief(error)})") from None
    if found != CARD_FORMAT:
        raise UserError(
            f"{path}: saved by segpipe {saved_by} with a card of format {found}, and this is segpipe "
            f"{__version__}, which reads format {CARD_FORMAT}; train it again, or use it with "
            f"segpipe {saved_by}"
        )
    return card


def write_member(archive: zipfile.ZipFile, name: str, content: str | bytes) -> None:
    """Add a member to an archive without the date of today."""
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)


def _card_text(path: Path) -> str | bytes:
    if (path / SAVED_MODEL_CARD).is_file():
        return (path / SAVED_MODEL_CARD).read_bytes()
    if path.suffix == ".onnx":
        return _onnx_properties(path.read_bytes())[CARD]
    with zipfile.ZipFile(path) as archive:
        return archive.read(CARD)


def _onnx_properties(content: bytes) -> dict[str, str]:
    """The properties of a serialised ModelProto, read as a message that has nothing else.

    Source of the numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="onnx.proto", package="segpipe", syntax="proto3")
    entry = file.message_type.add(name="Property")
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, label=kind.LABEL_OPTIONAL, type=kind.TYPE_STRING)
    file.message_type.add(name="Model").field.add(
        name="metadata_props", number=14, label=kind.LABEL_REPEATED,
        type=kind.TYPE_MESSAGE, type_name=".segpipe.Property",
    )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    model = message_factory.GetMessageClass(pool.FindMessageTypeByName("segpipe.Model"))
    try:
        return {p.key: p.value for p in model.FromString(content).metadata_props}
    except message.DecodeError as error:
        raise ValueError(f"no ONNX: {error}") from None
