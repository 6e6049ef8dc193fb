"""Training curves: ``history.csv`` for everyone, TensorBoard events where it is installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pix3d_onet.files import append_text, member, write_text
from pix3d_onet.runs.record import HistoryRow

HISTORY_FILE = "history.csv"
EVENTS_FOLDER = "tensorboard"


class Curves:
    """Appends a row per validation to ``folder/history.csv`` and to TensorBoard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None
        self._tried = False

    def append(self, row: HistoryRow) -> None:
        """One validation."""
        path = self.folder / HISTORY_FILE
        fresh = not path.exists()
        append_text(path, (_line(HistoryRow.__slots__) if fresh else "") + _line(_values(row)))
        self._board(row)

    def rewrite(self, rows: Sequence[HistoryRow]) -> None:
        """Start again from the rows of a checkpoint: what came after it is trained again."""
        write_text(self.folder / HISTORY_FILE, _line(HistoryRow.__slots__) + "".join(_line(_values(r)) for r in rows))

    def _board(self, row: HistoryRow) -> None:
        if not self._tried:
            self._tried = True
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            self._writer = SummaryWriter(str(member(self.folder, EVENTS_FOLDER, "events").parent))
        if self._writer is None:
            return
        tags = {
            "loss/train": row.train_loss,
            "loss/val": row.val_loss,
            "iou/val": row.val_iou,
            "lr": row.lr,
            "speed/shapes_per_second": row.shapes_per_second,
        }
        for tag, value in tags.items():
            self._writer.add_scalar(tag, value, row.step)

    def close(self) -> None:
        """Flush the events."""
        if self._writer is not None:
            self._writer.close()


def _values(row: HistoryRow) -> list[Any]:
    return [getattr(row, name) for name in HistoryRow.__slots__]


def _line(values: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
