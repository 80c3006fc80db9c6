"""`segpipe info` where RAY_ADDRESS is set."""

import socket

import pytest
from helpers import error_line, run
from loopback import FIRST, OTHER

pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")


@pytest.mark.slow
def test_info_lists_the_hosts_of_the_cluster(cluster, tmp_path):
    shown = run("segpipe", "info", cwd=tmp_path, **cluster.variables)
    assert shown.stdout == f"hosts:\n  {FIRST}: {{CPU: 1, GPU: 0}}\n  {OTHER}: {{CPU: 1, GPU: 0}}\n"


@pytest.mark.slow
def test_a_silent_cluster_is_an_error_of_one_line(tmp_path):
    with socket.create_server((FIRST, 0)) as silent:
        address = f"{FIRST}:{silent.getsockname()[1]}"
        message = error_line(run("segpipe", "info", cwd=tmp_path, RAY_ADDRESS=address))
    assert message == (
        f"error: segpipe info, but no Ray cluster answers at RAY_ADDRESS = '{address}'; start one "
        "(`ray start --head`), and set RAY_ADDRESS to its address, such as 10.0.0.1:6379\n"
    )
