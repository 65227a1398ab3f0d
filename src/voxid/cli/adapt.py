"""`voxid adapt`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import DeviceOption, JsonFlag, VadOption, echo, emit, progress_bar
from voxid.cli.people import ModelArgument
from voxid.types import plural


def adapt(
    model: ModelArgument,
    recordings: Annotated[
        list[Path],
        typer.Argument(
            readable=False, help="Folders of recordings, recordings, or lists of a corpus (.csv)."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="The model folder to write.")],
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    json: JsonFlag = False,
) -> None:
    """Adapt a model's decisions to your recordings: your telephones, your rooms, your language.

    Give recordings of 30 people or more, made as yours will be made, of people whom you will not enroll. No
    names are needed. They join the cohort of the model. Embeddings do not change, and everybody who is
    enrolled stays enrolled.

    Example: `voxid adapt voxid-base calls/ -o models/calls`, then `--model models/calls`
    """
    from voxid.recognizer.adapting import adapt as run

    with progress_bar("listening", quiet=json) as update:
        found = run(model, recordings, out, vad=vad, device=device, progress=update)

    def text() -> None:
        echo(
            f"{out}: {plural(found.voices, 'voice')} in {plural(found.recordings, 'recording')}; "
            f"{found.joined:,} of these joined the cohort of {model}, which holds {found.strangers:,} now"
        )
        for reason, count in found.left_out.items():
            echo(f"left out {count:,} {reason.replace('_', ' ')}")
        for warning in found.warnings:
            echo(f"warning: {warning}")

    emit({"out": str(out), **asdict(found)}, json, text)
