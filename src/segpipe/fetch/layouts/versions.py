"""Roboflow's versions of a photograph, which augmentation makes: in every layout they are a group."""

import dataclasses
import re

from segpipe.fetch.sample import Sample, Samples

_VERSION = re.compile(r"\.rf\.\w+$")  # photo_jpg.rf.3f0c


def grouped(found: Samples) -> Samples:
    """Yield all items; a sample without a group gets that of its name."""
    for item in found:
        if isinstance(item, Sample) and not item.group:
            yield dataclasses.replace(item, group=group_of(item.name))
        else:
            yield item


def group_of(name: str) -> str:
    """Return the part of a name that all versions of a photograph share; nothing for other names."""
    return _VERSION.sub("", name) if _VERSION.search(name) else ""
