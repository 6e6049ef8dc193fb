"""``README.md`` of a data set and of an export: what a stranger needs to use the files and to pass them on.

Made from the manifest alone, so equal data sets have equal cards. No command reads it: data sets without one are whole.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pix3d_onet.config import SPLITS, PrepareConfig
from pix3d_onet.data.store.manifest import Manifest, ShapeEntry, is_encodable, is_figure, named_warnings
from pix3d_onet.data.store.quality_figures import FIGURES, direction
from pix3d_onet.errors import SettingError
from pix3d_onet.escape import markdown
from pix3d_onet.files import open_regular, read_text, write_text
from pix3d_onet.version import __version__

CARD = "README.md"
TITLE = "Occupancy data set"
LOADING = """```python
import pix3d_onet

for shape in pix3d_onet.load_dataset("FOLDER", split="train"):
    # (P, 3) float32, (P,) bool, (H, W, 3) uint8
    print(shape.object_id, shape.points.shape, shape.occupancy.mean(), [view.rgb.shape for view in shape.images])
```

Without onet, with h5py and NumPy alone:

```python
import json, h5py, numpy as np

manifest = json.load(open("FOLDER/manifest.json"))
shape = manifest["shapes"][0]
with h5py.File(f"FOLDER/{shape['shard']}") as shard:
    row, count = shape["row"], shard.attrs["points_count"]
    points = -0.55 + (shard["points"][row] + 0.5) * 1.1 / 65536  # (P, 3)
    inside = np.unpackbits(shard["occupancy"][row], count=count).astype(bool)  # (P,)
print(shape["object_id"], shape["split"], points.shape, inside.mean())
```"""
FRAMES = (
    "Coordinates are normalised: the box around the watertight mesh is centred at the origin, its longest side is 1, "
    "and `original = loc + scale * normalised`. A camera maps them to pixels by `(u, v, 1) Z = K (R x + t)`, and "
    "`floor(u, v)` is the column and row of the pixel. The axes of a camera with positive focal lengths point right "
    "and down, with negative ones (Pix3D) left and up."
)


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a source may be used, and what to cite; both are markdown, and empty if not given."""

    licence: str = ""
    attribution: str = ""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            text = getattr(self, name)
            if not isinstance(text, str) or not is_encodable([text]):
                raise SettingError(name, "text in UTF-8", text)

    def or_else(self, other: Terms) -> Terms:
        """These terms, with those of ``other`` where nothing is given."""
        return Terms(self.licence or other.licence, self.attribution or other.attribution)

    def to_json(self) -> dict[str, str]:
        """What is given, for the manifest's ``source``."""
        return {key: text for key, text in asdict(self).items() if text}


NO_TERMS = Terms()
UNKNOWN_TERMS = Terms(
    "Not known to onet. Find out before you pass this folder on, and write it here.",
    "Name where the shapes and pictures come from.",
)
TERMS = re.compile(r"\n## Licen[cs]e\n(.*)\n## Attribution\n(.*?)\n## Content\n", re.DOTALL)
"""Where a card has its terms; a user may have written them there."""


def card_files(folder: Path) -> tuple[str, ...]:
    """The name of the card, if :func:`write_card` will write it; a ``README.md`` with another title stays."""
    path = folder / CARD
    if not os.path.lexists(path):
        return (CARD,)
    title = f"# {TITLE}".encode()
    try:
        with open_regular(path, follow=False) as file:
            return (CARD,) if file.read(len(title)) == title else ()
    except OSError:
        return ()


def write_card(folder: Path, text: str) -> None:
    """Write the card of ``folder``, unless its place is taken, see :func:`card_files`."""
    for name in card_files(folder):
        write_text(folder / name, text)


def written_terms(folder: Path) -> Terms:
    """The terms in the card of ``folder``, by onet or by its user; empty if there is no card by onet."""
    found = None
    if card_files(folder):
        with suppress(OSError, UnicodeDecodeError):
            found = TERMS.search(read_text(folder / CARD, follow=False).replace("\r\n", "\n"))
    return Terms(*(text.strip() for text in found.groups())) if found else NO_TERMS


def data_card(manifest: Manifest, terms: Terms) -> str:
    """The card of a data set, as markdown."""
    files = [
        "| file | content |",
        "| --- | --- |",
        "| `manifest.json` | shapes, splits, settings, quality figures, checksums; written last |",
        "| `shard-*.h5` | points, labels, surface samples, meshes, pictures, masks, cameras (HDF5) |",
        "| `rejects.jsonl` | every record of the source that could not be used, and why |",
        "| `qc.csv` | quality figures, one row per shape |",
        "| `timings.csv` | seconds per shape and stage; the only file that may differ between equal data sets |",
    ]
    sums = "\n".join(f"{s.sha256}  {s.file}" for s in manifest.shards)
    checksums = (
        f"```text\n{sums}\n```\n\n`sha256sum -c README.md` in this folder compares the shards with these lines, "
        "and warns of the others; `onet verify FOLDER` also checks the manifest, the labels and the cameras."
    )
    near = _near(manifest.config)
    note = (
        "onet writes this file again when the data change, and keeps what you write below Licence and Attribution. "
        "With another title, the whole file stays as it is."
    )
    return _card(
        TITLE,
        note,
        manifest,
        terms,
        {
            "Files": "\n".join(files),
            "Load": LOADING,
            **({"Near the surface": near} if near else {}),
            "Frames": FRAMES,
            "Checksums (SHA-256)": checksums,
        },
    )


def _near(config: Mapping[str, Any]) -> str:
    """About points near the surface and signed distances; empty if the data set has neither."""
    texts = []
    if config.get("near_points"):
        sigmas = config.get("near_sigma", PrepareConfig().near_sigma)
        texts.append(
            f"`shape.near_points` (M, 3) float32 and `shape.near_occupancy` (M,) bool: {config['near_points']} "
            f"surface samples moved by Gaussian noise of standard deviation {' or '.join(map(str, sigmas))}, with "
            "exact labels; in the shards `near/points` and `near/occupancy`, stored like those of uniform points."
        )
    if config.get("sdf"):
        texts.append(
            "`shape.sdf` (P,) and `shape.near_sdf` (M,) float32: signed distances to the surface that the labels come "
            "from, in longest sides, negative inside, at most 3.1e-5 off; in the shards `sdf` and `near/sdf`, int16, "
            "distance = (value + 0.5) / 16384."
        )
    return "\n\n".join(texts)


def export_card(manifest: Manifest, terms: Terms, sections: Mapping[str, str]) -> str:
    """The card of an export of a data set, with ``sections`` (heading → markdown) about its files."""
    note = "onet writes this file again when the data change, unless its title is changed."
    return _card(f"{TITLE}, exported", note, manifest, terms, sections)


def _card(title: str, note: str, manifest: Manifest, terms: Terms, sections: Mapping[str, str]) -> str:
    counts = manifest.counts
    rejects = counts.get("rejected_by_reason", {})
    facts = {
        "shapes": counts.get("prepared", len(manifest.shapes)),
        "shapes by split": _listed(counts.get("shapes_by_split")),
        "pictures by split": _listed(counts.get("images_by_split")),
        "categories": _listed(counts.get("categories")),
        "records of the source": counts.get("records", "not known"),
        **({"records used": counts["used"]} if "used" in counts else {}),
        "records not taken": _listed(counts.get("skipped")),
        "rejected": f"{counts.get('rejected', 0)} ({_listed(rejects)})" if rejects else counts.get("rejected", 0),
        "splits": ", ".join(SPLITS),
        "data hash": manifest.data_hash,
        "configuration hash": manifest.config_hash,
    }
    kind = markdown(str(manifest.source.get("kind")))
    head = f"Made by onet {__version__} from the source {kind}, format version {manifest.version}."
    texts = {
        "Licence": terms.licence,
        "Attribution": terms.attribution,
        "Content": _table(("count", "value"), facts.items()),
        "Quality": _quality(manifest.shapes),
        **sections,
        "Settings": _table(("setting", "value"), ((key, json.dumps(value)) for key, value in manifest.config.items())),
    }
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in texts.items())
    return f"# {title}\n\n{head} {note}\n\n{body}\n"


def _listed(counts: object) -> str:
    items: Iterable[tuple[object, object]] = counts.items() if isinstance(counts, dict) else ()
    return ", ".join(f"{name} {count}" for name, count in items) or "none"


def _quality(shapes: Sequence[ShapeEntry]) -> str:
    """The warnings, and the spread of the figures that have an ideal."""
    named = [dict.fromkeys(named_warnings(shape)) for shape in shapes]
    counts = Counter(name for names in named for name in names)
    warned = f"{sum(map(bool, named))} of {len(shapes)} shapes have a warning: {_listed(dict(counts.most_common()))}."
    rows = []
    for figure in FIGURES.values():
        values = [float(v) for shape in shapes if is_figure(v := shape.qc.get(figure.name))]
        if figure.ideal is not None and values:
            spread = (f"{v:.4g}" for v in (min(values), np.median(values), max(values)))
            rows.append((figure.name, figure.unit, direction(figure), *spread))
    if not rows:
        return markdown(warned)
    columns = ("figure", "unit", "ideal", "least", "median", "most")
    meaning = "`docs/qc.md` of onet says what they mean; `qc.csv` has those of every shape."
    return f"{markdown(warned)}\n\n{_table(columns, rows)}\n\n{meaning}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [" | ".join(markdown(str(cell)) for cell in row) for row in rows]
    lines = [" | ".join(columns), " | ".join("---" for _ in columns), *cells]
    return "\n".join(f"| {line} |" for line in lines)
