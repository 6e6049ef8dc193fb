"""Read untrusted files and write output files. All file access of the library goes through this package.

``reading``: regular files only, with a size limit checked first; ``npz``: arrays, with a limit on their total size;
``writing``: atomic, never through a link; ``ownership``: which output folders onet may write to.
"""

from pix3d_onet.files.ownership import MARKER as MARKER
from pix3d_onet.files.ownership import check_claim as check_claim
from pix3d_onet.files.ownership import in_the_way as in_the_way
from pix3d_onet.files.ownership import mark as mark
from pix3d_onet.files.ownership import marker as marker
from pix3d_onet.files.ownership import unmark as unmark
from pix3d_onet.files.reading import MAX_JSON_BYTES as MAX_JSON_BYTES
from pix3d_onet.files.reading import check_regular as check_regular
from pix3d_onet.files.reading import digest as digest
from pix3d_onet.files.reading import file_digest as file_digest
from pix3d_onet.files.reading import inside as inside
from pix3d_onet.files.reading import is_file as is_file
from pix3d_onet.files.reading import is_finite as is_finite
from pix3d_onet.files.reading import is_own_file as is_own_file
from pix3d_onet.files.reading import open_regular as open_regular
from pix3d_onet.files.reading import own_json as own_json
from pix3d_onet.files.reading import printable as printable
from pix3d_onet.files.reading import read_bytes as read_bytes
from pix3d_onet.files.reading import read_json as read_json
from pix3d_onet.files.reading import read_text as read_text
from pix3d_onet.files.reading import too_deep as too_deep
from pix3d_onet.files.writing import OF_A_PART as OF_A_PART
from pix3d_onet.files.writing import PART_SUFFIX as PART_SUFFIX
from pix3d_onet.files.writing import append_text as append_text
from pix3d_onet.files.writing import check_writable as check_writable
from pix3d_onet.files.writing import disk_trouble as disk_trouble
from pix3d_onet.files.writing import member as member
from pix3d_onet.files.writing import refused as refused
from pix3d_onet.files.writing import remove as remove
from pix3d_onet.files.writing import remove_empty as remove_empty
from pix3d_onet.files.writing import remove_parts as remove_parts
from pix3d_onet.files.writing import to_json as to_json
from pix3d_onet.files.writing import write_bytes as write_bytes
from pix3d_onet.files.writing import write_json as write_json
from pix3d_onet.files.writing import write_text as write_text
from pix3d_onet.files.writing import writing as writing
