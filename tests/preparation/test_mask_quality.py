"""Stray bits in a mask: measured by what they cost the object, told with the picture's name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pix3d_onet.data.images.crop import crop_view
from pix3d_onet.preparation.mask_quality import mask_fill, with_mask_figures
from pix3d_onet.types import View

MARGIN = 0.1


def photo(*boxes: tuple[int, int, int, int], record_id: str = "p", size: int = 128, margin: float = MARGIN) -> View:
    """A cropped picture whose mask is these boxes (top, left, bottom, right) of 400 × 600 pixels."""
    mask = np.zeros((400, 600), dtype=bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    rgb = np.full((400, 600, 3), 90, np.uint8)
    return crop_view(rgb, mask, record_id=record_id, size=size, margin=margin)


@given(
    st.integers(0, 150), st.integers(0, 300), st.integers(20, 200), st.integers(20, 200),
    st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([32, 128, 224]),
)  # fmt: skip
def test_a_clean_mask_fills_its_crop(top: int, left: int, height: int, width: int, margin: float, size: int) -> None:
    view = photo((top, left, top + height, left + width), size=size, margin=margin)
    assert mask_fill(view.mask, margin) == 1


@pytest.mark.parametrize("far", [20, 60, 120])
def test_a_speck_far_off_makes_the_object_smaller_by_what_it_widens_the_box(far: int) -> None:
    view = photo((100, 100, 300, 300), (200, 300 + far, 208, 308 + far), size=224)
    assert mask_fill(view.mask, MARGIN) == pytest.approx(200 / (208 + far), abs=0.02)


def test_parts_of_the_object_are_no_specks() -> None:
    """Legs that something hides: apart, but of some area."""
    view = photo((100, 100, 200, 200), (300, 100, 320, 200))
    assert mask_fill(view.mask, MARGIN) == 1


def test_the_worst_photo_of_a_shape_is_named_and_other_warnings_stay() -> None:
    clean, dirty = photo((50, 50, 250, 250)), photo((50, 50, 250, 250), (380, 580, 388, 588), record_id="img/2.jpg")
    found = with_mask_figures({"warnings": ["thickened"], "faces": 3}, [clean, dirty], MARGIN)
    assert found["warnings"] == ["thickened", "mask-strays"]
    assert found["mask_fill_picture"] == "img/2.jpg"
    assert found["mask_fill"] < 0.6
    assert found["faces"] == 3
    assert with_mask_figures({"warnings": []}, [clean], MARGIN) == {"warnings": [], "mask_fill": 1.0}
    assert with_mask_figures({"faces": 3}, [], MARGIN) == {"faces": 3}
