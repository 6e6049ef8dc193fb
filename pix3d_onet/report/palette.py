"""One colour, dash and marker per row of a table, the same in its figures and on its page.

The colours are those of Okabe and Ito (*Color Universal Design*, 2008), told apart with every common colour
blindness; dashes tell them apart without any colour. Yellow is left out: it cannot be seen on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

OKABE_ITO = ("#000000", "#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7")
"""Black, blue, sky blue, bluish green, vermillion, orange, reddish purple."""
DASHES = ("", "6 3", "2 2", "8 3 2 3")
"""SVG dash patterns in px, one for each round through the colours."""
TINTS = (0.0, 0.4, 0.6)
"""Share of white in the colours of each round."""
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


def styles(rows: Sequence[str]) -> dict[str, Style]:
    """The style of every row of a table by its place: no two share a colour in the first 21, nor a look in 84."""
    return {name: _style(place) for place, name in enumerate(dict.fromkeys(rows))}


def _style(place: int) -> Style:
    rounds, colour = divmod(place, len(OKABE_ITO))
    white = TINTS[rounds % len(TINTS)]
    channels = (int(OKABE_ITO[colour][i : i + 2], 16) for i in (1, 3, 5))
    tinted = "".join(f"{round(c + white * (255 - c)):02X}" for c in channels)
    return Style(f"#{tinted}", DASHES[rounds % len(DASHES)], MARKERS[(colour + rounds) % len(MARKERS)])
