"""The card in a model's file: how the model was made and what it is for.

In a `.keras` archive, and in the archive at the end of a `.tflite` file, the card is a member; in a
SavedModel it is a file beside the graph, in an ONNX model a property. Reading it needs neither Keras nor
the export's runtime.
"""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from segpipe.common import __version__
from segpipe.common.errors import UserError, brief

MODEL = Path("models/model.keras")
CARD = "segpipe.json"
MODEL_CARD = "MODEL_CARD.md"  # for people and hubs, beside an export
CARD_FORMAT = 4  # raised when an older segpipe would misread the card, or misuse the network
_WITHOUT_TILES, _WITHOUT_BANDS = 3, 2  # the formats before; networks of 2 see RGB of 8 bits
_READ = (_WITHOUT_BANDS, _WITHOUT_TILES, CARD_FORMAT)
SAVED_MODEL_CARD = Path("assets.extra", CARD)  # `assets.extra` is for files that the graph does not read
UNREADABLE = (
    OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What readers of zip archives and HDF5 raise at a file of another kind, or at one that is damaged."""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip archive can hold


def read_card(path: Path) -> dict[str, Any]:
    """Return the card of a model or of an export.

    Raises a UserError where there is no such file, or another program or version saved it.
    """
    try:
        card = json.loads(_card_text(path))
        saved_by, format_ = card["segpipe"], card.get("format", 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `dvc repro train` writes {MODEL}") from None
    except UNREADABLE as error:
        raise UserError(f"{path}: not a model that segpipe saved ({brief(error)})") from None
    if format_ not in _READ:
        raise UserError(
            f"{path}: saved by segpipe {saved_by} with a card of format {format_!r}, and this is "
            f"segpipe {__version__}, which reads formats {_READ[0]} to {_READ[-1]}; train it again, or "
            f"use it with segpipe {saved_by}"
        )
    return {"bands": "rgb", "intensity": None} | card if format_ == _WITHOUT_BANDS else card


def write_member(archive: zipfile.ZipFile, name: str, content: str | bytes) -> None:
    """Add a member to an archive, without today's date."""
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)


def _card_text(path: Path) -> str | bytes:
    if (path / SAVED_MODEL_CARD).is_file():
        return (path / SAVED_MODEL_CARD).read_bytes()
    if path.is_dir():
        raise ValueError(f"it lacks {SAVED_MODEL_CARD}, where segpipe writes classes and sizes")
    if path.suffix == ".onnx":
        properties = _onnx_properties(path.read_bytes())
        if CARD not in properties:
            raise ValueError(f"it lacks the property {CARD}, where segpipe writes classes and sizes")
        return properties[CARD]
    with zipfile.ZipFile(path) as archive:
        return archive.read(CARD)


def _onnx_properties(content: bytes) -> dict[str, str]:
    """Return the properties of a serialised ModelProto, read as a message with no other field.

    Source of the field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    """
    from google.protobuf.message import DecodeError

    from segpipe.common.protobuf import message_class

    model = message_class("Model", """
        message_type { name: "Property" field { name: "key" number: 1 type: TYPE_STRING }
          field { name: "value" number: 2 type: TYPE_STRING } }
        message_type { name: "Model" field { name: "metadata_props" number: 14 type: TYPE_MESSAGE
          label: LABEL_REPEATED type_name: ".segpipe.Property" } }
    """)  # fmt: skip
    try:
        return {p.key: p.value for p in model.FromString(content).metadata_props}
    except DecodeError as error:
        raise ValueError(f"no ONNX: {error}") from None
