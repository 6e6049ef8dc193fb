"""Read untrusted files and write output files. All file access of the library goes through this package.

``reading``: regular files only, with a size limit checked first; ``npz``: arrays, with a limit on their total size;
``writing``: atomic, never through a link; ``ownership``: which output folders onet may write to.
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
