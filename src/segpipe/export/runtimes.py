"""The table of formats: how each is written, and loaded in its own runtime."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from segpipe.common.errors import UserError
from segpipe.evaluate.masks import Predict
from segpipe.export import onnx, savedmodel, tflite
from segpipe.export.signature import Images


@dataclass(frozen=True)
class Format:
    """How one format is written and loaded."""

    file: str  # the file's name; empty where the export is a folder
    batch: int | None  # images a call; None for any number
    logits: str  # the output's type
    packages: tuple[str, ...]  # modules that it imports beyond segpipe's own requirements
    write: Callable[[keras.Model, dict[str, Any], Images, Path], None]  # writes the model and its card
    load: Callable[[Path, int], Predict]  # opens an export in its own runtime, on a number of threads

    def check(self, target: Path) -> None:
        """Raise a UserError where the export cannot be made, or must not replace `target`."""
        suffix = Path(self.file).suffix
        if suffix and target.suffix != suffix:
            raise UserError(f"{target}: expected a name that ends in {suffix}")
        if not self._may_replace(target):
            raise UserError(f"{target}: is something else than an export; name another path")
        for package in self.packages:
            try:
                importlib.import_module(package)
            except ImportError:
                raise UserError(
                    f"{package} is not installed; in the clone of segpipe, "
                    "`pip install -e '.[export]'` brings what exports need"
                ) from None

    def _may_replace(self, target: Path) -> bool:
        if self.file or not target.is_dir():
            return not target.exists() or (target.is_file() and bool(self.file))
        return (target / "saved_model.pb").is_file() or not any(target.iterdir())


_LITERT, _ONNX = ("ai_edge_litert",), ("onnx", "onnxruntime", "tf2onnx")

FORMATS: dict[str, Format] = {
    "savedmodel": Format("", None, "float32", (), savedmodel.write, savedmodel.load),
    "tflite": Format("model.tflite", 1, "float32", _LITERT, tflite.write, tflite.load),
    "tflite-int8": Format("model.tflite", 1, "int8", _LITERT, tflite.write_int8, tflite.load),
    "onnx": Format("model.onnx", None, "float32", _ONNX, onnx.write, onnx.load),
}
