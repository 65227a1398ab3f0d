"""`voxid split`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import MAX_SEED, JsonFlag, LayoutOption, echo, emit


def split(
    data: Annotated[list[Path], typer.Argument(readable=False, help="Corpora, split together.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", readable=False, help="Folder for rest.csv and held-out.csv.")
    ],
    hold_out: Annotated[float, typer.Option(help="Share of the speakers to hold out.")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the choice.")] = 0,
    layout: LayoutOption = "auto",
    json: JsonFlag = False,
) -> None:
    """Divide a corpus into two lists that share no speaker, for calibrating or for choosing recipes.

    Each list is a corpus for every other command. No audio is copied.

    Example: `voxid split LibriSpeech/train-clean-100 -o lists --hold-out 0.1`
    """
    from voxid.corpora.split import split as split_corpora

    result = split_corpora(data, out, hold_out=hold_out, seed=seed, layout=layout)

    def text() -> None:
        for side in (result.rest, result.held_out):
            echo(f"{side.path}: {side.utterances:,} utterances of {side.speakers:,} speakers")
        for warning in result.warnings:
            echo(f"warning: {warning}")

    emit(asdict(result), json, text)
