"""PyTorch's checkpoints without PyTorch: tensors are what they were, and nothing in a file can run."""

import pickle
import re
import resource
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from tensor_files import torch_envelope, torch_legacy

from segpipe.common.errors import UserError
from segpipe.model.torch_file import _Unpickler, read_torch

NUMBERS = np.arange(12, dtype=np.float32)
COUNTS = np.array([7, 8], np.int64)
TENSORS = {
    "rows": ("a", NUMBERS, 0, (3, 4), (4, 1)),
    "transposed": ("a", NUMBERS, 0, (4, 3), (1, 4)),
    "last row": ("a", NUMBERS, 8, (4,), (1,)),
    "scalar": ("b", COUNTS, 1, (), ()),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "given.pth"


def refused(path, content):
    """The error about a file, in one line that names the file."""
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_torch(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_tensor_is_a_view_of_its_storage_by_offset_shape_and_strides(path):
    path.write_bytes(torch_legacy(TENSORS))
    found = read_torch(path)
    assert list(found) == list(TENSORS)
    np.testing.assert_array_equal(found["rows"], [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    np.testing.assert_array_equal(found["transposed"], found["rows"].T)
    np.testing.assert_array_equal(found["last row"], [8, 9, 10, 11])
    assert (found["scalar"].shape, found["scalar"].dtype, int(found["scalar"])) == ((), np.int64, 8)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (4, 4), (4, 1)), (9, (4,), (1,)), (0, (4,), (4,)), (0, (4,), (-1,)), (-1, (4,), (1,))],
)
def test_a_view_that_reaches_beyond_its_storage_is_refused(path, offset, shape, strides):
    assert "damaged" in refused(path, torch_legacy({"x": ("a", NUMBERS, offset, shape, strides)}))


class Runs:
    """Pickled, it calls a function with an argument when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(marker):
    """Pickles that would make the file `marker`, or reach further into the process."""
    import os
    import subprocess

    command = f"open({str(marker)!r}, 'w')"
    yield from (
        pickle.dumps(Runs(function, argument), protocol)[:-1]
        for protocol in (2, 4)
        for function, argument in (
            (os.system, f"touch {marker}"), (eval, command), (exec, command), (open, str(marker)),
            (subprocess.Popen, ["touch", str(marker)]), (__import__, "antigravity"),
            (getattr, (marker, "touch")),
        )
    )  # fmt: skip
    evaluated = b"(" + f"V{command}\n".encode() + b"tR"
    for name in (
        b"torch\nload", b"torch._utils\n_rebuild_tensor", b"torch\nFloatStorage.__class__",
        b"collections\nOrderedDict.fromkeys", b"collections\nnamedtuple", b"builtins\neval",
        b"numpy\nload", b"segpipe.model.torch_file\n_Unpickler",
    ):  # fmt: skip
        yield b"\x80\x04c" + name + b"\n" + evaluated
    yield b"c__builtin__\neval\n" + evaluated
    yield b"(V" + command.encode() + b"\ni__builtin__\neval\n"


def test_no_code_of_a_file_runs(path, tmp_path):
    """Wherever a pickle stands: in place of the magic number, of the tensors, of the keys."""
    marker, seen = tmp_path / "it_ran", 0
    for attack in attacks(marker):
        at_keys = torch_legacy({})[: -len(pickle.dumps([], 2))]
        for content in (attack + b".", torch_envelope(attack), at_keys + attack + b"."):
            message = refused(path, content)
            assert re.search(r"it asks for [\w.]+|it has the opcode \w+", message), message
            assert not marker.exists()
            seen += 1
    assert seen == 3 * 24


def test_a_pickle_cannot_change_what_its_names_stand_for(path):
    """The opcode BUILD sets attributes: those of a class or a function would last for all files."""
    for name in (
        b"collections\nOrderedDict",
        b"torch._utils\n_rebuild_tensor_v2",
        b"torch\nFloatStorage",
    ):
        for state in (b"}X\x05\x00\x00\x00ownedK\x01s", b"N}X\x05\x00\x00\x00ownedK\x01s\x86"):
            message = refused(path, torch_envelope(b"c" + name + b"\n" + state + b"b"))
            assert "it sets attributes of something else than a dictionary" in message
    assert not vars(_Unpickler._view)


def test_a_file_cut_short_anywhere_is_refused(path):
    content = torch_legacy(TENSORS)
    for length in range(len(content)):
        refused(path, content[:length])


def test_a_changed_byte_makes_no_other_error_than_one_line(path):
    """In the storages it makes another number, which nothing in this format can tell."""
    content = torch_legacy(TENSORS)
    storages = len(NUMBERS.tobytes()) + len(COUNTS.tobytes()) + 2 * 8
    told = 0
    for place in range(len(content) - storages):
        for bit in (1, 0x10, 0x80):
            changed = bytearray(content)
            changed[place] ^= bit
            path.write_bytes(changed)
            try:
                read_torch(path)
            except UserError as error:
                assert "\n" not in str(error)
                told += 1
    assert told > len(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        torch_envelope(b"}", magic=1) + pickle.dumps([], 2),
        torch_envelope(b"}", little_endian=False) + pickle.dumps([], 2),
        torch_envelope(b"]"),
        torch_envelope(b"}X\x01\x00\x00\x00aK\x01s") + pickle.dumps([], 2),
        torch_legacy(TENSORS, keys=["a", "c"]),
        torch_legacy(TENSORS, keys=["b", "a"]),
        torch_legacy(TENSORS, keys=["a"]),
        torch_legacy(TENSORS).replace(b"NtQ", b"K\x01tQ"),
    ],
    ids=[
        "empty", "text", "another magic number", "big-endian", "a list", "a number for a tensor",
        "a storage of no tensor", "storages in another order", "a storage is missing",
        "a storage in a storage",
    ],
)  # fmt: skip
def test_another_file_is_refused(path, content):
    assert "not a PyTorch checkpoint of plain tensors, or a damaged one" in refused(path, content)


def test_a_large_index_takes_no_memory(path):
    """C's unpickler makes room for all values up to it: here for 2**25 of them."""
    path.write_bytes(torch_envelope(b"}r\xff\xff\xff\x01") + pickle.dumps([], 2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_torch(path) == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000


def test_a_large_length_takes_no_memory(path):
    """Eleven bytes that announce 600 MB, for which Python's unpickler makes room before it reads."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refused(path, b"\x80\x05\x96" + (600_000_000).to_bytes(8, "little"))
    assert "it has the opcode BYTEARRAY8, which a state dict never has" in message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000


def test_an_ordered_dictionary_may_have_attributes_which_are_not_read(path):
    """PyTorch's state dicts are such ones, with `_metadata`."""
    state = OrderedDict()
    state._metadata = {"version": 1}
    path.write_bytes(torch_envelope(pickle.dumps(state, 2)[2:-1]) + pickle.dumps([], 2))
    assert read_torch(path) == {}


def test_the_newer_format_is_refused_with_what_to_save_instead(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    with pytest.raises(UserError, match=r"zip format of PyTorch 1\.6 .* as \.safetensors"):
        read_torch(path)


def test_the_checkpoint_of_lite0_has_the_parameters_that_are_known(lite0_weights):
    """With the statistics of BatchNorm; its 49 counters are no parameters."""
    found = read_torch(lite0_weights)
    sizes = {name: array.size for name, array in found.items()}
    counters = [name for name in sizes if name.endswith("num_batches_tracked")]
    assert (len(found), len(counters)) == (296, 49)
    assert sum(sizes.values()) - len(counters) == 4_694_024
