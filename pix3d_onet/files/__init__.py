"""Every file of somebody else is opened, and every file of ours written, through here.

``reading``: regular files only, bounded before a byte is read; ``npz``: arrays, by their summed size; ``writing``:
aside and renamed, never through a link; ``ownership``: whose an output folder is.
"""

from pix3d_onet.files.ownership import MARKER, check_claim, in_the_way, mark, marker, unmark
from pix3d_onet.files.reading import (
    MAX_JSON_BYTES,
    check_regular,
    digest,
    file_digest,
    inside,
    is_own_file,
    open_regular,
    printable,
    read_bytes,
    read_json,
    read_text,
)
from pix3d_onet.files.writing import (
    OF_A_PART,
    PART_SUFFIX,
    append_text,
    check_writable,
    member,
    refused,
    remove,
    remove_empty,
    remove_parts,
    to_json,
    write_bytes,
    write_json,
    write_text,
    writing,
)

__all__ = [
    "MARKER",
    "MAX_JSON_BYTES",
    "OF_A_PART",
    "PART_SUFFIX",
    "append_text",
    "check_claim",
    "check_regular",
    "check_writable",
    "digest",
    "file_digest",
    "in_the_way",
    "inside",
    "is_own_file",
    "mark",
    "marker",
    "member",
    "open_regular",
    "printable",
    "read_bytes",
    "read_json",
    "read_text",
    "refused",
    "remove",
    "remove_empty",
    "remove_parts",
    "to_json",
    "unmark",
    "write_bytes",
    "write_json",
    "write_text",
    "writing",
]
