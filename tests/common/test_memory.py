"""The limits on the memory that a process may take."""

from segpipe.common import memory


def test_a_control_group_limits_the_memory_and_so_do_those_around_it(tmp_path):
    group = tmp_path / "job" / "step"
    group.mkdir(parents=True)
    assert memory.memory_limits(group) == []
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text("1000000\n")
    assert memory.memory_limits(group) == [1_000_000]
    assert 0 < memory.available_memory() < 1e15
