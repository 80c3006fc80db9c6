"""The table of formats: how each is written, and loaded in its own runtime."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from segpipe.common.errors import UserError
from segpipe.common.modelfile import MODEL_CARD
from segpipe.evaluate.masks import Predict
from segpipe.export import modelcard, onnx, onnx_int8, savedmodel, tflite
from segpipe.export.signature import Graph, Images, Run


@dataclass(frozen=True)
class Whole:
    """How a format holds a whole predictor."""

    write: Callable[[Graph, dict[str, Any], Images, Path], None]
    load: Callable[[Path, int], Run]
    batch: int | None = None  # pictures a call; None for any number
    real: tf.DType = tf.float64  # the most exact type that the runtime computes with


@dataclass(frozen=True)
class Format:
    """How one format is written and loaded."""

    file: str  # the file's name; empty where the export is a folder
    batch: int | None  # images a call; None for any number
    logits: str  # the output's type
    packages: tuple[str, ...]  # modules that it imports beyond segpipe's own requirements
    write: Callable[[keras.Model, dict[str, Any], Images, Path], None]  # writes the model and its card
    load: Callable[[Path, int], Predict]  # opens an export in its own runtime, on a number of threads
    whole: Whole | None = None  # the same for a whole predictor; None where the format cannot hold one
    exact: bool = True  # whether it must predict as its model does; 8 bits cannot

    def check(self, target: Path, whole: bool) -> None:
        """Raise a UserError where the export cannot be made, or must not replace `target`."""
        if whole and not self.whole:
            raise UserError(
                f"{target}: tflite-int8 computes with integers alone, and so holds the network alone; "
                "export it without --whole"
            )
        suffix = Path(self.file).suffix
        if suffix and target.suffix != suffix:
            raise UserError(f"{target}: expected a name that ends in {suffix}")
        if not self._may_replace(target):
            raise UserError(f"{target}: is something else than an export; name another path")
        modelcard.check_own(self.card(target))
        if other := self._other_export(target):
            raise UserError(
                f"{other} is there already, and {MODEL_CARD} beside it is its card; give {target.name} "
                "a folder of its own"
            )
        for package in self.packages:
            try:
                importlib.import_module(package)
            except ImportError:
                raise UserError(
                    f"{package} is not installed; in the clone of segpipe, "
                    "`pip install -e '.[export]'` brings what exports need"
                ) from None

    def card(self, target: Path) -> Path:
        """Return where the export's MODEL_CARD.md goes: beside a file, or into a folder."""
        return target.with_name(MODEL_CARD) if self.file else target / MODEL_CARD

    def _other_export(self, target: Path) -> Path | None:
        """Return an export whose card that of `target` would replace."""
        if not self.file or not self.card(target).exists():
            return None
        beside = sorted(path for path in target.parent.iterdir() if path.name != target.name)
        return next((path for path in beside if path.suffix in (".onnx", ".tflite", ".pb")), None)

    def _may_replace(self, target: Path) -> bool:
        if self.file or not target.is_dir():
            return not target.exists() or (target.is_file() and bool(self.file))
        return (target / "saved_model.pb").is_file() or not any(target.iterdir())


_LITERT, _ONNX = ("ai_edge_litert",), ("onnx", "onnxruntime", "tf2onnx")

FORMATS: dict[str, Format] = {
    "savedmodel": Format(
        "", None, "float32", (), savedmodel.write, savedmodel.load,
        Whole(savedmodel.write_graph, savedmodel.load_whole),
    ),
    "tflite": Format(
        "model.tflite", 1, "float32", _LITERT, tflite.write, tflite.load,
        Whole(tflite.write_graph, tflite.load_whole, 1, tf.float32),
    ),
    "tflite-int8": Format(
        "model.tflite", 1, "int8", _LITERT, tflite.write_int8, tflite.load, exact=False,
    ),
    "onnx": Format(
        "model.onnx", None, "float32", _ONNX, onnx.write, onnx.load,
        Whole(onnx.write_graph, onnx.load_whole),
    ),
    "onnx-int8": Format(
        "model.onnx", None, "float32", _ONNX, onnx_int8.write, onnx.load,
        Whole(onnx_int8.write_graph, onnx.load_whole, real=tf.float32), exact=False,
    ),
}  # fmt: skip
