"""`voxid export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxid.cli import _complete
from voxid.cli._common import JsonFlag, LayoutOption, echo, emit, progress_bar, some


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A model folder, as `voxid train` left it, or a model that comes with voxid.",
            autocompletion=_complete.models,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="The folder to write.")],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", readable=False, help="Speech to compare the engines on; may be repeated."),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit weights, if the EER on --data rises by 2 % at most.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="The name to put into the metadata.")] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option("--report", readable=False, help="A report.json whose error rates to show; repeatable."),
    ] = None,
    layout: LayoutOption = "auto",
    target: Annotated[
        str,
        typer.Option("--format", help="voxid; or, as one file, wespeaker-onnx or sherpa-onnx."),
    ] = "voxid",
    json: JsonFlag = False,
) -> None:
    """Export a model to ONNX, so that it runs without torch.

    The folder serves both engines from one copy of the weights. Nothing is written when onnxruntime and torch
    differ by more than 1e-4 (on --data, else on synthetic voices), or, with --int8, when the equal error
    rate on --data rises by more than 2 % of itself.

    With --format the encoder becomes one file for another runtime, which computes the features itself: the
    least cosine of its embeddings with the model's own is measured, and under 0.95 nothing is written.

    Example: `voxid export runs/base -o exported/base --data LibriSpeech/dev-clean`

    Example: `voxid export models/resnet34 -o resnet34.onnx --format sherpa-onnx`
    """
    if target != "voxid":
        _export_for(target, model, out, data, int8, layout, json)
        return
    from voxid.export import export as run

    with progress_bar("embedding", quiet=json) as update:
        done = run(
            model,
            out,
            data=data or None,
            int8=int8,
            name=name,
            reports=report or (),
            layout=layout,
            progress=update,
        )
    agreement = done.agreement
    summary = {
        "out": done.folder,
        **some(done, "precision", "fingerprint", "parameters", "multiply_adds", "size_bytes"),
        "difference": agreement and agreement.worst,
        "compared_on": agreement and agreement.speech,
        "compared_recordings": agreement and agreement.recordings,
        **some(done, "eer_fp32", "eer_int8", "trials"),
    }

    def text() -> None:
        macs = "" if done.multiply_adds is None else f"{done.multiply_adds / 1e9:.2f} G MACs for 2 s, "
        echo(
            f"{done.folder}: {done.precision}, {done.parameters / 1e6:.2f} M parameters, "
            f"{macs}{done.size_bytes / 1e6:.1f} MB"
        )
        if agreement is not None:
            echo(
                f"onnxruntime and torch differ by {agreement.worst:.1e} at most (32 bits, "
                f"{agreement.recordings} recordings of {agreement.speech}, {agreement.shortest_s:.1f} to "
                f"{agreement.longest_s:.1f} s)"
            )
        if done.eer_int8 is not None and done.eer_fp32 is not None:
            echo(f"EER in 8 bits {done.eer_int8:.3%}, in 32 bits {done.eer_fp32:.3%}")

    emit(summary, json, text)


def _export_for(
    target: str, model: str, out: Path, data: list[Path] | None, int8: bool, layout: str, json: bool
) -> None:
    from voxid.errors import BadConfig, did_you_mean
    from voxid.export.others import RUNTIMES, export_for

    if target not in RUNTIMES:
        known = ["voxid", *RUNTIMES]
        raise BadConfig(f"--format {target!r}. Known: {', '.join(known)}.{did_you_mean(target, known)}")
    if int8:
        raise BadConfig(f"--int8 is for voxid's own format, not for {target}.")
    done = export_for(target, model, out, data=data or None, layout=layout)  # type: ignore[arg-type]
    differing = {name: {"model": mine, "runtime": theirs} for name, mine, theirs in done.differing}
    summary = {
        "out": str(done.file),
        "format": target,
        "cosine": done.cosine,
        "compared_on": done.speech,
        "compared_recordings": done.recordings,
        "differing": differing,
    }

    def text() -> None:
        echo(f"{done.file}: for {target}")
        echo(
            f"embeddings by its features have a cosine of {done.cosine:.4f} with the model's own at worst "
            f"({done.recordings} recordings of {done.speech})"
        )
        for name, values in differing.items():
            echo(f"features differ: {name} is {values['model']}, there {values['runtime']}")

    emit(summary, json, text)
