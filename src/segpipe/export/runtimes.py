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

    file: str
    """The file's name; empty where the export is a folder."""
    batch: int | None
    """Images a call; None: any number."""
    logits: str
    """The output's type."""
    packages: tuple[str, ...]
    """Modules that it imports beyond segpipe's own requirements."""
    write: Callable[[keras.Model, dict[str, Any], Images, Path], None]
    """Write a model and its card to a path."""
    load: Callable[[Path, int], Predict]
    """Load what was written in its own runtime, to run on so many threads."""

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


FORMATS: dict[str, Format] = {
    "savedmodel": Format("", None, "float32", (), savedmodel.write, savedmodel.load),
    "tflite": Format("model.tflite", 1, "float32", ("ai_edge_litert",), tflite.write, tflite.load),
    "tflite-int8": Format(
        "model.tflite", 1, "int8", ("ai_edge_litert",), tflite.write_int8, tflite.load
    ),
    "onnx": Format(
        "model.onnx", None, "float32", ("onnx", "onnxruntime", "tf2onnx"), onnx.write, onnx.load
    ),
}
