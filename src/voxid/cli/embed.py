"""`voxid embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import DeviceOption, JsonFlag, LayoutOption, VadOption, echo, emit, progress_bar
from voxid.cli.people import ChannelOption, ModelArgument, sources

SHOWN = 5  # warnings


def embed(
    model: ModelArgument,
    data: Annotated[
        list[str],
        typer.Argument(help="Corpora, prepared folders or audio files; - reads standard input."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", readable=False, help="The .npz file to write; with ray, a folder of Parquet."
        ),
    ],
    channel: ChannelOption = None,
    layout: LayoutOption = "auto",
    mode: Annotated[str | None, typer.Option(help="sliding or full, instead of the model's own.")] = None,
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    engine: Annotated[
        str, typer.Option(help="What runs it: local, or ray for many machines and millions of recordings.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="The Ray cluster: auto, or ray://HOST:10001. Default: one is started here."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write the embeddings of recordings or corpora to a file that `numpy.load` reads.

    The file holds embeddings (N, D) float32, utterances, speakers, the model's fingerprint, and left_out
    with left_out_reasons for recordings that could not be used.

    With --engine ray the data may also be tar files, Parquet lists with a column `path`, and addresses such
    as s3://bucket/list.parquet. The same command goes on where one was stopped (docs/scale.md).

    Example: `voxid embed runs/bilstm LibriSpeech/test-clean -o embeddings.npz`
    """
    if engine not in ("local", "ray"):
        raise typer.BadParameter(f"--engine is local or ray; got {engine!r}.")
    if engine == "ray":
        from voxid.embed.cluster import embed_on_ray

        made = embed_on_ray(
            model, data, out, address=address, layout=layout, mode=mode, vad=vad, device=device
        )
        counts = f"{made['inputs']:,} inputs, {made['embedded']:,} embeddings, {made['errors']:,} errors"
        emit({"out": str(out), **made}, json, lambda: echo(f"{out}: {counts}"))
        return
    from voxid.embed import load
    from voxid.embed.bulk import embed_data
    from voxid.types import count_reasons

    given = sources(data, channel)
    runtime = load(model, device=device, mode=mode)
    with progress_bar("embedding", quiet=json) as update:
        result = embed_data(runtime, given, layout=layout, vad=vad, progress=update)
    result.save(out)
    reasons = count_reasons(result.left_out)
    summary = {
        "out": str(out),
        "utterances": len(result.utterances),
        "speakers": len(set(result.speakers) - {""}),
        "dim": runtime.dim,
        "fingerprint": result.fingerprint,
        "left_out": reasons,
        "warnings": result.warnings,
    }

    def text() -> None:
        echo(f"{out}: {len(result.utterances)} embeddings of {runtime.dim} numbers")
        for reason, count in reasons.items():
            example = next(dropped for dropped in result.left_out if dropped.reason == reason)
            echo(f"left out {count} {reason}; for example {example.detail}")
        for warning in result.warnings[:SHOWN]:
            echo(f"warning: {warning}")
        if len(result.warnings) > SHOWN:
            echo(f"and {len(result.warnings) - SHOWN} more warnings: --json lists them.")

    emit(summary, json, text)
