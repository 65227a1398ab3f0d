"""`voxid verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from voxid.cli._common import JsonFlag, echo, emit
from voxid.cli._people import (
    COLLECTION,
    DB,
    MODEL,
    NO,
    ChannelOption,
    CollectionOption,
    DbOption,
    FalseAlarmOption,
    FarOption,
    MissOption,
    ModelOption,
    PriorOption,
    sources,
)


def verify(
    name: Annotated[str, typer.Argument(help="Who it is said to be.")],
    audio: Annotated[str, typer.Argument(help="A recording; - reads standard input.")],
    db: DbOption = DB,
    collection: CollectionOption = COLLECTION,
    channel: ChannelOption = None,
    model: ModelOption = MODEL,
    prior: PriorOption = None,
    cost_miss: MissOption = None,
    cost_false_alarm: FalseAlarmOption = None,
    far: FarOption = None,
    json: JsonFlag = False,
) -> None:
    """Tell whether a recording is of somebody enrolled.

    Exit code 0: accepted. 1: not accepted. 2 and above: no decision, because of an error.

    Example: `voxid verify alice new.wav --db sqlite:///people.db --far 0.01`
    """
    from voxid.recognizer import Recognizer

    with Recognizer(db, model, collection=collection) as recognizer:
        decision = recognizer.verify(
            name,
            sources([audio], channel)[0],
            prior=prior,
            cost_miss=cost_miss,
            cost_false_alarm=cost_false_alarm,
            far=far,
        )
    emit(decision.to_dict(), json, lambda: echo(str(decision)))
    if not decision.accepted:
        raise typer.Exit(NO)
