"""One colour, dash and marker a variant, the same in every figure and on every page.

The colours are those of Okabe and Ito (*Color Universal Design*, 2008), told apart with every common colour
blindness; dashes tell them apart without any colour. Yellow is left out: it cannot be seen on white.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from pix3d_onet.ablation.variants import VARIANTS

OKABE_ITO = ("#000000", "#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7")
"""Black, blue, sky blue, bluish green, vermillion, orange, reddish purple."""
DASHES = ("", "6 3", "2 2", "8 3 2 3")
"""SVG dash patterns in px, one for each round through the colours."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True, slots=True)
class Style:
    """``colour`` as #rrggbb, ``dash`` as an SVG pattern ("" = solid), ``marker`` as matplotlib names it."""

    colour: str
    dash: str
    marker: str

    @property
    def dark(self) -> str:
        """The colour on a dark ground: the same, but white for black."""
        return "#F2F2F2" if self.colour == "#000000" else self.colour

    @property
    def dash_lengths(self) -> tuple[float, ...]:
        """The dash pattern as numbers, for matplotlib."""
        return tuple(float(x) for x in self.dash.split())


def style(variant: str) -> Style:
    """The style of a variant: by its place in ``VARIANTS``, or by a hash of its name when it has none."""
    names = list(VARIANTS)
    place = names.index(variant) if variant in VARIANTS else zlib.crc32(variant.encode())
    rounds, colour = divmod(place, len(OKABE_ITO))
    return Style(OKABE_ITO[colour], DASHES[rounds % len(DASHES)], MARKERS[(colour + rounds) % len(MARKERS)])
