"""`voxid models`: what can be loaded by name, and what encoders can be trained."""

from __future__ import annotations

from typing import Any

import typer

from voxid.cli._common import JsonFlag, emit
from voxid.errors import missing_extra


def models(as_json: JsonFlag = False) -> None:
    """List the models that come with voxid, and the encoders with their size and cost.

    The cost is the multiply-adds of 2 s of speech: 200 frames unless the line says otherwise. Beside it
    stands what was published.

    Example: `voxid models` · `voxid models --json`
    """
    try:
        rows = _encoders()
    except ModuleNotFoundError as error:
        if missing_extra(error) is None:
            raise
        rows = None  # without torch there is nothing to train
    emit({"models": [], "encoders": rows}, as_json, lambda: _print(rows))


def _encoders() -> list[dict[str, Any]]:
    """Return a row for each published variant of an encoder."""
    from voxid.encoders.catalog import VARIANTS
    from voxid.encoders.cost import cost

    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        counted = cost(variant.encoder, variant.input_dim, variant.frames)
        rows.append(
            {
                "name": variant.name,
                "encoder": variant.encoder,
                "input_dim": variant.input_dim,
                "frames": variant.frames,
                "parameters": counted.parameters,
                "multiply_adds": counted.multiply_adds,
                "published_parameters": variant.parameters,
                "published_multiply_adds": variant.multiply_adds,
                "source": variant.source,
            }
        )
    return rows


def _print(rows: list[dict[str, Any]] | None) -> None:
    typer.echo("Models that come with voxid: none yet. Train one: voxid train RECIPE --train CORPUS -o RUN\n")
    if rows is None:
        typer.echo("Encoders to train come with the training extra: pip install 'voxid[train]'")
        return
    width = max(len(row["name"]) for row in rows)
    typer.echo(f"{'encoder':{width}}  name      features  parameters  published  multiply-adds  published")
    for row in rows:
        size = f"{row['parameters'] / 1e6:.2f} M"
        work = f"{row['multiply_adds'] / 1e9:.2f} G"
        features = f"{row['frames']}x{row['input_dim']}"
        published = row["published_parameters"], row["published_multiply_adds"]
        sizes = "-" if published[0] is None else f"{published[0] / 1e6:.1f} M"
        works = "-" if published[1] is None else f"{published[1] / 1e9:.2f} G"
        typer.echo(
            f"{row['name']:{width}}  {row['encoder']['name']:8}  {features:>8}  {size:>10}  {sizes:>9}  "
            f"{work:>13}  {works:>9}"
        )
    typer.echo(
        "\nMultiply-adds are those of 2 s of speech: frames x features. Where they are fewer than published,"
        "\nproducts that are equal for many frames are computed once. voxid models --json has every option."
    )
