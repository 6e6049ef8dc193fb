"""Count the scans of a JPEG without decoding it, because a hostile progressive one may have thousands.

Markers: ITU-T T.81, annex B. In the coded data, a byte FF is followed by 00 or a restart marker, so any other pair is
the next marker.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from pix3d_onet.files import open_regular

MAX_SCANS = 100
"""Most scans that are decoded; encoders write 1 or about 10."""
MAX_PAINTED = 2_000_000_000
"""Largest product of scans and pixels that is decoded: 20 scans of the largest picture."""
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
WITHOUT_LENGTH = frozenset({0x01, 0xD8, END_OF_IMAGE})
"""Markers that, like restart markers, are not followed by a length."""
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


def count_scans(path: Path, most: int = MAX_SCANS + 1) -> int:
    """Number of scans of the first picture in a JPEG file, at most ``most``. OSError or ValueError if it is
    unreadable."""
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place, scans = 0, 0
        while scans < most and (found := MARKER.search(data, place)):
            kind, place = data[found.start() + 1], found.end()
            if kind == END_OF_IMAGE:
                break
            scans += kind == START_OF_SCAN
            if kind not in WITHOUT_LENGTH:  # skip the segment, since a thumbnail in it has markers, too
                place += int.from_bytes(data[place : place + 2], "big")
        return scans
