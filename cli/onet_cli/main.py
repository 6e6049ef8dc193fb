"""Entry point of ``onet``. Handles Ctrl-C from the first moment, even while libraries are being imported.

Therefore this module imports only what Python has loaded anyway; the commands are in ``app``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""Exit status after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the documented status. A traceback is shown only with ``-v``."""
    try:
        from onet_cli.app import run

        status = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        sys.stderr.write("onet: interrupted; everything finished so far is kept.\n")
        status = INTERRUPTED
    sys.exit(status)


if __name__ == "__main__":
    main()
