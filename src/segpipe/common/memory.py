"""The memory that a process may take."""

from pathlib import Path

import psutil


def available_memory() -> int:
    """Return the free bytes of this machine, or a container's limit where that is lower."""
    return min([psutil.virtual_memory().available, *memory_limits(_control_group())])


def memory_limits(group: Path) -> list[int]:
    """Return the limits, in bytes, of a control group (version 2) and of the groups around it."""
    files = [folder / "memory.max" for folder in (group, *group.parents)]
    texts = [file.read_text().strip() for file in files if file.is_file()]
    return [int(text) for text in texts if text != "max"]


def _control_group() -> Path:
    """Return the folder of this process's control group, which may not exist; Linux alone has them."""
    listed = Path("/proc/self/cgroup")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return Path("/sys/fs/cgroup", path)
