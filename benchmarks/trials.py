"""Reading a list of ten million trials, and a file of as many scores, against a plain loop; and their memory.

The loop splits each line and looks both names up in a dictionary: the least that any reader does in Python.
It is timed on fewer lines and scaled: its time is proportional to their number. Each reading runs in a
process of its own, since the peak of a process never falls (VmHWM, so on Linux).

    python -m benchmarks.trials [LINES]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from voxid.trials import Trials, make_trials, read_trials, write_trials
from voxid.trials.data import EvaluationData
from voxid.trials.scorefiles import read_scores
from voxid.types import Utterance

LINES = 10_000_000
LOOP_LINES = 500_000
SPEAKERS, UTTERANCES = 1_251, 100  # about as many as VoxCeleb1 has


def made_up() -> EvaluationData:
    """Return utterances with names as long as VoxCeleb's; no audio is touched."""
    utterances = [
        Utterance(
            f"id{speaker:05}", name := f"id{speaker:05}/{speaker * 7919 + i:011}/{i:05}", f"/wav/{name}.wav"
        )
        for speaker in range(SPEAKERS)
        for i in range(UTTERANCES)
    ]
    return EvaluationData("made up", ["/wav"], "f00", utterances, audio=lambda i: utterances[i])


def loop(path: Path, data: EvaluationData, lines: int) -> float:
    """Return the seconds a plain loop needs for the first `lines` lines."""
    number = {f"{u.utterance}": i for i, u in enumerate(data.utterances)}
    begin = perf_counter()
    lefts, rights, sames = [], [], []
    with path.open() as file:
        for _ in range(lines):
            label, left, right = file.readline().split()
            lefts.append(number[left])
            rights.append(number[right])
            sames.append(label == "1")
    np.array(lefts, np.int32), np.array(rights, np.int32), np.array(sames, bool)
    return perf_counter() - begin


def peak_mb() -> float:
    """Return the most this process ever held; unlike ru_maxrss, not that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # pyright: ignore[reportOptionalSubscript]


def child(kind: str, path: Path) -> None:
    """Read once in this process, and print seconds, lines and the growth of the peak."""
    data = made_up()
    small = path.with_name("small")
    with path.open() as file:
        small.write_text("".join(file.readline() for _ in range(100)))

    def read(path: Path) -> int:
        return len(read_trials(path, data) if kind == "trials" else read_scores(path))

    read(small)  # so that what is imported is not counted
    before, begin = peak_mb(), perf_counter()
    count = read(path)
    print(json.dumps({"seconds": perf_counter() - begin, "lines": count, "grown_mb": peak_mb() - before}))


def measure(kind: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.trials", "--child", kind, str(path)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    return json.loads(done.stdout)


def write_scores(path: Path, trials: Trials, data: EvaluationData) -> None:
    """Write the scores as WeSpeaker does."""
    names = [u.utterance for u in data.utterances]
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for begin in range(0, len(trials), 1 << 18):
            now = slice(begin, begin + (1 << 18))
            columns = trials.left_K[now].tolist(), trials.right_K[now].tolist(), trials.same_K[now].tolist()
            scores = rng.normal(size=len(columns[0]))
            file.writelines(
                f"{names[a]} {names[b]} {s:.5f} {'target' if y else 'nontarget'}\n"
                for a, b, y, s in zip(*columns, scores, strict=True)
            )


def main(lines: int) -> None:
    data = made_up()
    begin = perf_counter()
    trials = make_trials(f"{lines}-pairs", data)
    print(f"{lines:,} balanced pairs made in {perf_counter() - begin:.1f} s, {warned(trials)}")
    with tempfile.TemporaryDirectory() as folder:
        lists, scores = Path(folder) / "trials", Path(folder) / "scores"
        begin = perf_counter()
        write_trials(lists, trials, data)
        print(f"written in {perf_counter() - begin:.1f} s, {lists.stat().st_size / 2**20:,.0f} MB")
        write_scores(scores, trials, data)
        del trials
        looped = loop(lists, data, min(lines, LOOP_LINES)) * lines / min(lines, LOOP_LINES)
        print(f"plain loop: {looped:.1f} s ({lines / looped:,.0f} lines/s)")
        for kind, path in (("trials", lists), ("scores", scores)):
            found = measure(kind, path)
            print(
                f"{kind}: {found['seconds']:.1f} s ({found['lines'] / found['seconds']:,.0f} lines/s), "
                f"ratio to the loop {found['seconds'] / looped:.2f}; memory grew by "
                f"{found['grown_mb']:,.0f} MB, "
                f"{found['grown_mb'] * 2**20 / found['lines']:.1f} bytes a line"
            )


def warned(trials: Trials) -> str:
    return f"{trials.warnings.get('duplicate', 0):,} of them repeated"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else LINES)
