"""`voxid listen`."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxid.cli import _complete
from voxid.cli._common import DeviceOption, JsonFlag, VadOption, echo, emit
from voxid.cli.people import (
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

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np

    from voxid.audio import Inspected, Part
    from voxid.recognizer import Recognizer
    from voxid.timeline import Correction, Timeline

VERBS = ("verify", "identify", "enroll")
COMPUTES = ("cpu", "cuda", "mps", "auto")


def listen(
    name: Annotated[
        str | None,
        typer.Argument(
            help="The person's name, to verify or to enroll them.", autocompletion=_complete.names
        ),
    ] = None,
    verb: Annotated[
        str | None, typer.Option("--as", help="verify, identify or enroll with what was said.")
    ] = None,
    out: Annotated[str | None, typer.Option("--out", "-o", help="Write what was said to a WAV file.")] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds of speech to wait for. Default: 5, or 20 to enroll.")
    ] = None,
    most: Annotated[
        float | None, typer.Option(help="Stop after so many seconds. Default: 120, no limit with --timeline.")
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Tell who talks when, turn by turn, until Ctrl-C.")
    ] = False,
    recording: Annotated[
        str | None,
        typer.Option("--from", help="A recording in place of the microphone; - reads standard input."),
    ] = None,
    channel: ChannelOption = None,
    microphone: Annotated[
        str | None, typer.Option("--microphone", help="Which microphone, by number or part of its name.")
    ] = None,
    device: DeviceOption = "cpu",
    vad: VadOption = "energy",
    db: DbOption = DB,
    collection: CollectionOption = COLLECTION,
    model: ModelOption = MODEL,
    prior: PriorOption = None,
    cost_miss: MissOption = None,
    cost_false_alarm: FalseAlarmOption = None,
    far: FarOption = None,
    json: JsonFlag = False,
) -> None:
    """Listen to a microphone until there is enough speech, then verify, identify, enroll, or write a file.

    With --timeline each turn is shown as it settles, 2 s after its end at most, and the whole timeline when
    listening ends.

    The microphone needs an extra: `pip install 'voxid[mic]'`. A recording (`--from`) needs none. Exit code 1:
    not accepted, or unknown.

    Example: `voxid listen alice --as verify`
    """
    _check(name, verb, out, timeline)
    if device.partition(":")[0] not in COMPUTES:  # before --microphone there was only this
        microphone, device = device, "cpu"
    if channel is not None and recording is None:
        raise typer.BadParameter("--channel is for a recording (--from FILE): a microphone has one.")
    wanted_s = seconds if seconds is not None else 20.0 if verb == "enroll" else 5.0

    def part() -> Part | None:
        from voxid.audio import Part

        return None if recording is None else Part.of(sources([recording], channel)[0])

    def hear() -> Inspected:
        found = _hear(part(), microphone, wanted_s, most or 120.0, vad)
        if out is not None and found.wave is not None:  # listening keeps all that it heard
            from voxid.audio.writing import write_wav

            write_wav(out, found.wave)
        return found

    if verb is None and not timeline:
        found = hear()
        emit({**found.as_dict(), "out": out}, json, lambda: echo(f"{found}\nwritten: {out}"))
        return
    from voxid.recognizer import Recognizer

    # opened first: what cannot be answered is refused before anybody has talked
    with Recognizer(
        db,
        model,
        collection=collection,
        prior=prior,
        cost_miss=cost_miss,
        cost_false_alarm=cost_false_alarm,
        far=far,
        vad=vad,
        device=device,
    ) as recognizer:
        if timeline:
            whole, changes = _told(recognizer, part(), microphone, most or float("inf"), json)
            said = {**whole.to_dict(), "changes": [one.to_dict() for one in changes]}
            emit(said, json, lambda: echo("\n".join(["", str(whole), *map(str, changes)])))
            return
        if verb == "verify":
            recognizer.get(name or "")
        found = hear()
        answer, yes = _ask(recognizer, str(verb), name or "", found)
    emit({"heard": found.as_dict(), str(verb): answer.to_dict()}, json, lambda: echo(str(answer)))
    if not yes:
        raise typer.Exit(NO)


def _check(name: str | None, verb: str | None, out: str | None, timeline: bool) -> None:
    """Raise BadParameter for options that do not go together, before anything is recorded."""
    if timeline:
        if verb or out or name:
            raise typer.BadParameter("--timeline goes without a name, --as and --out.")
        return
    if verb is not None and verb not in VERBS:
        raise typer.BadParameter(f"--as takes {', '.join(VERBS)}; got {verb!r}.")
    if verb is None and out is None:
        raise typer.BadParameter(f"say what for: --as {'|'.join(VERBS)}, or --out FILE.wav.")
    if verb in ("verify", "enroll") and not name:
        raise typer.BadParameter(f"--as {verb} needs a name: voxid listen NAME --as {verb}.")
    if verb in (None, "identify") and name:
        raise typer.BadParameter(f"a name ({name!r}) is for --as verify or --as enroll.")


def _hear(part: Part | None, mic: str | None, wanted_s: float, most_s: float, vad: str) -> Inspected:
    """Return what was said; raise TooLittleSpeech when that is no base for a decision."""
    from voxid.audio import LEAST_SPEECH_S, inspect, require_speech
    from voxid.audio.microphone import listen as run

    part = None if part is None else _beginning(part, most_s)
    with closing(_blocks(part, mic, most_s)) as blocks:
        found = run(
            blocks, wanted_s=min(wanted_s, most_s), most_s=most_s, vad=vad, progress=_progress(wanted_s)
        )
    if part is not None:  # the front door of every file: its channels, its rate, its warnings
        found = inspect(replace(part, duration_s=found.total_s), vad=vad, keep_s=most_s)
    if sys.stderr.isatty():
        print(file=sys.stderr)  # the answer does not go over what is left of the last line
    require_speech(found, min(wanted_s, LEAST_SPEECH_S))
    return found


def _told(
    recognizer: Recognizer, part: Part | None, mic: str | None, most_s: float, quiet: bool
) -> tuple[Timeline, tuple[Correction, ...]]:
    """Return the timeline of what was said, and where it differs from the turns that were shown."""
    if part is not None and most_s < float("inf"):
        part = _beginning(part, most_s)
    stream = recognizer.stream()
    with closing(_blocks(part, mic, 300.0)) as blocks:
        try:
            for wave_S in blocks:
                for turn in stream.add(wave_S):
                    if not quiet:
                        echo(str(turn))
                if stream.heard_s >= most_s:
                    break
        except KeyboardInterrupt:  # enough was heard
            pass
    return stream.end(), stream.changes


def _beginning(part: Part, most_s: float) -> Part:
    """Return the first `most_s` seconds of a recording, or all where it is shorter; a pipe is read."""
    from voxid.audio import open_source
    from voxid.audio.sources import rereadable

    part = replace(part, source=rereadable(part.source))
    with open_source(part) as opened:
        shorter = opened.exact and opened.frames <= most_s * opened.rate
    return part if shorter else replace(part, duration_s=most_s)


def _blocks(part: Part | None, mic: str | None, most_s: float) -> Generator[np.ndarray]:
    from voxid.audio import inspect
    from voxid.audio.microphone import BLOCK_S, microphone

    if part is not None:
        yield from inspect(part, vad=None, keep_s=most_s).blocks(BLOCK_S)
        return
    number = int(mic) if mic is not None and mic.isdigit() else mic
    with closing(microphone(number)) as blocks_:
        for position, block in enumerate(blocks_):
            if position == 0:  # it works: nobody is asked to talk to a microphone that is not there
                echo("listening: talk now; Ctrl-C stops", err=True)
            yield block


def _progress(wanted_s: float) -> Any:
    end = "\r" if sys.stderr.isatty() else "\n"

    def show(had_s: float, total_s: float) -> None:
        print(
            f"{had_s:5.1f} of {wanted_s:g} s of speech, {total_s:.0f} s recorded  ", end=end, file=sys.stderr
        )

    return show


def _ask(recognizer: Recognizer, verb: str, name: str, found: Inspected) -> tuple[Any, bool]:
    """Return the answer, and whether it is a yes."""
    if verb == "enroll":
        return recognizer.enroll(name, [found.part]), True
    if verb == "verify":
        decision = recognizer.verify(name, found.part)
        return decision, decision.accepted
    answer = recognizer.identify(found.part)
    return answer, answer.known
