"""Roboflow's versions of a photograph, which augmentation makes: in every layout they are a group."""

import dataclasses
import re

from segpipe.fetch.sample import Sample, Samples

_VERSION = re.compile(r"\.rf\.\w+$")  # photo_jpg.rf.3f0c


def grouped(found: Samples) -> Samples:
    """Yield what is found, samples without a group with that of their name."""
    for one in found:
        if isinstance(one, Sample) and not one.group:
            yield dataclasses.replace(one, group=group_of(one.name))
        else:
            yield one


def group_of(name: str) -> str:
    """Return what the versions of one photograph share, nothing for any other name."""
    return _VERSION.sub("", name) if _VERSION.search(name) else ""
