"""The commands on enrolled people, `voxid enroll`, `verify`, `identify` and `compare`, and their options.

The options that say where people are kept and how to decide stand here once, for `listen` and `speakers` too.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from voxid.cli._common import JsonFlag, echo, emit, progress_bar
from voxid.errors import BadAudioInput

NO = 1  # exit code: not accepted, or unknown
MOST_STDIN = 1 << 30  # bytes
DB, COLLECTION, MODEL = "sqlite:///voxid.db", "default", "voxid-base"

DbOption = Annotated[
    str, typer.Option("--db", envvar="VOXID_DB", help="Where people are kept: the URL of a store.")
]
CollectionOption = Annotated[str, typer.Option("--collection", help="A name space of people.")]
ModelOption = Annotated[str, typer.Option("--model", help="A shipped model, or a calibrated model folder.")]
PriorOption = Annotated[
    float | None, typer.Option("--prior", help="Probability of 'same speaker' before anything is heard.")
]
MissOption = Annotated[float | None, typer.Option("--cost-miss", help="What a wrong 'no' costs.")]
FalseAlarmOption = Annotated[
    float | None, typer.Option("--cost-false-alarm", help="What a wrong 'yes' costs.")
]
FarOption = Annotated[
    float | None, typer.Option("--far", help="Instead of prior and costs: the false-alarm rate, e.g. 0.01.")
]
ChannelOption = Annotated[
    str | None, typer.Option("--channel", help="One channel of the recording, counted from 0; or mix.")
]
Recording = Annotated[str, typer.Argument(help="A recording; - reads standard input.")]


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


def verify(
    name: Annotated[str, typer.Argument(help="Who it is said to be.")],
    audio: Recording,
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


def compare(
    a: Recording,
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
        left, right, model=model, prior=prior, cost_miss=cost_miss, cost_false_alarm=cost_false_alarm, far=far
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
