"""What every command shares: errors to exit codes, JSON or text, progress bars.

Exit codes: 0 done, 2 wrong usage, 3-13 the kind of error (`exit_code` in voxid/errors.py), 70 a bug, 130
Ctrl-C, 141 nobody reads the answer any more; 1 is an answer: not accepted, unknown, not finished.
"""

from __future__ import annotations

import errno
import json as json_module
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Annotated, Any, NoReturn

import typer

from voxid.errors import OutputError, VoxidError, missing_extra, printable

BUG = 70  # EX_SOFTWARE of sysexits.h; never 1, which is an answer
DB, COLLECTION, MODEL = "voxid.db", "default", "voxid-base"  # what is meant where nothing is said
READER_GONE = 141  # by convention 128 + SIGPIPE
MAX_SEED = 2**63 - 1  # the largest that numpy and torch both take
NOT_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}

FIRST = """\
voxid tells who is speaking. To begin:

  voxid compare a.wav b.wav          do two recordings have the same speaker?
  voxid enroll alice a1.wav a2.wav   remember a person
  voxid verify alice new.wav         is it alice?
  voxid identify new.wav             who of the enrolled people is it?
  voxid demo                         train a small model in a few minutes, and measure it
  voxid doctor                       what is installed here, and what is missing

All commands: voxid --help. One of them: voxid COMMAND --help.
Completion in your shell: voxid --install-completion."""

USAGE_ERROR: type[typer.BadParameter] = typer.BadParameter.__base__  # type: ignore[assignment]

VadOption = Annotated[
    str,
    typer.Option("--vad", help="What finds speech: energy, or silero (pip install 'voxid[vad]')."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
LayoutOption = Annotated[
    str, typer.Option("--layout", help="How the corpus is laid out; auto finds out (docs/corpora.md).")
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Where to compute: cpu, cuda, mps, or auto (the fastest there is).")
]


def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Say what to do first, where no command is named."""
    if version:
        from voxid import __version__

        typer.echo(f"voxid {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(FIRST)


def run_app(build: Callable[[], typer.Typer]) -> NoReturn:
    """Run what `build` returns and exit; an error is one readable line, or JSON, and its exit code."""
    _prepare_streams()
    try:
        code = _invoke(build())
        sys.stdout.flush()  # here, where a full disk can still be told
    except VoxidError as error:
        code = _fail(type(error).__name__, str(error), error.exit_code)
    except USAGE_ERROR as error:
        code = _wrong_usage(error)
    except ModuleNotFoundError as error:
        if (missing := missing_extra(error)) is None:
            raise
        code = _fail(type(missing).__name__, str(missing), missing.exit_code)
    except BrokenPipeError:
        _give_up_stdout()
        code = READER_GONE
    except OSError as error:
        if error.filename is not None or error.errno not in NOT_WRITTEN:
            raise
        _give_up_stdout()
        print(f"OutputError: the answer cannot be written ({error.strerror}).", file=sys.stderr)
        code = OutputError.exit_code
    sys.exit(code)


def _prepare_streams() -> None:
    """Let no answer fail on a character the terminal cannot show, or on a stream that is closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 -- for as long as the process lives
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _invoke(app: typer.Typer) -> int:
    """Run the command of sys.argv. typer's own runner would turn a closed pipe into 1, which is an answer."""
    if "_VOXID_COMPLETE" in os.environ:
        app()
    try:
        with typer.main.get_command(app).make_context("voxid", sys.argv[1:]) as context:
            context.command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _give_up_stdout() -> None:
    """Send what is left in the buffers nowhere, so that Python does not try once more at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(name: str, message: str, exit_code: int) -> int:
    """Say what went wrong, the way the user asked for, and return the exit code."""
    try:
        if "--json" in sys.argv:
            print(json_module.dumps({"error": name, "message": message}), flush=True)
        else:
            print(printable(f"{name}: {message}").replace("\n", " "), file=sys.stderr)
    except OSError:
        _give_up_stdout()
    return exit_code


def _wrong_usage(error: typer.BadParameter) -> int:
    if "--json" in sys.argv:
        return _fail("WrongUsage", error.format_message(), error.exit_code)
    try:
        from typer.rich_utils import rich_format_error

        rich_format_error(error)
    except ImportError:
        error.show()
    return error.exit_code


def print_bug(error: Exception) -> None:
    """Print the traceback of an error nobody foresaw; with --json also the object that scripts wait for."""
    with suppress(OSError):
        traceback.print_exception(error)
    if "--json" in sys.argv:
        _fail(type(error).__name__, f"a bug in voxid: {error}", BUG)


def echo(text: str = "", err: bool = False, nl: bool = True) -> None:
    """Print text for a person, on standard error if `err`."""
    typer.echo(printable(text), err=err, nl=nl)


def emit(result: dict[str, Any], as_json: bool, text: Callable[[], None]) -> None:
    """Print `result` as one JSON object, or call `text` to print it for a person."""
    if as_json:
        typer.echo(json_module.dumps(result, indent=2, allow_nan=False, default=_as_json))
    else:
        text()


def _as_json(value: Any) -> Any:
    """Return a moment, a table or a path as a value that JSON knows."""
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else os.fspath(value)


def some(value: object, *names: str) -> dict[str, Any]:
    """Return some fields of a value as they are, for `emit`."""
    return {name: getattr(value, name) for name in names}


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
