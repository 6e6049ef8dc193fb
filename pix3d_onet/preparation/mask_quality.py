"""Quality figures of a shape's photos: whether stray pixels of a mask have enlarged its crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pix3d_onet.data.store.quality_figures import broken_rules
from pix3d_onet.types import Bool, View

SPECK = 0.01
"""Components of a mask below this fraction of its area are strays; chair legs behind a table are larger."""


def with_mask_figures(figures: Mapping[str, Any], photos: Sequence[View], margin: float) -> Mapping[str, Any]:
    """``figures`` with the figures of the shape's ``photos`` (cropped with ``margin``) and their warnings added."""
    if not photos:
        return figures
    fills = [mask_fill(photo.mask, margin) for photo in photos]
    own: dict[str, Any] = {"mask_fill": round(min(fills), 9)}
    if broken := broken_rules(own):
        own["mask_fill_picture"] = photos[int(np.argmin(fills))].record_id
        own["warnings"] = [*figures.get("warnings", ()), *(rule.name for rule in broken)]
    return {**figures, **own}


def mask_fill(mask: Bool, margin: float) -> float:
    """Longest side of the object in a stored mask (S, S) bool, divided by what a crop with ``margin`` aims at; ≤ 1.

    Strays count for the crop but not here, so the value is below 1 only if they enlarged it. One pixel is allowed for
    rounding.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    kept = (areas >= SPECK * areas.sum())[labels] & mask
    side = max(int(np.ptp(np.flatnonzero(kept.any(axis=axis)))) + 1 for axis in (0, 1))
    return min(1.0, (side + 1) * (1 + 2 * margin) / len(mask))
