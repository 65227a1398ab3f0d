"""What the commands on enrolled people share: options, standard input, the store of the moment."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

NO = 1  # exit code: not accepted, or unknown

DbOption = Annotated[
    str, typer.Option("--db", envvar="VOXID_DB", help="Where people are kept: the URL of a store.")
]
CollectionOption = Annotated[str, typer.Option("--collection", help="A name space of people.")]
ModelOption = Annotated[str, typer.Option("--model", help="A shipped model, or a calibrated model folder.")]
PriorOption = Annotated[
    float | None, typer.Option("--prior", help="Probability of 'same speaker' before anything is heard.")
]
MissOption = Annotated[float | None, typer.Option("--cost-miss", help="What a wrong 'no' costs.")]
FalseAlarmOption = Annotated[
    float | None, typer.Option("--cost-false-alarm", help="What a wrong 'yes' costs.")
]
FarOption = Annotated[
    float | None, typer.Option("--far", help="Instead of prior and costs: the false-alarm rate, e.g. 0.01.")
]
DB, COLLECTION, MODEL = "sqlite:///voxid.db", "default", "voxid-base"


def counted(count: int, one: str, many: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "clip", "clips"), counted(2000, "clip", "clips")
    ('1 clip', '2,000 clips')
    """
    return f"{count:,} {one if count == 1 else many}"


def sources(names: list[str]) -> list[Any]:
    """Return the paths as they are, and the bytes of standard input for "-"."""
    if names.count("-") > 1:
        raise typer.BadParameter("standard input ('-') can be read once only.")
    return [sys.stdin.buffer.read() if name == "-" else name for name in names]
