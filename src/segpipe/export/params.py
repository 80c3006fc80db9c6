"""The params of `export`."""

from typing import Literal

from segpipe.common.fields import Count, Name, Part, Section
from segpipe.export import ExportFormat

WholeFormat = Literal["savedmodel", "tflite", "onnx", "onnx-int8"]
"""The formats that can hold the whole predictor."""


class ExportParams(Section):
    """The model in other formats."""

    max_drop: Part  # how much mean IoU at original size an export may lose
    calibration_samples: Count  # training images from which the int8 formats learn their ranges
    formats: tuple[ExportFormat, ...]  # those that `dvc repro` makes
    whole: tuple[WholeFormat, ...]  # those that hold the whole predictor
    licence: Name  # of the model, as model hubs call it
