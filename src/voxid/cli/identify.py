"""`voxid identify`."""

from __future__ import annotations

from typing import Annotated

import typer

from voxid.cli._common import JsonFlag, echo, emit, progress_bar
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


def identify(
    audio: Annotated[str, typer.Argument(help="A recording; - reads standard input.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many candidates to show.")] = 5,
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
    """Tell who of the enrolled people a recording is of, or that it is nobody known.

    Prior and threshold account for how many are enrolled. Exit code 0: somebody known. 1: unknown. 2 and
    above: no answer, because of an error.

    Example: `voxid identify new.wav --db sqlite:///people.db --top 3`
    """
    from voxid.recognizer import Recognizer

    with (
        Recognizer(db, model, collection=collection) as recognizer,
        progress_bar("reading people", quiet=json) as update,
    ):
        found = recognizer.identify(
            sources([audio], channel)[0],
            top=top,
            prior=prior,
            cost_miss=cost_miss,
            cost_false_alarm=cost_false_alarm,
            far=far,
            progress=update,
        )
    emit(found.to_dict(), json, lambda: echo(str(found)))
    if not found.known:
        raise typer.Exit(NO)
