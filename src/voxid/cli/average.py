"""`voxid average`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxid.cli import _complete
from voxid.cli._common import JsonFlag, echo, emit


def average(
    models: Annotated[
        list[str],
        typer.Argument(help="Model folders or shipped models, two or more.", autocompletion=_complete.models),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="The folder to write.")],
    name: Annotated[str, typer.Option(help="The name to put into the metadata.")] = "average",
    json: JsonFlag = False,
) -> None:
    """Average the weights of several models that began with the same weights.

    The average often has a lower error rate than each of them, and costs no more than one. It has no
    calibration yet.

    Example: `voxid average runs/seed-0 runs/seed-1 -o runs/mean`
    """
    from voxid.training import average_models

    made = average_models(models, out, name=name)
    parts = made.metadata["average"]
    summary = {"out": str(out), "name": name, "fingerprint": made.fingerprint, "models": parts}

    def text() -> None:
        named = ", ".join(f"{part['name']} ({part['fingerprint'][:12]})" for part in parts)
        echo(f"{out}: the mean of {named}; not calibrated yet (`voxid calibrate {out} --data D`)")

    emit(summary, json, text)
