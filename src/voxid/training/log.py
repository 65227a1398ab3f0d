"""The training log: one JSON object a line, unbroken across kills and resumes."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Self

from voxid.errors import MissingExtra
from voxid.files import atomic_write, output_error


@dataclass(frozen=True)
class Row:
    """A line of log.jsonl: means over the steps since the line before."""

    step: int  # steps done
    loss: float
    lr: float
    steps_per_s: float
    seconds: float  # of training time so far
    active: float  # share of the batches still wrong: triplets that violate the margin, rows not recognised
    margin: float | None = None  # of the loss
    valid_eer: float | None = None  # a fraction, where it was measured


class TrainingLog:
    """Appends rows to `log.jsonl`, and to TensorBoard if asked; `rows` are all rows since step 0.

    Opened at `step`, it first cuts off what a killed run wrote beyond it, a torn last line too. Raise
    OutputError kinds, and MissingExtra when TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = False) -> None:
        self._board = _open_board(folder / "tensorboard", step) if tensorboard else None
        self.path = folder / "log.jsonl"
        self.rows = [row for row in read_log(self.path) if row.step <= step]
        with atomic_write(self.path, "w") as file:
            file.writelines(_line(row) for row in self.rows)
        try:
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise output_error(error, self.path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def add(self, row: Row) -> None:
        """Append `row`; a reader sees it at once. Raise DiskFull or OutputError."""
        self.rows.append(row)
        try:
            self._file.write(_line(row))
            self._file.flush()
        except OSError as error:
            raise output_error(error, self.path) from error
        if self._board is not None:
            for name in ("loss", "lr", "steps_per_s", "active", "margin", "valid_eer"):
                if getattr(row, name) is not None:
                    self._board.add_scalar(name, getattr(row, name), row.step)


def read_log(path: Path) -> list[Row]:
    """Return the rows of a log.jsonl; a torn or foreign line, and all after it, is left out."""
    names = {field.name for field in fields(Row)}
    needed = {field.name for field in fields(Row) if field.default is MISSING}
    rows = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                values = json.loads(line)
                rows.append(Row(**{name: values[name] for name in names if name in values or name in needed}))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    return rows


def _line(row: Row) -> str:
    return json.dumps(asdict(row)) + "\n"


def _open_board(folder: Path, step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra(
            "TensorBoard was asked for and is not installed. Install it: pip install 'voxid[tensorboard]'."
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)
