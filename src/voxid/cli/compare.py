"""`voxid compare`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from voxid.cli._common import JsonFlag, emit

NOT_ACCEPTED = 1  # exit code


def compare(
    a: Annotated[str, typer.Argument(help="An audio file.")],
    b: Annotated[str, typer.Argument(help="Another audio file.")],
    model: Annotated[str | None, typer.Option(help="A calibrated model folder.")] = None,
    json: JsonFlag = False,
) -> None:
    """Tell whether one speaker said both recordings.

    Exit code 0: accepted as the same speaker. 1: not accepted. 3 and above: no decision, because of an
    error (4 audio, 6 model).

    Example: `voxid compare a.wav b.wav --model models/mine`
    """
    from voxid.recognizer import compare as run

    decision = run(a, b, model=model)

    def text() -> None:
        verdict = "the same speaker" if decision.accepted else "not accepted as the same speaker"
        heard = " and ".join(f"{seconds:.1f}" for seconds in decision.speech_s)
        typer.echo(
            f"{verdict}: {decision.reason}. Probability {decision.probability:.1%}, "
            f"cosine {decision.cosine:.3f}, from {heard} seconds of audio."
        )

    emit(asdict(decision), json, text)
    if not decision.accepted:
        raise typer.Exit(NOT_ACCEPTED)
