"""What the commands on enrolled people share: options, standard input, the store of the moment."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from voxid.errors import BadAudioInput

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
ChannelOption = Annotated[
    str | None, typer.Option("--channel", help="One channel of the recording, counted from 0; or mix.")
]
MOST_STDIN = 1 << 30  # bytes
DB, COLLECTION, MODEL = "sqlite:///voxid.db", "default", "voxid-base"


def counted(count: int, one: str, many: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "clip", "clips"), counted(2000, "clip", "clips")
    ('1 clip', '2,000 clips')
    """
    return f"{count:,} {one if count == 1 else many}"


def sources(names: list[str], channel: str | None = None) -> list[Any]:
    """Return the paths as they are, the bytes of standard input for "-", and of each the channel meant."""
    if names.count("-") > 1:
        raise typer.BadParameter("standard input ('-') can be read once only.")
    found = [_standard_input() if name == "-" else name for name in names]
    if channel is None:
        return found
    if channel != "mix" and not channel.isdecimal():
        raise typer.BadParameter(f"--channel takes a number, counted from 0, or mix; got {channel!r}.")
    from voxid.audio import Part

    chosen: Any = channel if channel == "mix" else int(channel)
    return [Part(source, channel=chosen) for source in found]


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise BadAudioInput("standard input is closed, and '-' reads it. Give the path of a recording.")
    content = sys.stdin.buffer.read(MOST_STDIN + 1)
    if len(content) > MOST_STDIN:
        raise typer.BadParameter(
            f"standard input ('-') holds more than {MOST_STDIN >> 20} MiB. Give a path: a file may be longer."
        )
    return content
