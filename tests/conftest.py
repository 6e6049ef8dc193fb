"""Settings of all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.register_profile("random")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
"""The same examples every time: a change must not fail for what it did not touch. HYPOTHESIS_PROFILE=random looks for
new ones."""

# A shell ignores Ctrl-C for what it starts in the background, and so do all children: the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)
