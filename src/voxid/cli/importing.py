"""`voxid import`: encoders that others published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxid.cli._common import JsonFlag, LayoutOption, echo, emit, some

if TYPE_CHECKING:
    from voxid.model.network import Model


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A checkpoint, the folder that holds it, or an ONNX file; or `resemblyzer`, if installed."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", readable=False, help="The model folder to write.")],
    kind: Annotated[
        str | None,
        typer.Option(
            help="wespeaker, 3dspeaker, speechbrain, clovaai, resemblyzer, seed or onnx.",
            show_default="what the tensors are",
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="ONNX only: fbank80, mel64, wave, or a project: wespeaker, 3dspeaker, nemo.",
            show_default="what the file says",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="What the file does not tell, such as features.scale=32768."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", readable=False, help="ONNX only: speech to try the encoder on; repeatable."),
    ] = None,
    layout: LayoutOption = "auto",
    json: JsonFlag = False,
) -> None:
    """Import an encoder that was trained elsewhere as a model folder; no code in its file is run.

    Checkpoints of WeSpeaker (ECAPA-TDNN, ResNet, CAM++, ReDimNet), 3D-Speaker (CAM++), SpeechBrain
    (ECAPA-TDNN), clovaai's voxceleb_trainer (Fast ResNet) and Resemblyzer become voxid's own encoders and
    give the same embeddings as there. Any other encoder comes in as an ONNX file.

    Example: `voxid import voxceleb_resnet34/ -o models/resnet34`

    Example: `voxid import model.onnx --features fbank80 -o models/any --data LibriSpeech/dev-clean`
    """
    from voxid.published.importing import find_file, import_model

    file = find_file(source)
    if kind == "onnx" or (kind is None and file.suffix == ".onnx"):
        _onnx(file, out, features, overrides or [], data, layout, json)
        return
    model = import_model(source, out, kind=kind, overrides=overrides or [])
    result = imported(model, out)
    result |= {"kind": model.metadata.get("kind", "seed"), "features": model.tables["features"]}

    def text() -> None:
        options = ", ".join(f"{key} {value}" for key, value in model.tables["encoder"].items())
        echo(
            f"{out}: {model.metadata.get('network', '')} of {result['kind']}: {options}".replace(":  of", ":")
        )
        echo(f"features: {', '.join(f'{k} {v}' for k, v in model.tables['features'].items())}")
        _next(out)

    emit(result, json, text)


def imported(model: Model, out: Path) -> dict[str, Any]:
    """Return what --json says of a model that came from a checkpoint."""
    return {
        "model": str(out),
        "encoder": model.tables["encoder"],
        **some(model, "dim", "fingerprint", "metadata"),
    }


def _onnx(
    file: Path, out: Path, features: str | None, overrides: list[str], data: Any, layout: str, json: bool
) -> None:
    from voxid.evaluation import read_data
    from voxid.published.onnxfile import import_onnx

    corpus = read_data(data, layout) if data else None
    done = import_onnx(file, out, features=features, overrides=overrides, data=corpus)
    behaviour = done.behaviour
    result = {
        "model": str(out),
        "kind": "onnx",
        **some(done.card, "features", "encoder", "fingerprint", "metadata"),
        "dim": None if done.card.graphs is None else done.card.graphs.dim,
        **some(done, "assumed", "warnings"),
        "behaviour": vars(behaviour),
    }

    def text() -> None:
        echo(f"{out}: embeddings of {result['dim']} numbers; runs by onnxruntime")
        echo("assumed: " + "; ".join(done.assumed))
        echo(
            f"cosines on {behaviour.speech}: two halves of a recording {behaviour.halves:.2f}, the same more "
            f"softly {behaviour.softer:.2f}, two voices {behaviour.others:.2f}"
        )
        for warning in done.warnings:
            echo(f"careful: {warning}")
        _next(out)

    emit(result, json, text)


def _next(out: Path) -> None:
    echo("not calibrated, so it gives scores and no decisions")
    echo(f"next: voxid calibrate {out} --data D, with people it was not trained on")


globals()["import"] = import_  # the command's name, which is a word of Python's
