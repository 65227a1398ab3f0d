"""What every command shares: errors to exit codes, JSON or text, progress bars.

Exit codes: 0 done, 2 wrong usage, 3-11 the kind of error
(`exit_code` in voxid/errors.py), 70 a bug, 130 Ctrl-C; 1 is an answer: not accepted, unknown, not finished.
"""

from __future__ import annotations

import json as json_module
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from voxid.errors import VoxidError, missing_extra

if TYPE_CHECKING:
    from collections.abc import Callable

CTRL_C = 130  # exit code, by convention 128 + SIGINT
BUG = 70  # EX_SOFTWARE of sysexits.h; never 1, which is an answer
STOPPED = "stopped by Ctrl-C; every file that was written is whole"

USAGE_ERROR: type[typer.BadParameter] = typer.BadParameter.__base__  # type: ignore[assignment]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def run_app(build: Callable[[], typer.Typer]) -> None:
    """Run what `build` returns; a VoxidError becomes one readable line (or JSON) and its exit code."""
    as_json = "--json" in sys.argv
    try:
        # Standing alone, typer prints wrong usage itself, and never as JSON.
        code = build()(standalone_mode=not as_json)
        sys.exit(code if isinstance(code, int) else 0)
    except VoxidError as error:
        _fail(type(error).__name__, str(error), error.exit_code)
    except USAGE_ERROR as error:  # only with --json: else typer has printed it
        _fail("WrongUsage", error.format_message(), error.exit_code)
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        _fail(type(missing).__name__, str(missing), missing.exit_code)
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(CTRL_C)
    except SystemExit as end:
        if end.code == CTRL_C:  # typer exits on Ctrl-C without a word
            print(STOPPED, file=sys.stderr)
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _fail(name: str, message: str, exit_code: int) -> NoReturn:
    """Say what went wrong, the way the user asked for, and end the process."""
    if "--json" in sys.argv:
        print(json_module.dumps({"error": name, "message": message}))
    else:
        print(f"{name}: {message.replace(chr(10), ' ')}", file=sys.stderr)
    sys.exit(exit_code)


def print_bug(error: Exception) -> None:
    """Print the traceback of an error nobody foresaw; with --json also the object that scripts wait for."""
    traceback.print_exception(error)
    if "--json" in sys.argv:
        print(json_module.dumps({"error": type(error).__name__, "message": f"a bug in voxid: {error}"}))


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
    speed and the time left are reckoned afresh. A total of 0 is one that nobody knows. Nothing is drawn when
    `quiet` or when standard error is not a terminal.
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
                progress.reset(task, total=total or None)
            progress.update(task, completed=done, total=total or None)

        yield update
