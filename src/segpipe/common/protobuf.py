"""Protocol buffer messages without generated code, and so without TensorFlow or ONNX."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format


def message_class(name: str, messages: str) -> Any:
    """Return the class of the message `name`, in a pool of its own, apart from TensorFlow's.

    `messages` holds the `message_type` entries of a FileDescriptorProto in protobuf's text format, which
    name each other as `.segpipe.NAME`.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="segpipe", syntax="proto3")
    text_format.Merge(messages, file)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"segpipe.{name}"))
