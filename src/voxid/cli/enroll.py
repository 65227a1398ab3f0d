"""`voxid enroll`."""

from __future__ import annotations

from typing import Annotated

import typer

from voxid.cli._common import JsonFlag, echo, emit
from voxid.cli._people import (
    COLLECTION,
    DB,
    MODEL,
    ChannelOption,
    CollectionOption,
    DbOption,
    ModelOption,
    sources,
)


def enroll(
    name: Annotated[str, typer.Argument(help="Who it is.")],
    clips: Annotated[list[str], typer.Argument(help="Recordings of them; - reads standard input.")],
    db: DbOption = DB,
    collection: CollectionOption = COLLECTION,
    channel: ChannelOption = None,
    model: ModelOption = MODEL,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take these clips instead of those held.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Enroll somebody, or add clips to who is enrolled. It tells how much speech is still wanted.

    A clip that does not sound like the others is kept and pointed out. No audio is kept.

    Example: `voxid enroll alice a1.wav a2.wav --db sqlite:///people.db`
    """
    from voxid.recognizer import Recognizer

    with Recognizer(db, model, collection=collection) as recognizer:
        done = recognizer.enroll(name, sources(clips, channel), replace=replace)
    emit(done.to_dict(), json, lambda: echo(str(done)))
