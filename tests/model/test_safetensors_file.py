"""Files in the format safetensors: read by hand, so checked by hand."""

import json

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


def framed(header, tensors=b""):
    """A file with a header written by hand."""
    return len(header).to_bytes(8, "little") + header + tensors


NUMBERS = np.arange(6, dtype="<f4").tobytes()  # 24 bytes


@pytest.mark.parametrize(
    "offsets",
    [[[-8, 24], [24, 24]], [[0, 2400], [2400, 2400]], [[16, 8], [8, 24]], [[0, 16], [8, 24]],
     [[0, 8], [16, 24]], [[8, 16], [16, 24]], [[0, 8], [8, 16]]],
    ids=["below 0", "behind the end", "backwards", "twice the same bytes", "a hole", "a hole before",
         "bytes left over"],
)  # fmt: skip
def test_bytes_that_are_not_one_tensors_alone_are_refused(path, offsets):
    """Each number belongs to one tensor: otherwise wrong ones would be read without a word."""
    tensors = {
        name: {"dtype": "F32", "shape": [max(end - begin, 0) // 4], "data_offsets": [begin, end]}
        for name, (begin, end) in zip("ab", offsets, strict=True)
    }
    message = refused(path, framed(json.dumps(tensors).encode(), NUMBERS))
    assert "its tensors do not lie one behind the other in its 24 bytes" in message


def test_a_tensor_that_is_named_twice_is_refused(path):
    one = b'"x":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}'
    assert "it names x twice" in refused(path, framed(b"{" + one + b"," + one + b"}", NUMBERS))


def test_tensors_in_any_order_and_without_numbers_are_read(path):
    header = (
        b'{"b":{"dtype":"F32","shape":[2],"data_offsets":[16,24]},'
        b'"none":{"dtype":"F32","shape":[0,3],"data_offsets":[16,16]},'
        b'"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    )
    path.write_bytes(framed(header, NUMBERS))
    found = {name: array.tolist() for name, array in read_safetensors(path).items()}
    assert found == {"b": [4, 5], "none": [], "a": [0, 1, 2, 3]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no header", ""),
        ((1 << 60).to_bytes(8, "little") + b"{}", "its header is cut short"),
        (framed(b"[]"), "its header is no table of tensors"),
        (framed(b'{"x":1}'), "its header is no table of tensors"),
        (framed(b'{"x":[1]}'), "its header is no table of tensors"),
        (safetensors(TENSORS, half={"dtype": "BF16"}), "numbers of type BF16, expected F32, F16, I64"),
        (safetensors(TENSORS, half={"dtype": ["F32"]}), "its header is no table of tensors"),
        (safetensors(TENSORS, matrix={"shape": [2, 4]}), "matrix has 24 bytes, and its shape 32"),
        (safetensors(TENSORS, matrix={"shape": [-1]}), "its header is no table of tensors"),
        (safetensors(TENSORS, matrix={"shape": [6.0]}), "its header is no table of tensors"),
        (safetensors(TENSORS, matrix={"data_offsets": [0, 20]}), "its tensors do not lie one behind"),
        (safetensors(TENSORS, half={"color": 1}), "its header is no table of tensors"),
    ],
    ids=[
        "text", "a header longer than the file", "a list", "a number for a tensor",
        "a list for a tensor", "another type", "a type that is no word", "another shape",
        "a shape below 0", "a shape of fractions", "too few bytes", "an unknown key",
    ],
)  # fmt: skip
def test_another_file_is_refused(path, content, words):
    assert words in refused(path, content)
