"""The commands on enrolled people, `voxid enroll`, `verify`, `identify` and `compare`, and their options.

The options that say where people are kept and how to decide stand here once, for `listen` and `speakers` too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from voxid.cli import _complete
from voxid.cli._common import (
    COLLECTION,
    DB,
    MODEL,
    DeviceOption,
    JsonFlag,
    VadOption,
    echo,
    emit,
    progress_bar,
)
from voxid.errors import BadAudioInput

NO = 1  # exit code: not accepted, or unknown
MOST_STDIN = 1 << 30  # bytes
DECIDING = "How to decide"  # panels of a help text
WHERE = "Model and people"

DbOption = Annotated[
    str,
    typer.Option(
        "--db",
        envvar="VOXID_DB",
        help="Where people are kept: a file, or an address such as postgresql://user@host/database.",
        rich_help_panel=WHERE,
    ),
]
CollectionOption = Annotated[
    str,
    typer.Option(
        "--collection", help="A group of people, searched apart from others.", rich_help_panel=WHERE
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="A model that comes with voxid, or a calibrated model folder.",
        autocompletion=_complete.models,
        rich_help_panel=WHERE,
    ),
]
PriorOption = Annotated[
    float | None,
    typer.Option(
        "--prior",
        help="Probability that it is the same speaker, before anything is heard. "
        "Default: the model's own (0.05 for voxid-base).",
        rich_help_panel=DECIDING,
    ),
]
MissOption = Annotated[
    float | None,
    typer.Option(
        "--cost-miss", help="What it costs to refuse the right speaker. Default: 1.", rich_help_panel=DECIDING
    ),
]
FalseAlarmOption = Annotated[
    float | None,
    typer.Option(
        "--cost-false-alarm",
        help="What it costs to accept a wrong speaker. Default: 1.",
        rich_help_panel=DECIDING,
    ),
]
FarOption = Annotated[
    float | None,
    typer.Option(
        "--far",
        help="Decide by a false-alarm rate instead of prior and costs: 0.01 accepts one stranger in 100.",
        rich_help_panel=DECIDING,
    ),
]
ModelArgument = Annotated[
    str,
    typer.Argument(help="A model that comes with voxid, or a model folder.", autocompletion=_complete.models),
]
NameArgument = Annotated[
    str, typer.Argument(help="The name of an enrolled person.", autocompletion=_complete.names)
]
ChannelOption = Annotated[
    str | None, typer.Option("--channel", help="Which channel to take, counted from 0; or mix.")
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server", envvar="VOXID_SERVER", help="Ask a `voxid serve` at this URL. Its key: VOXID_KEY."
    ),
]
Recording = Annotated[str, typer.Argument(help="A recording; - reads standard input.")]


def enroll(
    name: Annotated[
        str | None, typer.Argument(help="The person's name, new or enrolled.", autocompletion=_complete.names)
    ] = None,
    clips: Annotated[
        list[str] | None, typer.Argument(help="Recordings of them; - reads standard input.")
    ] = None,
    talk: Annotated[
        str | None, typer.Option("--from", help="A conversation to take clips from; --speaker says whose.")
    ] = None,
    speaker: Annotated[
        str | None, typer.Option("--speaker", help='A speaker of it, as `voxid timeline` says: "unknown 2".')
    ] = None,
    from_parquet: Annotated[
        Path | None,
        typer.Option(help="In place of a name: everybody in a folder that `voxid embed --engine ray` wrote."),
    ] = None,
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    channel: ChannelOption = None,
    model: ModelOption = MODEL,
    replace: Annotated[
        bool, typer.Option("--replace", help="Forget the person's older clips, and keep these.")
    ] = False,
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    json: JsonFlag = False,
) -> None:
    """Enroll a person, or add clips to a person who is enrolled. It says how much more speech is wanted.

    A clip that does not sound like the others is kept, with a warning. No audio is kept, only embeddings.

    With --from and --speaker, turns of a conversation are the clips (`voxid timeline` names its speakers).

    With --from-parquet, everybody that `voxid embed --engine ray` has embedded is enrolled, under the names
    of the speakers there. Running it again adds nothing.

    Example: `voxid enroll alice a1.wav a2.wav --db people.db`
    """
    if from_parquet is not None:
        if name or clips or talk or server:
            raise typer.BadParameter("--from-parquet enrolls everybody in the folder: give nothing else.")
        from voxid import stores
        from voxid.embed.parts import enroll_parquet

        with stores.open(db) as store:
            loaded = enroll_parquet(store, from_parquet, collection=collection)
            store.optimize(collection=collection)
        emit(
            loaded, json, lambda: echo(f"{loaded['people']:,} people, {loaded['voiceprints']:,} voiceprints")
        )
        return
    if name is None or (not clips and talk is None) or (talk is None) != (speaker is None):
        raise typer.BadParameter(
            "give a name and recordings, or a conversation (--from) and who is meant (--speaker)."
        )
    if talk is not None and server is not None:
        raise typer.BadParameter(
            "--from finds the speaker here, and --server asks a service: give one of them."
        )
    with recognizer_of(db, model, collection, server, vad=vad, device=device) as recognizer:
        heard = sources(clips or [], channel)
        if talk is not None and speaker is not None:
            [conversation] = sources([talk], channel)
            heard += recognizer.timeline(conversation).clips(conversation, speaker)
        done = recognizer.enroll(name, heard, replace=replace)
    emit(done.to_dict(), json, lambda: echo(str(done)))


def verify(
    name: NameArgument,
    audio: Recording,
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    channel: ChannelOption = None,
    model: ModelOption = MODEL,
    prior: PriorOption = None,
    cost_miss: MissOption = None,
    cost_false_alarm: FalseAlarmOption = None,
    far: FarOption = None,
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    json: JsonFlag = False,
) -> None:
    """Tell whether a recording is of the enrolled person NAME.

    The LLR (log-likelihood ratio) decides: above 0, NAME is likelier than a stranger. voxid accepts if it
    reaches the threshold. Exit code 0: accepted. 1: not accepted. 2 and above: no decision, because of an
    error.

    Example: `voxid verify alice new.wav --db people.db --far 0.01`
    """
    with recognizer_of(db, model, collection, server, vad=vad, device=device) as recognizer:
        [heard] = sources([audio], channel)
        decision = recognizer.verify(
            name, heard, prior=prior, cost_miss=cost_miss, cost_false_alarm=cost_false_alarm, far=far
        )
    emit(decision.to_dict(), json, lambda: echo(str(decision)))
    if not decision.accepted:
        raise typer.Exit(NO)


def identify(
    audio: Recording,
    top: Annotated[int, typer.Option("--top", min=1, help="How many candidates to show.")] = 5,
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    channel: ChannelOption = None,
    model: ModelOption = MODEL,
    prior: PriorOption = None,
    cost_miss: MissOption = None,
    cost_false_alarm: FalseAlarmOption = None,
    far: FarOption = None,
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    json: JsonFlag = False,
) -> None:
    """Tell which of the enrolled people speaks in a recording, or that none of them does.

    The threshold rises with the number of people enrolled. Exit code 0: an enrolled person. 1: unknown. 2 and
    above: no answer, because of an error.

    Example: `voxid identify new.wav --db people.db --top 3`
    """
    with (
        recognizer_of(db, model, collection, server, vad=vad, device=device) as recognizer,
        progress_bar("reading people", quiet=json) as update,
    ):
        found = recognizer.identify(
            sources([audio], channel)[0],
            top=top,
            prior=prior,
            cost_miss=cost_miss,
            cost_false_alarm=cost_false_alarm,
            far=far,
            **({} if server else {"progress": update}),
        )
    emit(found.to_dict(), json, lambda: echo(str(found)))
    if not found.known:
        raise typer.Exit(NO)


def compare(
    a: Recording,
    b: Annotated[str, typer.Argument(help="Another recording.")],
    channel: ChannelOption = None,
    model: ModelOption = MODEL,
    server: ServerOption = None,
    prior: PriorOption = None,
    cost_miss: MissOption = None,
    cost_false_alarm: FalseAlarmOption = None,
    far: FarOption = None,
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    json: JsonFlag = False,
) -> None:
    """Tell whether the same speaker talks in two recordings.

    The LLR (log-likelihood ratio) decides: above 0, one speaker is likelier than two. voxid accepts if it
    reaches the threshold. Exit code 0: accepted as the same speaker. 1: not accepted. 2 and above: no
    decision, because of an error (4 audio, 6 model).

    Example: `voxid compare a.wav b.wav --model models/mine`
    """
    left, right = sources([a, b], channel)
    rule: dict[str, Any] = {
        "prior": prior,
        "cost_miss": cost_miss,
        "cost_false_alarm": cost_false_alarm,
        "far": far,
    }
    if server:
        with recognizer_of("", model, COLLECTION, server) as client:
            decision = client.compare(left, right, **rule)
    else:
        from voxid.recognizer import compare as run

        decision = run(left, right, model=model, vad=vad, device=device, **rule)

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


def recognizer_of(
    db: str, model: str, collection: str, server: str | None, vad: str = "energy", device: str = "cpu"
) -> Any:
    """Return the recognizer of a store, or what asks a service in its place."""
    if server is None:
        from voxid.recognizer import Recognizer

        return Recognizer(db, model, collection=collection, vad=vad, device=device)
    return _client(server, collection)


def people_of(db: str, collection: str, server: str | None) -> Any:
    """Return the people of a store, which needs no model, or of a service."""
    if server is None:
        from voxid.recognizer import People

        return People(db, collection=collection)
    return _client(server, collection)


def _client(server: str, collection: str) -> Any:
    from voxid.client import Client

    return Client(server, key=os.environ.get("VOXID_KEY"), collection=collection)


def counted(count: int, one: str, many: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "clip", "clips"), counted(2000, "clip", "clips")
    ('1 clip', '2,000 clips')
    """
    return f"{count:,} {one if count == 1 else many}"


def sources(names: list[str], channel: str | None = None) -> list[Any]:
    """Return the paths as they are, the bytes of standard input for "-", and of each the channel meant."""
    if names.count("-") > 1:
        raise typer.BadParameter("standard input ('-') can be read once only.")
    found = [_standard_input() if name == "-" else name for name in names]
    if channel is None:
        return found
    if channel != "mix" and not channel.isdecimal():
        raise typer.BadParameter(f"--channel takes a number, counted from 0, or mix; got {channel!r}.")
    from voxid.audio import Part

    chosen: Any = channel if channel == "mix" else int(channel)
    return [Part(source, channel=chosen) for source in found]


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise BadAudioInput("standard input is closed, and '-' reads it. Give the path of a recording.")
    content = sys.stdin.buffer.read(MOST_STDIN + 1)
    if len(content) > MOST_STDIN:
        raise typer.BadParameter(
            f"standard input ('-') holds more than {MOST_STDIN >> 20} MiB. Give a path: a file may be longer."
        )
    return content
