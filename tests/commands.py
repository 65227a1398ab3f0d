"""The command line in this process: the one command that was asked for, as `voxid.cli.main` builds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.testing import CliRunner, Result

from voxid.cli import COMMANDS, build_app


def invoke(words: Sequence[str], **options: Any) -> Result:
    """Return what `voxid WORDS` comes to."""
    asked = next(iter(words), "")
    return CliRunner().invoke(build_app(asked if asked in COMMANDS else None), list(words), **options)
