"""The formats that a model is exported to."""

import enum


class ExportFormat(str, enum.Enum):
    """Their names, as params and the command line use them."""

    SAVEDMODEL = "savedmodel"
    TFLITE = "tflite"
    TFLITE_INT8 = "tflite-int8"
    ONNX = "onnx"
