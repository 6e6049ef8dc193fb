"""Draw what a run makes of every shape of a split, beside the truth: one picture to look at before believing a table.

    python scripts/reconstruction_sheet.py RUN DATA OUT.png [--split test] [--quantiles Q ...] [--columns 2]

Each entry: the picture as the network sees it, its mesh from two sides, the true mesh from the same two sides, and the
IoU over the stored points. The best entries come first. ``--quantiles 0.75 0.5 0.25`` shows a good, a middling and a
poor one, chosen by rank. The pictures are those of the data set: what may be done with them is up to its licence.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from pix3d_onet.data.store.reader import Dataset
from pix3d_onet.evaluation.evaluate import pictures, split_entries
from pix3d_onet.files import writing
from pix3d_onet.geometry.render import look
from pix3d_onet.geometry.render.preview import UNIT_BOX, contact_sheet, labelled, mesh_pictures
from pix3d_onet.learning.extraction.predictor import NetworkPredictor, network_predictor
from pix3d_onet.metrics import iou
from pix3d_onet.types import Sample, UInt8, View


def entry(predictor: NetworkPredictor, sample: Sample, view: View, size: int) -> tuple[float, UInt8]:
    """IoU, and (size, 5 · size, 3) uint8: picture, prediction from two sides, truth from two sides."""
    predicted = predictor.predict(sample, view)
    score = float(iou(predicted.logits(sample.points) > predicted.level, sample.occupancy))
    photo = np.asarray(Image.fromarray(view.rgb).resize((size, size), Image.Resampling.BICUBIC))
    ours = mesh_pictures(predicted.mesh, size, UNIT_BOX, look.PREDICTION_COLOUR)
    truth = mesh_pictures(sample.mesh, size, UNIT_BOX)
    return score, labelled(
        np.concatenate([photo, *ours, *truth], axis=1), f"{Path(view.record_id).stem}  IoU {score:.2f}"
    )


def main() -> None:
    """Parse the arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--quantiles", nargs="*", type=float, help="only the entries at these quantiles of the IoU")
    parser.add_argument("--columns", type=int, default=2)
    parser.add_argument("--size", type=int, default=160)
    args = parser.parse_args()
    if any(not 0 <= q <= 1 for q in args.quantiles or ()):
        parser.error("quantiles are between 0 and 1.")
    predictor = network_predictor(args.run)
    found: list[tuple[float, UInt8]] = []
    with Dataset(args.data) as dataset:
        for item in split_entries(dataset, args.split):
            sample = dataset.sample(item, args.split)
            views = pictures(sample, dataset.has_photos(args.split))
            found += [entry(predictor, sample, view, args.size) for view in views if predictor.usable(view)]
    if not found:
        parser.error(f"no picture of the {args.split} split can be used.")
    found.sort(key=lambda scored: -scored[0])
    mean = np.mean([score for score, _ in found])
    if args.quantiles:
        found = [found[round((1 - q) * (len(found) - 1))] for q in args.quantiles]
    grid = contact_sheet([picture for _, picture in found], args.columns)
    with writing(args.out) as part:
        Image.fromarray(grid).save(part, format="PNG", optimize=True)
    print(f"{len(found)} pictures, mean IoU of all {mean:.4f}: {args.out}")  # noqa: T201


if __name__ == "__main__":
    main()
