"""Who spoke when in conversations made of held-out speakers, half of whom are enrolled with 20 seconds.

Run: `python -m benchmarks.timeline --data ../shared/data` (some minutes). Collar 0.25 s, overlap not counted.

Another on the same conversations: `--resemblyzer FOLDER` is a model folder of its published weights, used as
its demo of diarization does (windows of 1.6 s, each given to the most similar enrolled person, from a cosine
of 0.65 on), but four windows a second, and only where voxid hears speech.

Long ones: `--hours 0.5 3` makes one conversation of four people of so many hours, and says how fast its
timeline is made, and in how much memory, in a process of its own.

Frames: the share of 96 ms frames in which one person talks or nobody does, that have the right answer: the
name of an enrolled person who talks, and no name elsewhere.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import voxid
from voxid.metrics.diarization import NAMELESS, Spoken, TimelineErrors, read_rttm, timeline_errors
from voxid.timeline.conversations import Conversation, make_conversations

CORPORA = ("LibriSpeech/test-other-mini", "speechocean762/dev", "wuw2/dev", "msc-malayalam/dev")
FRAME_S = 0.096
WINDOW_S, STEP_S, UNCERTAIN = 1.6, 0.25, 0.65  # of Resemblyzer's demo; its step is a sixteenth of a second
Teller = Callable[[Conversation, "int | None"], "list[Spoken]"]


def main() -> None:
    """Print a line for each corpus and number of speakers, and one for all corpora together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3, help="conversations of each kind")
    parser.add_argument("--model", default="voxid-base")
    parser.add_argument("--given", action="store_true", help="say how many people talk")
    parser.add_argument("--speakers", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--corpora", nargs="+", default=CORPORA)
    parser.add_argument("--live", action="store_true", help="the turns of Recognizer.stream as they settled")
    parser.add_argument("--room", type=float, default=0.0, help="reverberation time, seconds")
    parser.add_argument("--line", help="telephone line")
    parser.add_argument("--resemblyzer", help="model folder of its published weights")
    parser.add_argument("--hours", type=float, nargs="+", help="of one long conversation")
    asked = parser.parse_args()
    if asked.hours:
        long_ones(asked.data / asked.corpora[0], asked.hours, asked.model)
        return
    tell: Teller
    if asked.resemblyzer:
        tell = peer_resemblyzer(asked.resemblyzer)
    else:
        tell = ours(voxid.load(asked.model), asked.live)
    print(
        "| speakers | corpus | DER % | JER % | count wrong by | wrong name % | left unknown % | frames % |\n|"
        + "---|" * 8
    )
    audio_s = cpu_s = 0.0
    for speakers in asked.speakers:
        every: list[tuple[TimelineErrors, float]] = []
        for corpus in asked.corpora:
            with tempfile.TemporaryDirectory() as folder:
                made = make_conversations(
                    asked.data / corpus,
                    folder,
                    speakers=speakers,
                    count=asked.count,
                    seconds=60 + 30 * speakers,
                    room_s=asked.room,
                    line=asked.line,
                )
                found = []
                for one in made:
                    begun = time.process_time()
                    spoken = tell(one, speakers if asked.given else None)
                    cpu_s += time.process_time() - begun
                    audio_s += voxid.audio.inspect(one.audio, vad=None).total_s
                    found.append(measure(one, spoken))
            row(speakers, corpus, found)
            every += found
        row(speakers, "all", every)
    print(
        f"{audio_s / cpu_s:.0f} times real time, {100 * cpu_s / audio_s:.1f} core-hours for 100 hours, in "
        "processor time with loading and enrolling"
    )


def long_ones(corpus: Path, hours: list[float], model: str) -> None:
    """Print a line for one conversation of four people of each length."""
    print("| hours | DER % | speakers found | times real time | memory before, MB | at most, MB |")
    print("|---" * 6 + "|")
    for one in hours:
        with tempfile.TemporaryDirectory() as folder:
            [made] = apart(make_long, corpus, folder, one)
            spoken, cpu_s, before_mb, peak_mb = apart(long_one, made, model)
            errors, _ = measure(made, spoken)
            audio_s = voxid.audio.inspect(made.audio, vad=None).total_s
        print(
            f"| {one:g} | {100 * errors.der:.1f} | {errors.speakers_found} | {audio_s / cpu_s:.0f} | "
            f"{before_mb:.0f} | {peak_mb:.0f} |",
            flush=True,
        )


def apart(work: Callable[..., Any], *given: object) -> Any:
    """Return what `work` does in a new process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(work, given)


def make_long(corpus: Path, folder: str, hours: float) -> list[Conversation]:
    """Return one conversation of four people, two of whom are enrolled."""
    return make_conversations(corpus, folder, speakers=4, seconds=3600 * hours)


def long_one(one: Conversation, model: str) -> tuple[list[Spoken], float, float, float]:
    """Return who talks when, the processor time, and the peak memory before and after, MB."""
    with voxid.Recognizer("sqlite://", model=model) as rec:
        for name, clip in one.enroll.items():
            rec.enroll(name, clip)
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        spoken = rec.timeline(one.audio).spoken
        cpu_s, peak = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return spoken, cpu_s, before / 1024, peak / 1024


def ours(model: object, live: bool) -> Teller:
    """Return what tells by voxid."""

    def tell(one: Conversation, speakers: int | None) -> list[Spoken]:
        with voxid.Recognizer("sqlite://", model=model) as rec:  # type: ignore[arg-type]
            for name, clip in one.enroll.items():
                rec.enroll(name, clip)
            if not live:
                return rec.timeline(one.audio, speakers).spoken
            stream, turns = rec.stream(), []
            for wave_S in voxid.audio.blocks(one.audio, block_s=0.25):
                turns += stream.add(wave_S)
            return [Spoken(turn.start, turn.end, turn.speaker) for turn in turns]

    return tell


def peer_resemblyzer(folder: str) -> Teller:
    """Return what tells by Resemblyzer's weights and its demo's method."""
    model = voxid.load(folder)

    def tell(one: Conversation, speakers: int | None) -> list[Spoken]:
        windows = model.embed_windows(str(one.audio), WINDOW_S, STEP_S)
        unit_WD = windows.embeddings / np.linalg.norm(windows.embeddings, axis=1, keepdims=True)
        people = {name: model.embed(str(clip)) for name, clip in one.enroll.items()}
        like_WP = np.stack([unit_WD @ (emb_D / np.linalg.norm(emb_D)) for emb_D in people.values()], axis=1)
        names = [*people, "unknown 1"]
        who_W = np.where(like_WP.max(axis=1) > UNCERTAIN, like_WP.argmax(axis=1), len(people))
        middle_W = (windows.start_s + windows.end_s) / 2
        spoken = []
        for stretch in voxid.audio.inspect(one.audio).segments:
            edges = [stretch.start_s, *(middle_W + STEP_S / 2), stretch.end_s]
            edges = sorted({min(max(at, stretch.start_s), stretch.end_s) for at in edges})
            for start, end in pairwise(edges):
                nearest = int(np.abs(middle_W - (start + end) / 2).argmin())
                spoken.append(Spoken(start, end, names[int(who_W[nearest])]))
        return spoken

    return tell


def measure(one: Conversation, spoken: list[Spoken]) -> tuple[TimelineErrors, float]:
    """Return the errors of a conversation, and the share of frames that are right."""
    [truth] = read_rttm(one.rttm).values()
    errors = timeline_errors(truth, spoken, collar_s=0.25, overlap=False, enrolled=one.enroll)
    count = int(max(turn.end_s for turn in truth) / FRAME_S)
    said, heard, talking_F = [""] * count, [""] * count, np.zeros(count, int)
    for frames, side in ((said, truth), (heard, spoken)):
        for turn in side:
            inside = slice(round(turn.start_s / FRAME_S), min(count, round(turn.end_s / FRAME_S)))
            talking_F[inside] += side is truth
            if turn.speaker in one.enroll or not (side is truth or NAMELESS.match(turn.speaker)):
                frames[inside] = [turn.speaker] * len(frames[inside])
    right_F = np.array([a == b for a, b in zip(said, heard, strict=True)])
    return errors, float(right_F[talking_F <= 1].mean())


def row(speakers: int, corpus: str, measured: list[tuple[TimelineErrors, float]]) -> None:
    """Print the means over conversations, weighted by their time."""
    found = [errors for errors, _ in measured]
    time_N = np.array([one.total_s for one in found])

    def mean(values: list[float]) -> str:
        return f"{100 * float(np.average(values, weights=time_N)):.1f}"

    off = np.mean([abs(one.speakers_found - one.speakers) for one in found])
    enrolled_s = sum(one.enrolled_s for one in found)
    print(
        f"| {speakers} | {corpus} | {mean([one.der for one in found])} | "
        f"{mean([one.jer for one in found])} | {off:.1f} | {mean([one.wrong_name for one in found])} | "
        f"{100 * sum(one.unnamed_s for one in found) / enrolled_s:.1f} | {mean([f for _, f in measured])} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
