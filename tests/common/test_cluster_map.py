"""The map over a Ray cluster: in order, with lost chunks done again, and equal bytes of the stages."""

import pytest
from helpers import make_project, run_stage, set_params

pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")


from segpipe.common import cluster as clusters
from segpipe.common.errors import UserError


@pytest.fixture
def at_cluster(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)


@pytest.mark.slow
def test_a_killed_workers_chunk_is_done_again_and_results_keep_their_order(at_cluster, tmp_path):
    marker = tmp_path / "killed"

    def doubled(number):
        import os
        import signal

        if number == 37 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * number

    found = [*clusters.ordered_map(doubled, range(100), lambda _: 0, "a test")]
    assert marker.exists()
    assert found == [2 * number for number in range(100)]


@pytest.mark.slow
def test_items_are_taken_only_as_they_are_needed_and_an_error_is_the_functions_own(at_cluster):
    """Two processors have two chunks of 16 each under way, one waits, and one is yielded."""

    def failing(number):
        if number == 1000:
            raise UserError("no good")
        return number

    taken = []
    results = clusters.ordered_map(
        failing, (taken.append(n) or n for n in range(2000)), lambda _: 0, "a test"
    )
    next(results)
    assert len(taken) <= (2 * 2 + 1) * 16 + 1
    with pytest.raises(UserError, match=r"^no good$"):
        list(results)


def test_chunks_hold_at_most_16_items_and_32_megabytes_or_one_item():
    weights = [1] * 40 + [20 << 20, 20 << 20, 40 << 20, 1]
    chunks = [len(chunk) for chunk in clusters.chunks(weights, lambda weight: weight)]
    assert chunks == [16, 16, 9, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stretch", "tiles"])
def test_fetch_and_preprocess_write_equal_bytes_on_a_cluster(cluster, tmp_path, how):
    project = make_project(tmp_path / "project", **{"data.resize": how})

    def written(workers):
        set_params(project, {"data.workers": workers})
        for stage in ("fetch", "preprocess"):
            done = run_stage(stage, project, **cluster.variables)
            assert done.returncode == 0, done.stdout + done.stderr
        files = sorted(path for path in (project / "data").rglob("*-*.tfrecord"))
        assert files
        return [path.read_bytes() for path in (*files, project / "data/records/manifest.json")]

    assert written("local") == written("ray")


def test_without_a_cluster_ray_workers_are_an_error_of_one_line(tmp_path):
    project = make_project(tmp_path / "project", **{"data.workers": "ray"})
    done = run_stage("fetch", project, RAY_ADDRESS="127.0.0.2:1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: data.workers = ray, but no Ray cluster answers"
    )
