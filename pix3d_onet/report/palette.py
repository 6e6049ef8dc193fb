"""One colour, dash pattern and marker per row of a table, in its figures and on its page.

The colours of Okabe and Ito (*Color Universal Design*, 2008) can be distinguished with all common colour blindnesses;
dash patterns distinguish lines without colour. Yellow is omitted, because it is hard to see on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OKABE_ITO = ("#000000", "#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7")
"""Black, blue, sky blue, bluish green, vermillion, orange, reddish purple."""
DASHES = ("", "6 3", "2 2", "8 3 2 3")
"""SVG dash patterns in px, one per repetition of the colours."""
TINTS = (0.0, 0.4, 0.6)
"""Fraction of white in the colours of each repetition."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True, slots=True)
class Style:
    """``colour`` as #rrggbb, ``dash`` as an SVG pattern ("" = solid), ``marker`` by matplotlib's name."""

    colour: str
    dash: str
    marker: str

    @property
    def dark(self) -> str:
        """The colour on a dark background: white for black, else the same."""
        return "#F2F2F2" if self.colour == "#000000" else self.colour

    @property
    def dash_lengths(self) -> tuple[float, ...]:
        """The dash pattern as numbers, for matplotlib."""
        return tuple(float(x) for x in self.dash.split())


def styles(rows: Sequence[str]) -> dict[str, Style]:
    """Style of every row, by its position. The first 21 have different colours, the first 84 different styles."""
    return {name: _style(place) for place, name in enumerate(dict.fromkeys(rows))}


def _style(place: int) -> Style:
    rounds, colour = divmod(place, len(OKABE_ITO))
    white = TINTS[rounds % len(TINTS)]
    channels = (int(OKABE_ITO[colour][i : i + 2], 16) for i in (1, 3, 5))
    tinted = "".join(f"{round(c + white * (255 - c)):02X}" for c in channels)
    return Style(f"#{tinted}", DASHES[rounds % len(DASHES)], MARKERS[(colour + rounds) % len(MARKERS)])
