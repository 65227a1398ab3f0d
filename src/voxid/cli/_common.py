"""What every command shares: errors to exit codes, JSON or text, progress bars.

Exit codes: 0 done, 2 wrong usage, 3-11 the kind of error
(`exit_code` in voxid/errors.py), 130 Ctrl-C, 1 a bug (`voxid compare`: not accepted).
"""

from __future__ import annotations

import json as json_module
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxid.errors import VoxidError

if TYPE_CHECKING:
    from collections.abc import Callable

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def run_app(app: typer.Typer) -> None:
    """Run `app`; print a VoxidError as one readable line (or JSON with --json) and exit with its code."""
    wants_json = "--json" in sys.argv
    try:
        app()
    except VoxidError as error:
        name = type(error).__name__
        if wants_json:
            print(json_module.dumps({"error": name, "message": str(error)}))
        else:
            print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C; every file that was written is whole", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def emit(result: dict[str, Any], as_json: bool, text: Callable[[], None]) -> None:
    """Print `result` as one JSON object, or call `text` to print it for a person."""
    if as_json:
        typer.echo(json_module.dumps(result, indent=2, allow_nan=False))
    else:
        text()


@contextmanager
def progress_bar(
    label: str, quiet: bool = False, in_bytes: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """Yield `update(done, total)`, drawn on standard error with the time left.

    Counts are bytes (drawn as MB, with the speed) when `in_bytes`. A count that falls starts a new stage: the
    speed and the time left are reckoned afresh. Nothing is drawn when `quiet` or when standard error is not a
    terminal.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        *((DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)

        def update(done: int, total: int) -> None:
            if done < progress.tasks[0].completed:
                progress.reset(task, total=total)
            progress.update(task, completed=done, total=total)

        yield update
