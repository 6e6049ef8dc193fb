"""Hooks of the documentation's build: docstrings are written for people in editors, too, with a few reST roles."""

import re

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):(?=<code>)")
LITERAL = re.compile(r"<p>::</p>\s*|(?<=\w)::(?=</p>)")


def on_page_content(html: str, **_: object) -> str:
    """Drop what markdown leaves of ``:class:`X``` and of ``::`` before a literal block."""
    return LITERAL.sub("", ROLE.sub("", html))
