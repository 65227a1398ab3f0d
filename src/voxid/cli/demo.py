"""`voxid demo`."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import DeviceOption, JsonFlag, emit, progress_bar


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for data, model and figures.")] = Path(
        "demo-out"
    ),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder that holds LibriSpeech/. Default: $VOXID_DATA, then ../shared/data."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never download.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: training.max_seconds=30.")
    ] = None,
    device: DeviceOption = "auto",
    json: JsonFlag = False,
) -> None:
    """Train a small speaker encoder, measure it before and after, draw it, and verify two files.

    Takes about three minutes on two cores. Real speech if there is any, else a download, else synthetic
    voices.

    Example: `voxid demo -o demo-out`
    """
    from rich.console import Console
    from rich.markdown import Markdown

    from voxid.demo import run_demo

    console = Console(width=min(Console().width, 100), stderr=json)
    start = time.perf_counter()

    def bar(label: str) -> AbstractContextManager:
        return progress_bar(label, quiet=json)

    result = run_demo(
        out,
        data=data,
        offline=offline,
        overrides=overrides,
        device=device,
        say=lambda text: console.print(Markdown(text)),
        progress=bar,
    )

    def text() -> None:
        console.print(Markdown("## Look at"))
        for figure in result.figures:
            console.print(f"  {figure}", highlight=False)
        console.print(
            f"\nDone in {time.perf_counter() - start:.0f} s. Next: docs/course.md takes it step by step; "
            f"`voxid compare A.wav B.wav --model {out / 'model'}` tries your own voice."
        )

    found = asdict(result)
    del found["out"]
    emit(found, json, text)
