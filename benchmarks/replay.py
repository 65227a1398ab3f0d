"""What a decision says of recordings that are played again: no speaker recogniser tells them from a person.

    python -m benchmarks.replay [MODEL] --data D... [--people 30] [--far 0.01] [--seed 0]

A person is enrolled with three recordings. Another one is verified as it is, played by a simulated
loudspeaker (200 to 6,500 Hz, driven into saturation) in a simulated room (RT60 0.3 to 0.8 s), and backwards;
and then the recording of a stranger. Printed is how many of each are accepted, at the model's own threshold
and at `--far`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import voxid
from benchmarks._conditions import ROOM_S, ROOM_SEED, ROOMS, RT60_S, reverberator, wave_of
from benchmarks._measuring import markdown
from voxid.augment.channel import band_limit
from voxid.augment.reverb import Rooms
from voxid.errors import AudioError
from voxid.evaluation import EvaluationData, read_data
from voxid.types import SAMPLE_RATE

ENROLLED = 3
LOUDSPEAKER_HZ, DRIVE = (200.0, 6500.0), 3.0  # times the recording's peak


def loudspeaker(wave_S: np.ndarray) -> np.ndarray:
    """Return what a small loudspeaker makes of a recording: a narrower band, and its peaks pressed flat."""
    driven_S = np.tanh(DRIVE * wave_S / max(1e-6, float(np.abs(wave_S).max())))
    band_BS = band_limit(torch.from_numpy(driven_S.astype(np.float32))[None], *LOUDSPEAKER_HZ)
    return 0.3 * band_BS[0].numpy()


def accepted(model: str, data: EvaluationData, people: int, far: float, seed: int) -> dict[str, list[int]]:
    """Return of each kind of recording [tries, accepted, accepted at `far`]."""
    rng = np.random.default_rng(seed)
    room = reverberator(Rooms.make((), ROOMS, RT60_S, ROOM_S, seed=ROOM_SEED + seed))
    speaker_N = data.speakers()
    drawn = [rng.permutation(np.flatnonzero(speaker_N == s)) for s in range(len(data.speaker_names()))]
    drawn = [numbers for numbers in drawn if len(numbers) > ENROLLED]
    drawn = [drawn[i] for i in rng.permutation(len(drawn))[:people]]
    counts: dict[str, list[int]] = {}
    with voxid.Recognizer("sqlite://", model=model) as rec:
        for number, (own, other) in enumerate(zip(drawn, drawn[1:] + drawn[:1], strict=True)):
            own_S, other_S = (wave_of(data, numbers[ENROLLED]) for numbers in (own, other))
            tries = {
                "as it is": own_S,
                "played in a room": room(loudspeaker(own_S), np.random.default_rng([seed, number])),
                "backwards": own_S[::-1].copy(),
                "a stranger's": other_S,
            }
            try:
                rec.enroll(f"p{number}", [(wave_of(data, i), SAMPLE_RATE) for i in own[:ENROLLED]])
                found = {
                    kind: [
                        rec.verify(f"p{number}", (wave_S, SAMPLE_RATE), **how) for how in ({}, {"far": far})
                    ]
                    for kind, wave_S in tries.items()
                }
            except AudioError:  # too little speech
                continue
            for kind, answers in found.items():
                row = counts.setdefault(kind, [0, 0, 0])
                for place, count in enumerate((1, *(int(answer.accepted) for answer in answers))):
                    row[place] += count
    return counts


def main() -> None:
    described = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=described)
    parser.add_argument("model", nargs="?", default="voxid-base")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--far", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rows = []
    for folder in args.data:
        found = accepted(args.model, read_data(folder), args.people, args.far, args.seed)
        rows += [
            ["/".join(Path(folder).parts[-2:]), kind, *map(str, counts)] for kind, counts in found.items()
        ]
    print(markdown(["corpus", "recording", "tries", "accepted", f"accepted at far={args.far:g}"], rows))


if __name__ == "__main__":
    main()
