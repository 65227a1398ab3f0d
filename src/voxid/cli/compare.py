"""`voxid compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from voxid.cli._common import JsonFlag, echo, emit
from voxid.cli._people import (
    MODEL,
    NO,
    ChannelOption,
    FalseAlarmOption,
    FarOption,
    MissOption,
    ModelOption,
    PriorOption,
    sources,
)


def compare(
    a: Annotated[str, typer.Argument(help="A recording; - reads standard input.")],
    b: Annotated[str, typer.Argument(help="Another recording.")],
    channel: ChannelOption = None,
    model: ModelOption = MODEL,
    prior: PriorOption = None,
    cost_miss: MissOption = None,
    cost_false_alarm: FalseAlarmOption = None,
    far: FarOption = None,
    json: JsonFlag = False,
) -> None:
    """Tell whether one speaker said both recordings.

    Exit code 0: accepted as the same speaker. 1: not accepted. 2 and above: no decision, because of an
    error (4 audio, 6 model).

    Example: `voxid compare a.wav b.wav --model models/mine`
    """
    from voxid.recognizer import compare as run

    left, right = sources([a, b], channel)
    decision = run(
        left,
        right,
        model=model,
        prior=prior,
        cost_miss=cost_miss,
        cost_false_alarm=cost_false_alarm,
        far=far,
    )

    def text() -> None:
        verdict = "the same speaker" if decision.accepted else "not accepted as the same speaker"
        heard = " and ".join(f"{seconds:.1f}" for seconds in decision.speech_s)
        echo(
            f"{verdict}: {decision.reason}. Probability {decision.probability:.1%}, "
            f"cosine {decision.cosine:.3f}, from {heard} seconds of audio."
        )
        for warning in decision.warnings:
            echo(f"warning: {warning}")

    emit(decision.to_dict(), json, text)
    if not decision.accepted:
        raise typer.Exit(NO)
