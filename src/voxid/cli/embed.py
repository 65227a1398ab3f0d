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
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="The .npz file to write.")],
    channel: ChannelOption = None,
    layout: LayoutOption = "auto",
    mode: Annotated[str | None, typer.Option(help="sliding or full, instead of the model's own.")] = None,
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    json: JsonFlag = False,
) -> None:
    """Write the embeddings of recordings or corpora to a file that `numpy.load` reads.

    The file holds embeddings (N, D) float32, utterances, speakers, the model's fingerprint, and left_out
    with left_out_reasons for recordings that could not be used.

    Example: `voxid embed runs/bilstm LibriSpeech/test-clean -o embeddings.npz`
    """
    from voxid.embed import load
    from voxid.embed.bulk import count_reasons, embed_data

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
