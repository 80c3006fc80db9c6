"""The model in other formats, each proven on the test split in its own runtime."""

import enum


class ExportFormat(str, enum.Enum):
    """The formats, as params and the command line name them."""

    SAVEDMODEL = "savedmodel"
    TFLITE = "tflite"
    TFLITE_INT8 = "tflite-int8"
    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
