"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("fixed", derandomize=True)
settings.register_profile("random")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
"""The same examples every time: a change must not fail for what it did not touch. HYPOTHESIS_PROFILE=random looks for
new ones."""
