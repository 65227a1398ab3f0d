"""`voxid import-seed`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import JsonFlag, echo, emit
from voxid.cli.importing import imported


class Aggregation(StrEnum):
    """How an LSTM's frames become one embedding."""

    mean = "mean"
    last = "last"


def import_seed(
    file: Annotated[
        Path, typer.Argument(readable=False, help="A .pt file that the original system published.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="The model folder to write.")],
    aggregation: Annotated[
        Aggregation, typer.Option(help="LSTM only: mean or last; the file does not tell it.")
    ] = Aggregation.mean,
    heads: Annotated[int, typer.Option(help="Transformer only; the file does not tell it.")] = 8,
    json: JsonFlag = False,
) -> None:
    """Import a checkpoint of the original course system as a model folder; no code in it is run.

    Example: `voxid import-seed saved_model.bilstm.mean.clean100.gpu100000.pt -o models/seed`
    """
    from voxid.published.seed import import_seed as run

    model = run(file, out, aggregation=aggregation.value, heads=heads)
    result = imported(model, out)

    def text() -> None:
        options = ", ".join(f"{key} {value}" for key, value in model.tables["encoder"].items())
        echo(f"{out}: {options}; embeddings of {model.dim} numbers")
        if model.metadata["training_steps"]:
            echo(f"trained for {model.metadata['training_steps']:,} steps by its authors")
        echo(f"next: voxid evaluate {out} --data D --trials all -o report")

    emit(result, json, text)
