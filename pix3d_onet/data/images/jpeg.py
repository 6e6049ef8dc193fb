"""How often a JPEG paints its picture, from its markers alone: a progressive one may do so thousands of times.

Markers: ITU-T T.81, annex B. Bytes FF in the coded data are followed by 00 or a restart marker, so any other pair is
the next marker.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from pix3d_onet.files import open_regular

MAX_SCANS = 100
"""Scans that are decoded; encoders write 1 or about 10."""
MAX_PAINTED = 2_000_000_000
"""Scans times pixels that are decoded: 20 scans of the largest picture."""
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
ALONE = frozenset({0x01, 0xD8, END_OF_IMAGE})
"""Markers without a length after them, besides the restart markers."""
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


def count_scans(path: Path, most: int = MAX_SCANS + 1) -> int:
    """Scans of the first picture in a JPEG file, counted to ``most``. OSError or ValueError as reading it raises."""
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place, scans = 0, 0
        while scans < most and (found := MARKER.search(data, place)):
            kind, place = data[found.start() + 1], found.end()
            if kind == END_OF_IMAGE:
                break
            scans += kind == START_OF_SCAN
            if kind not in ALONE:  # skip its segment: a thumbnail in it has markers of its own
                place += int.from_bytes(data[place : place + 2], "big")
        return scans
