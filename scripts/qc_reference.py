"""Write docs/qc.md from the table of quality figures. ``tests/house/test_docs.py`` holds the two together.

Run: ``.venv/bin/python scripts/qc_reference.py`` (or ``make qc-reference``).
"""

from __future__ import annotations

from pathlib import Path

from onet_cli.flags import in_flags

from pix3d_onet.data.store.quality_figures import FIGURES, RULES, direction

PAGE = Path(__file__).resolve().parent.parent / "docs/qc.md"

HEAD = """\
# Quality figures

<!-- Written by scripts/qc_reference.py from pix3d_onet/data/store/quality_figures.py: change that, then run
`make qc-reference`. -->

Every shape of a data set has a record of quality figures: `qc` of its entry in `manifest.json`, a row of `qc.csv`.

```bash
onet inspect data/prepared/pix3d-chair --qc
```

shows each figure over all shapes, and the worst shapes with pictures: those with most warnings first, then those that
are farthest from the ideal of any figure, compared with the other shapes. A ratio is as far from its ideal at a half as
at double. With `--html`, a [page](inspect.md) shows the shapes in 3D, and sorts and filters them by any figure.

A *longest side* is that of the closed mesh's bounding box, 1 in the normalised frame. A *voxel* is a cell of the grid
that the mesh was closed on: 1/(0.9·`grid_resolution`) of the longest side (without that figure: the `--resolution`),
0.43 % at the default 256. A figure that could not be measured is null: `volume_ratio` of a mesh that was open,
`voxel_agreement` without a voxel grid.

Shapes of the [original layout](format.md#the-original-layout) come with labels instead of meshes. They have few figures
and are not judged by the rules below, but for one: they are rejected if the IoU of the labels and the surface's
inside is under 0.5.
"""

RULES_HEAD = """\
## Rules

A figure beyond its limit breaks a rule. A shape that breaks a `reject` rule is left out of the data set and stands in
`rejects.jsonl` under the rule's name; other rules are named in `warnings`. A warning is a reason to look at the shape,
with `onet inspect --qc` or `--html`; the shape stays in the data set. To leave it out, remove its record or its file
from the source, and prepare again.
"""


def page() -> str:
    """The whole page."""
    limits: dict[str, list[str]] = {}
    for rule in RULES:
        limits.setdefault(rule.figure, []).append(f"{rule.condition}: `{rule.name}`")
    figures = ["| figure | unit | ideal | limit | meaning |", "|---|---|---|---|---|"]
    for f in FIGURES.values():
        cells = (f"`{f.name}`", f.unit, direction(f), "<br>".join(limits.get(f.name, ())), f.meaning)
        figures.append(f"| {' | '.join(cells)} |")
    rules = ["| rule | level | broken when | meaning | what to do |", "|---|---|---|---|---|"]
    for r in RULES:
        advice = in_flags(r.advice, None)
        rules.append(f"| `{r.name}` | {r.level} | `{r.figure}` is {r.condition} | {r.meaning} | {advice} |")
    return "\n".join((HEAD, "## Figures\n", *figures, "", RULES_HEAD, *rules)) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
