"""Quality figures of a shape: what the watertighting did to it, and how far the labels can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pix3d_onet.geometry.mesh import component_labels, edge_counts, volume
from pix3d_onet.geometry.sample import contains
from pix3d_onet.geometry.watertight import Watertight
from pix3d_onet.types import Bool, Float32, Mesh, Normalisation

AGREEMENT_POINTS = 20_000
"""Stored points that the independent inside test labels again."""


def judge(
    *,
    source: Mesh,
    result: Watertight,
    full: Mesh,
    stored: Mesh,
    stored_error: float,
    normalisation: Normalisation,
    points: Float32,
    occupancy: Bool,
    voxel: Path | None,
) -> dict[str, Any]:
    """JSON-able figures, deterministic for equal inputs (no times)."""
    edges = edge_counts(full)
    before = edge_counts(source)
    again = contains(full, points[:AGREEMENT_POINTS])
    return {
        "method": result.method,
        "source_faces": len(source.faces),
        "source_watertight": before["boundary"] == before["nonmanifold"] == before["clashes"] == 0,
        "faces": len(full.faces),
        "watertight": edges["boundary"] == edges["nonmanifold"] == 0,
        "winding_consistent": edges["clashes"] == 0,
        "volume": round(volume(full), 9),
        "components_before": component_labels(source)[0],
        "components": component_labels(full)[0],
        "occupied": round(float(occupancy.mean()), 6),
        "label_agreement": round(float((again == occupancy[:AGREEMENT_POINTS]).mean()), 6),
        "stored_faces": len(stored.faces),
        "stored_error": round(stored_error, 9),
        **result.info,
    }
