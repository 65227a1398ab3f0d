"""The command line: commands that are thin skins over one public call each.

Nothing is imported at the top, so that `main` ends well when Ctrl-C comes while the rest is imported; and the
command modules import typer and nothing heavier, so that `voxid --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

# name of the command -> module that holds a function of that name (dashes become underscores)
COMMANDS = {
    "prepare": "voxid.cli.prepare",
    "download": "voxid.cli.download",
    "split": "voxid.cli.split",
    "train": "voxid.cli.train",
    "average": "voxid.cli.average",
    "trials": "voxid.cli.trials",
    "evaluate": "voxid.cli.evaluate",
    "calibrate": "voxid.cli.calibrate",
    "adapt": "voxid.cli.adapt",
    "metrics": "voxid.cli.metrics",
    "import-seed": "voxid.cli.import_seed",
    "embed": "voxid.cli.embed",
    "export": "voxid.cli.export",
    "enroll": "voxid.cli.people",
    "verify": "voxid.cli.people",
    "identify": "voxid.cli.people",
    "speakers": "voxid.cli.speakers",
    "listen": "voxid.cli.listen",
    "compare": "voxid.cli.people",
    "serve": "voxid.cli.serve",
    "keys": "voxid.cli.serve",
    "recipes": "voxid.cli.recipes",
    "models": "voxid.cli.models",
    "demo": "voxid.cli.demo",
}
CTRL_C = 130  # exit code, by convention 128 + SIGINT
STOPPED = "stopped by Ctrl-C; every file that was written is whole"


def build_app(only: str | None = None) -> typer.Typer:
    """Return the typer application with every command, or with the command `only`, which is there sooner."""
    from importlib import import_module

    import typer

    app = typer.Typer(
        name="voxid",
        help="Speaker recognition from scratch: train an encoder, measure it honestly, put it to work.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, module in COMMANDS.items() if only is None else [(only, COMMANDS[only])]:
        app.command(name)(getattr(import_module(module), name.replace("-", "_")))

    @app.callback(invoke_without_command=True)
    def root(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
        if version:
            from voxid import __version__

            typer.echo(f"voxid {__version__}")
            raise typer.Exit

    return app


def main() -> None:
    """Run the command line; the one place where an error becomes an exit code."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        from voxid.cli._common import run_app

        run_app(lambda: build_app(asked if asked in COMMANDS else None))
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(CTRL_C)
    except Exception as error:
        from voxid.cli._common import BUG, print_bug

        print_bug(error)
        sys.exit(BUG)
