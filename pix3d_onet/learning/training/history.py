"""Training curves: ``history.csv``, and TensorBoard events if TensorBoard is installed."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pix3d_onet.files import append_text, write_text
from pix3d_onet.runs.folder import RunFolder
from pix3d_onet.runs.record import HistoryRow


class Curves:
    """Writes the validations of the run in ``folder``. Call ``rewrite`` first.

    The files of a killed run may contain validations after the checkpoint from which it continues.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = RunFolder(folder)
        self._writer: Any = None
        self._tried = False

    def rewrite(self, rows: Sequence[HistoryRow]) -> None:
        """Replace the files by ones with the rows of a checkpoint; a new run has none."""
        self.folder.remove_curves()
        if not rows:
            return
        write_text(self.folder.history, _line(HistoryRow.__slots__) + "".join(_line(_values(r)) for r in rows))
        now = time.time() - rows[-1].seconds
        for row in rows:
            self._board(row, now + row.seconds)

    def append(self, row: HistoryRow) -> None:
        """Add one validation."""
        path = self.folder.history
        fresh = not path.exists()
        append_text(path, (_line(HistoryRow.__slots__) if fresh else "") + _line(_values(row)))
        self._board(row, time.time())

    def _board(self, row: HistoryRow, wall_time: float) -> None:
        if not self._tried:
            self._tried = True
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            # purge_step makes a running TensorBoard drop what it has read from the removed files
            events = self.folder.writable(self.folder.events / "events").parent
            self._writer = SummaryWriter(str(events), purge_step=0)
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
            self._writer.add_scalar(tag, value, row.step, walltime=wall_time)

    def close(self) -> None:
        """Flush and close the TensorBoard events."""
        if self._writer is not None:
            self._writer.close()


def _values(row: HistoryRow) -> list[Any]:
    return [getattr(row, name) for name in HistoryRow.__slots__]


def _line(values: Sequence[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()
