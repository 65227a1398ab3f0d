"""`voxid timeline`, `voxid conversations` and `voxid evaluate-timeline`: who spoke when."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from voxid.cli._common import (
    COLLECTION,
    DB,
    MAX_SEED,
    MODEL,
    DeviceOption,
    JsonFlag,
    LayoutOption,
    VadOption,
    echo,
    emit,
)
from voxid.cli.people import (
    ChannelOption,
    CollectionOption,
    DbOption,
    FarOption,
    ModelOption,
    PriorOption,
    Recording,
    ServerOption,
    recognizer_of,
    sources,
)
from voxid.errors import printable


def timeline(
    audio: Recording,
    speakers: Annotated[
        int | None, typer.Option("--speakers", min=1, help="How many people talk, if that is known.")
    ] = None,
    rttm: Annotated[Path | None, typer.Option("--rttm", help="Write the turns as RTTM.")] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Write the turns as a label track of Audacity.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page to look at and listen to: one file.")
    ] = None,
    transcript: Annotated[
        Path | None,
        typer.Option(
            "--transcript",
            readable=False,
            help="Write names into a transcript: JSON of Whisper and its kin, SRT or VTT.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Where to write that transcript; - prints it. Default: NAME.named.EXT"
        ),
    ] = None,
    db: DbOption = DB,
    server: ServerOption = None,
    collection: CollectionOption = COLLECTION,
    channel: ChannelOption = None,
    model: ModelOption = MODEL,
    prior: PriorOption = None,
    far: FarOption = None,
    vad: VadOption = "energy",
    device: DeviceOption = "cpu",
    json: JsonFlag = False,
) -> None:
    """Tell who spoke when, by name: "unknown 1" is a person who is not enrolled.

    Overlapped speech is not found: where two people talk at once, one of them is named. A stereo call with
    one person on each channel is told by its channels.

    Example: `voxid timeline meeting.wav --db people.db --rttm meeting.rttm`
    """
    from voxid.files import atomic_write
    from voxid.timeline.transcript import read, with_names

    if transcript is not None and out is None and transcript.exists() and not transcript.is_file():
        raise typer.BadParameter(f"{transcript} is a pipe or a device: say with --out where to write.")
    words = None if transcript is None else read(transcript)  # a wrong file is told before an hour of work
    if words is None and out is not None:
        raise typer.BadParameter("--out is for the transcript with names: give --transcript, too.")
    if json and str(out) == "-":
        raise typer.BadParameter("--json and the transcript (--out -) cannot both be printed: name a file.")
    with recognizer_of(db, model, collection, server, vad=vad, device=device) as recognizer:
        [source] = sources([audio], channel)
        found = recognizer.timeline(source, speakers, prior=prior, far=far)
    name = "recording" if audio == "-" else Path(audio).stem
    written = [(rttm, found.to_rttm(name)), (labels, found.to_audacity())]
    if html is not None:
        from voxid.timeline.page import options_of, page

        asked = {"db": (db, DB), "collection": (collection, COLLECTION), "model": (model, MODEL)}
        given = options_of(**{key: value for key, (value, usual) in asked.items() if value != usual})
        written.append((html, page(found, source, folder=html.parent, options=given)))
    warnings: list[str] = []
    if transcript is not None and words is not None:
        text, warnings = with_names(words, found)
        if str(out) == "-":
            shown = printable(text.replace("\r\n", "\n")) if sys.stdout.isatty() else text
            typer.echo(shown, nl=False)
        else:
            written.append((out or transcript.with_suffix(f".named{transcript.suffix}"), text))
    for path, content in written:
        if path is not None:
            with atomic_write(path, "w") as file:
                file.write(content)
    result = found.to_dict()
    result["warnings"] += warnings

    def show() -> None:
        said = "\n".join((str(found), *(f"warning: {said}" for said in warnings)))
        echo(said, err=str(out) == "-")
        for path, _ in written:
            if path is not None:
                echo(f"written: {path}", err=str(out) == "-")

    emit(result, json, show)


def conversations(
    data: Annotated[list[Path], typer.Argument(readable=False, help="Corpora to take the people from.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for WAV, RTTM and clips to enroll.")],
    speakers: Annotated[int, typer.Option("--speakers", min=1, help="People in each conversation.")] = 2,
    count: Annotated[int, typer.Option("--count", min=1, help="How many conversations.")] = 1,
    seconds: Annotated[float, typer.Option("--seconds", help="How long each is, about.")] = 120.0,
    overlap: Annotated[float, typer.Option("--overlap", help="Share of turns that interrupt.")] = 0.3,
    enrolled: Annotated[
        float, typer.Option("--enrolled", help="Share of people with clips to enroll.")
    ] = 0.5,
    enroll_seconds: Annotated[float, typer.Option("--enroll-seconds", help="Speech to enroll.")] = 20.0,
    room: Annotated[
        float, typer.Option("--room", help="All in one room with this reverberation time, seconds.")
    ] = 0.0,
    line: Annotated[
        str | None, typer.Option("--line", help="Telephone: pcm, a-law, mu-law, adpcm, gsm or celp.")
    ] = None,
    layout: LayoutOption = "auto",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Who talks, and when.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Make conversations from a corpus to test with: recording, RTTM, and clips to enroll people with.

    Example: `voxid conversations LibriSpeech/dev-clean -o talks --speakers 4 --count 5`
    """
    from voxid.timeline.conversations import make_conversations

    made = make_conversations(
        list(data),
        out,
        speakers=speakers,
        count=count,
        seconds=seconds,
        overlap=overlap,
        enrolled=enrolled,
        enroll_s=enroll_seconds,
        room_s=room,
        line=line,  # type: ignore[arg-type]
        layout=layout,
        seed=seed,
    )
    result = {"conversations": [asdict(one) for one in made]}
    emit(result, json, lambda: echo(f"{len(made)} conversations in {out}"))


def evaluate_timeline(
    hypothesis: Annotated[Path, typer.Argument(readable=False, help="The timeline to measure, RTTM.")],
    reference: Annotated[Path, typer.Argument(readable=False, help="The right one, RTTM.")],
    collar: Annotated[
        float, typer.Option("--collar", min=0, help="Seconds around each edge that do not count.")
    ] = 0.25,
    overlap: Annotated[
        bool, typer.Option("--overlap/--no-overlap", help="Count time in which several people talk.")
    ] = True,
    enrolled: Annotated[
        list[str] | None, typer.Option("--enrolled", help="The name of an enrolled person; may be repeated.")
    ] = None,
    uem: Annotated[
        Path | None, typer.Option("--uem", readable=False, help="UEM file: which stretches count.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Measure a timeline: DER, JER, the number of speakers, time under a wrong name and under none.

    Without --enrolled, the people whom HYPOTHESIS names count as enrolled.

    Example: `voxid evaluate-timeline found.rttm right.rttm --collar 0.25 --no-overlap`
    """
    from voxid.metrics.diarization import compare_rttm

    found = compare_rttm(
        hypothesis, reference, collar_s=collar, overlap=overlap, enrolled=enrolled or None, uem=uem
    )
    result = {"recordings": {name: one.to_dict() for name, one in found.items()}}

    def show() -> None:
        for name, one in found.items():
            echo(f"{name}: {one}")

    emit(result, json, show)
