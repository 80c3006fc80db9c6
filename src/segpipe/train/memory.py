"""Whether the samples that a run trains and validates on fit into memory."""

from pathlib import Path

import psutil

from segpipe.common.records import Manifest


def size(manifest: Manifest) -> int:
    """Bytes of the training and the validation split: images and masks, 4 a pixel."""
    height, width = manifest.size
    return 4 * height * width * (manifest.count("train") + manifest.count("val"))


def keeps(wanted: bool | str, manifest: Manifest, available: int) -> bool:
    """What `train.in_memory` comes to: `auto` is True for what takes at most half of the memory.

    Args:
        wanted: the param.
        manifest: the records.
        available: bytes of memory.
    """
    return 2 * size(manifest) <= available if wanted == "auto" else bool(wanted)


def describe(manifest: Manifest, kept: bool) -> str:
    """Where the samples are, in words."""
    where = "in memory" if kept else "read from the shards when a step needs them"
    return f"{size(manifest) / 1e6:,.0f} MB of samples, {where}"


def available() -> int:
    """Bytes to measure the samples against: what the machine has free, at most a container's limit."""
    return min([psutil.virtual_memory().available, *limits(_control_group())])


def limits(group: Path) -> list[int]:
    """The memory limits, in bytes, of a control group (version 2) and of those that it is in."""
    files = [folder / "memory.max" for folder in (group, *group.parents)]
    texts = [file.read_text().strip() for file in files if file.is_file()]
    return [int(text) for text in texts if text != "max"]


def _control_group() -> Path:
    """The folder of this process's control group; it may not exist, and does on Linux alone."""
    listed = Path("/proc/self/cgroup")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return Path("/sys/fs/cgroup", path)
