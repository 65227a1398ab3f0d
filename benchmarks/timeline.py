"""Who spoke when in conversations made of held-out speakers, half of whom are enrolled with 20 seconds.

Run: `python -m benchmarks.timeline --data ../shared/data` (some minutes). Collar 0.25 s, overlap not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import voxid
from voxid.metrics.diarization import TimelineErrors, read_rttm, timeline_errors
from voxid.timeline.conversations import Conversation, make_conversations

CORPORA = ("LibriSpeech/test-other-mini", "speechocean762/dev", "wuw2/dev", "msc-malayalam/dev")


def main() -> None:
    """Print a line for each corpus and number of speakers, and one for all corpora together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=3, help="conversations of each kind")
    parser.add_argument("--model", default="voxid-base")
    parser.add_argument("--given", action="store_true", help="say how many people talk")
    asked = parser.parse_args()
    model = voxid.load(asked.model)
    print(
        "| speakers | corpus | DER % | JER % | count wrong by | wrong name % | left unknown % |\n|"
        + "---|" * 7
    )
    audio_s = cpu_s = 0.0
    for speakers in (2, 4, 8):
        every: list[TimelineErrors] = []
        for corpus in CORPORA:
            with tempfile.TemporaryDirectory() as folder:
                made = make_conversations(
                    asked.data / corpus,
                    folder,
                    speakers=speakers,
                    count=asked.count,
                    seconds=60 + 30 * speakers,
                )
                found = []
                for one in made:
                    errors, total_s, took_s = measure(model, one, speakers if asked.given else None)
                    found.append(errors)
                    audio_s, cpu_s = audio_s + total_s, cpu_s + took_s
            row(speakers, corpus, found)
            every += found
        row(speakers, "all", every)
    print(f"{audio_s / cpu_s:.0f} times real time, in processor time")


def measure(model: object, one: Conversation, speakers: int | None) -> tuple[TimelineErrors, float, float]:
    """Return the errors of a conversation, its length, and the seconds of processor time that it took."""
    with voxid.Recognizer("sqlite://", model=model) as rec:  # type: ignore[arg-type]
        for name, clip in one.enroll.items():
            rec.enroll(name, clip)
        begun = time.process_time()
        found = rec.timeline(one.audio, speakers)
        took_s = time.process_time() - begun
    [truth] = read_rttm(one.rttm).values()
    errors = timeline_errors(truth, found.spoken, collar_s=0.25, overlap=False, enrolled=one.enroll)
    return errors, found.total_s, took_s


def row(speakers: int, corpus: str, found: list[TimelineErrors]) -> None:
    """Print the means over conversations, weighted by their time."""
    time_N = np.array([one.total_s for one in found])

    def mean(values: list[float]) -> str:
        return f"{100 * float(np.average(values, weights=time_N)):.1f}"

    off = np.mean([abs(one.speakers_found - one.speakers) for one in found])
    enrolled_s = sum(one.enrolled_s for one in found)
    print(
        f"| {speakers} | {corpus} | {mean([one.der for one in found])} | "
        f"{mean([one.jer for one in found])} | {off:.1f} | {mean([one.wrong_name for one in found])} | "
        f"{100 * sum(one.unnamed_s for one in found) / enrolled_s:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
