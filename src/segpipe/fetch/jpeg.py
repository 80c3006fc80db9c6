"""Counts the scans of a JPEG before it is decoded."""

import re

MOST_SCANS = 100
"""Progressive files have about ten. Each takes as long as the whole picture, even if it is empty:
https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf"""

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_START, _SCAN, _END = 0xD8, 0xDA, 0xD9
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length: restarts stand between pixels


def scans(data: bytes) -> int:
    """Return the scans of a JPEG, `MOST_SCANS` + 1 where there are more; 0 for other formats."""
    if not data.startswith(b"\xff\xd8\xff"):
        return 0
    place, count = 2, 0
    while count <= MOST_SCANS and (marker := _MARKER.search(data, place)):
        kind, place = marker[1][0], marker.end()
        if kind in (_START, _END):
            break
        if kind not in _ALONE:
            count += kind == _SCAN
            place += int.from_bytes(data[place : place + 2], "big")
    return count
