"""The command line: commands that are thin skins over one public call each.

Nothing is imported at the top, so that `main` ends well when Ctrl-C comes while the rest is imported; and the
command modules import typer and nothing heavier, so that `voxid --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

# panel of `voxid --help` -> name of the command -> module that holds a function, or a group of commands, of
# that name (dashes become underscores)
PANELS = {
    "Use a model": {
        "compare": "voxid.cli.people",
        "enroll": "voxid.cli.people",
        "verify": "voxid.cli.people",
        "identify": "voxid.cli.people",
        "timeline": "voxid.cli.timeline",
        "speakers": "voxid.cli.speakers",
        "listen": "voxid.cli.listen",
        "serve": "voxid.cli.serve",
        "keys": "voxid.cli.serve",
        "adapt": "voxid.cli.adapt",
        "embed": "voxid.cli.embed",
        "models": "voxid.cli.models",
        "doctor": "voxid.cli.doctor",
    },
    "Train a model": {
        "demo": "voxid.cli.demo",
        "download": "voxid.cli.download",
        "split": "voxid.cli.split",
        "prepare": "voxid.cli.prepare",
        "recipes": "voxid.cli.recipes",
        "train": "voxid.cli.train",
        "average": "voxid.cli.average",
        "export": "voxid.cli.export",
        "import": "voxid.cli.importing",
        "import-seed": "voxid.cli.import_seed",
    },
    "Measure a model": {
        "trials": "voxid.cli.trials",
        "evaluate": "voxid.cli.evaluate",
        "calibrate": "voxid.cli.calibrate",
        "plan": "voxid.cli.plan",
        "metrics": "voxid.cli.metrics",
        "conversations": "voxid.cli.timeline",
        "evaluate-timeline": "voxid.cli.timeline",
    },
}
COMMANDS = {name: module for panel in PANELS.values() for name, module in panel.items()}
CTRL_C = 130  # exit code, by convention 128 + SIGINT
STOPPED = "stopped by Ctrl-C; every file that was written is whole"


def build_app(only: str | None = None) -> typer.Typer:
    """Return the typer application with every command, or with the command `only`, which is there sooner."""
    from importlib import import_module

    import typer

    from voxid.cli._common import root

    app = typer.Typer(
        name="voxid",
        help="Tell who is speaking: use a trained model, train your own, measure both.",
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    panel_of = {name: panel for panel, names in PANELS.items() for name in names}
    for name, module in COMMANDS.items() if only is None else [(only, COMMANDS[only])]:
        found = getattr(import_module(module), name.replace("-", "_"))
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name, rich_help_panel=panel_of.get(name))
        else:
            app.command(name, rich_help_panel=panel_of.get(name))(found)

    app.callback(invoke_without_command=True)(root)
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
