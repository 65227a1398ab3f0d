"""`voxid models`: what can be loaded by name, and what encoders can be trained."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from voxid.cli._common import JsonFlag, echo, emit, some


def models(
    available: Annotated[
        bool, typer.Option("--available", help="List what others published and `voxid import` takes.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the models that come with voxid, and the encoders with their size and cost.

    The error rates of a model were measured by `voxid evaluate`, and are kept in its folder. The cost is in
    MACs (multiply-accumulates) for 2 s of speech, which are 200 frames unless the line says otherwise. The
    published figures stand beside ours.

    Example: `voxid models` · `voxid models --available` · `voxid models --json`
    """
    if available:
        _available(as_json)
        return
    rows, shipped = _encoders(), _models()
    emit({"models": shipped, "encoders": rows}, as_json, lambda: _print(shipped, rows))


def _available(as_json: bool) -> None:
    """List the catalogue of published models."""
    from voxid.published.catalogue import as_row
    from voxid.published.catalogue import available as entries

    found = entries()

    def text() -> None:
        for entry in found:
            eer = "" if entry.eer is None else f", EER {entry.eer:g} % on VoxCeleb1-O ({entry.eer_by})"
            echo(f"{entry.name}: {entry.network}, {entry.parameters / 1e6:.1f} M parameters{eer}")
            echo(f"  about {entry.megabytes:.0f} MB; trained on {entry.trained_on}; {entry.language}")
            echo(f"  licence: {entry.licence}" + (f"; not for {entry.forbids}" if entry.forbids else ""))
        unchecked = sum(not entry.checked for entry in found)
        echo(
            f"\nAddresses of {unchecked} of {len(found)} are as their projects give them, and were not tried."
        )
        echo("Next: voxid download NAME -o published, then voxid import published/NAME -o MODEL")

    emit({"available": [as_row(entry) for entry in found]}, as_json, text)


def _models() -> list[dict[str, Any]]:
    """Return a row for each model that comes with voxid, read from its folder."""
    from voxid.model.card import Card
    from voxid.pretrained import shipped

    rows: list[dict[str, Any]] = []
    for name, folder in shipped().items():
        config = Card.read(folder)
        calibration = config.calibration
        rows.append(
            {
                "name": name,
                "folder": folder,
                "fingerprint": None if config.graphs is None else config.graphs.fingerprint,
                "dim": None if config.graphs is None else config.graphs.dim,
                "size_bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
                "parameters": config.metadata.get("parameters"),
                "multiply_adds": config.metadata.get("multiply_adds"),
                "encoder": config.encoder,
                "features": config.features["name"],
                "inference": config.inference.model_dump(),
                "calibration": None
                if calibration is None
                else {
                    "prior": calibration.prior,
                    "threshold": calibration.threshold,
                    "least_far": None if calibration.impostors is None else calibration.impostors.askable,
                    "fitted_on": None if calibration.fitted_on is None else calibration.fitted_on.name,
                },
                "results": config.metadata.get("results", {}),
            }
        )
    return rows


def _encoders() -> list[dict[str, Any]]:
    """Return a row for each published variant of an encoder."""
    from voxid.encoders.catalog import VARIANTS

    return [
        {
            **some(variant, "name", "encoder", "input_dim", "frames", "source"),
            "parameters": variant.counted[0],
            "multiply_adds": variant.counted[1],
            "published_parameters": variant.parameters,
            "published_multiply_adds": variant.multiply_adds,
        }
        for variant in VARIANTS
    ]


def _print_models(models: list[dict[str, Any]]) -> None:
    if not models:
        echo("Models that come with voxid: none. Train one: voxid train RECIPE --train CORPUS -o RUN\n")
        return
    for row in models:
        size = "-" if row["parameters"] is None else f"{row['parameters'] / 1e6:.2f} M parameters"
        work = "-" if row["multiply_adds"] is None else f"{row['multiply_adds'] / 1e9:.2f} G MACs for 2 s"
        echo(
            f"{row['name']}: {row['encoder']['name']} on {row['features']}, {size}, {work}, "
            f"{row['size_bytes'] / 1e6:.1f} MB"
        )
        calibration = row["calibration"]
        if calibration is None:
            echo("  not calibrated, so it gives scores and no decisions")
        else:
            fitted = f", fitted on {calibration['fitted_on']}" if calibration["fitted_on"] else ""
            least = calibration["least_far"]
            rates = "" if least is None else f", false-alarm rates from {least:g}"
            echo(f"  calibrated at prior {calibration['prior']:g}{rates}{fitted}")
        for data, result in row["results"].items():
            low, high = result.get("low"), result.get("high")
            interval = "" if low is None or high is None else f" ({low:.2%} to {high:.2%})"
            decided = f", {result['llr']['eer']:.2%} by LLR" if result.get("llr") else ""
            echo(f"  EER {result['eer']:.2%}{interval}{decided} on {data}, {result['trials']:,} trials")
    echo("")


def _print(models: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    _print_models(models)
    width = max(len(row["name"]) for row in rows)
    echo(f"{'encoder':{width}}  name      features  parameters  published           MACs  published")
    for row in rows:
        size = f"{row['parameters'] / 1e6:.2f} M"
        work = f"{row['multiply_adds'] / 1e9:.2f} G"
        features = f"{row['frames']}x{row['input_dim']}"
        published = row["published_parameters"], row["published_multiply_adds"]
        sizes = "-" if published[0] is None else f"{published[0] / 1e6:.1f} M"
        works = "-" if published[1] is None else f"{published[1] / 1e9:.2f} G"
        echo(
            f"{row['name']:{width}}  {row['encoder']['name']:8}  {features:>8}  {size:>10}  {sizes:>9}  "
            f"{work:>13}  {works:>9}"
        )
    echo(
        "\nFeatures are frames x values. MACs (multiply-accumulates) are for 2 s of speech. Ours are fewer"
        "\nthan the published where voxid computes a product once that is equal for many frames. --json has"
        "\nevery option. To train one of them: pip install 'voxid[train]'."
    )
