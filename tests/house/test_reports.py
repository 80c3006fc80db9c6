"""No library reports to its maker what people do with segpipe."""

import os
import subprocess
import sys

import pytest

OPEN = """
import sys
if "segpipe" in sys.argv:
    import segpipe
import onnxruntime
from onnx import TensorProto, helper
kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
graph = helper.make_graph(
    [helper.make_node("Neg", ["x"], ["y"])], "negated",
    [helper.make_value_info("x", kind)], [helper.make_value_info("y", kind)],
)
model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
"""
# They may switch reports off, or keep them outside of the home directory.
ELSEWHERE = {
    "CI",
    "ORT_DISABLE_TELEMETRY",
    "ORT_RUNNING_UNIT_TESTS",
    "XDG_CACHE_HOME",
    "GITHUB_ACTIONS",
    "TF_BUILD",
}


def files_written(home, *arguments):
    """What ONNX Runtime leaves in the home directory when it opens a model: an identifier, reports."""
    environment = {key: value for key, value in os.environ.items() if key not in ELSEWHERE}
    command = [sys.executable, "-c", OPEN, *arguments]
    subprocess.run(command, env=environment | {"HOME": str(home)}, check=True, timeout=120)
    return [path.name for path in home.rglob("*") if path.is_file()]


@pytest.mark.skipif(sys.platform != "linux", reason="ONNX Runtime keeps its reports elsewhere")
def test_onnx_runtime_prepares_no_report_where_segpipe_is_imported(tmp_path):
    (plain := tmp_path / "plain").mkdir()
    (quiet := tmp_path / "quiet").mkdir()
    if not files_written(plain):
        pytest.skip("this version of ONNX Runtime reports nothing")
    assert files_written(quiet, "segpipe") == []


def test_ray_reports_no_use_unless_the_user_wants_it():
    code = "import os, segpipe; print(os.environ['RAY_USAGE_STATS_ENABLED'])"
    own = {key: value for key, value in os.environ.items() if key != "RAY_USAGE_STATS_ENABLED"}
    for environment, expected in ((own, "0"), (own | {"RAY_USAGE_STATS_ENABLED": "1"}, "1")):
        found = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == expected
