"""Files in the format safetensors: read by hand, so checked by hand."""

import numpy as np
import pytest
from tensor_files import safetensors

from segpipe.common.errors import UserError
from segpipe.model.safetensors_file import read_safetensors

TENSORS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([0.5, 1.5], np.float16),
    "counter": np.array(7, np.int64),
}
BY_HAND = (
    (61).to_bytes(8, "little")
    + b'{"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}     '
    + b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
)
"""1.0 and -2.0, with the header padded by spaces, as the library does."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "given.safetensors"


def refused(path, content):
    """The error about a file, in one line that names the file."""
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_safetensors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: not a safetensors file, or a damaged one (")
    assert "\n" not in message
    return message


def test_a_file_written_by_hand_holds_its_numbers(path):
    path.write_bytes(BY_HAND)
    (name, found), *others = read_safetensors(path).items()
    assert (name, found.tolist(), others) == ("x", [[1.0, -2.0]], [])


def test_arrays_keep_shape_type_and_numbers(path):
    path.write_bytes(safetensors(TENSORS))
    found = read_safetensors(path)
    assert {*found} == {*TENSORS}
    for name, array in TENSORS.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(found[name], array)


def test_a_file_cut_short_anywhere_is_refused(path):
    content = safetensors(TENSORS)
    for length in range(len(content)):
        refused(path, content[:length])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no header", ""),
        ((1 << 60).to_bytes(8, "little") + b"{}", "its header is cut short"),
        ((2).to_bytes(8, "little") + b"[]", ""),
        ((7).to_bytes(8, "little") + b'{"x":1}', ""),
        (safetensors(TENSORS, half={"dtype": "BF16"}), "numbers of type BF16, expected F32, F16, I64"),
        (safetensors(TENSORS, matrix={"shape": [2, 4]}), ""),
        (safetensors(TENSORS, matrix={"data_offsets": [0, 20]}), ""),
        (safetensors(TENSORS, counter={"data_offsets": [32, 40]}), ""),
        (safetensors(TENSORS, half={"color": 1}), ""),
    ],
    ids=[
        "text", "a header longer than the file", "a list", "a number for a tensor", "another type",
        "another shape", "too few bytes", "bytes behind the end", "an unknown key",
    ],
)  # fmt: skip
def test_another_file_is_refused(path, content, words):
    assert words in refused(path, content)
