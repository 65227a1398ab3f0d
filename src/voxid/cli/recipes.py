"""`voxid recipes`: what can be trained."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from voxid.cli import _complete
from voxid.cli._common import JsonFlag, echo, emit


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(help="Print this recipe with its explanations.", autocompletion=_complete.recipes),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the recipes that come with voxid, or print one.

    Example: `voxid recipes` · `voxid recipes bilstm-clean100 > mine.toml`
    """
    from voxid.recipes import read_toml, recipe_text, shipped_recipes

    if name is not None:
        text = recipe_text(name)
        emit(read_toml(text, f"recipe {name}"), as_json, lambda: echo(text, nl=False))
        return
    keys = ("name", "description", "published_eer", "trained_on")
    rows: list[dict[str, Any]] = []
    for shipped in shipped_recipes():
        values = read_toml(recipe_text(shipped), shipped)
        rows.append({key: values.get(key) for key in keys})
    emit({"recipes": rows}, as_json, lambda: _print_list(rows))


def _print_list(rows: list[dict[str, Any]]) -> None:
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        eer = "" if row["published_eer"] is None else f" ({row['published_eer']:.2f} % EER published)"
        echo(f"{row['name']:{width}}  {row['description']}{eer}")
    echo("\nPublished EERs are the original system's, on LibriSpeech test-clean.")
    echo("Read one: voxid recipes NAME. Train one: voxid train NAME --train CORPUS -o RUN")
