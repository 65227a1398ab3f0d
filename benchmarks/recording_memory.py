"""Memory and time of embedding one recording, by its length and in two threads (Linux).

    python -m benchmarks.recording_memory [--model voxid-base] [--engine onnx] [--rounds 3]
    python -m benchmarks.recording_memory --source OTHER/src

Each figure is of processes of their own, one for each round and length, that embed one WAV file by one
worker: the highest resident memory of all rounds, and the least processor time of the embedding. The
recordings are LibriSpeech test-other-mini, joined and repeated. `--source` measures another checkout too, in
turns with this one: a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
LENGTHS_S = (3, 5, 10, 30, 60, 120, 299, 301)
LONGEST_WHOLE_S = 299


def measure(model: str, engine: str, wave: str, threads: int) -> dict[str, float]:
    """Embed a recording in each of `threads` threads; return the peak of this process and what it took."""
    import voxid
    from voxid.embed import Embedder

    embedder = Embedder(voxid.load(model, engine=engine).network, workers=threads)
    start = time.process_time()
    jobs = [threading.Thread(target=embedder.embed, args=(wave,)) for _ in range(threads)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    taken = time.process_time() - start
    [peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return {"mb": int(peak.split()[1]) / 1024, "seconds": taken}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="voxid-base")
    parser.add_argument("--engine", default="onnx")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--source", help="src of another checkout")
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        wave, threads = arguments.task
        print(json.dumps(measure(arguments.model, arguments.engine, wave, int(threads))))
        return
    from benchmarks.embedding import find_data  # imports torch, which is not to be measured

    here = str(Path(__file__).resolve().parents[1] / "src")
    cases = [(seconds, 1) for seconds in LENGTHS_S] + [(LONGEST_WHOLE_S, 2)]
    found: dict[tuple[str, int, int], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        voices = sorted((find_data() / "LibriSpeech" / "test-other-mini").rglob("*.flac"))
        joined_S = np.concatenate([soundfile.read(voice, dtype="int16")[0] for voice in voices])
        for seconds in LENGTHS_S:
            soundfile.write(f"{folder}/{seconds}.wav", np.resize(joined_S, seconds * RATE), RATE)
        sources = [arguments.source, here] if arguments.source else [here]
        for _ in range(arguments.rounds):
            for seconds, threads in cases:
                for source in sources:
                    command = [sys.executable, "-m", "benchmarks.recording_memory"]
                    command += ["--model", arguments.model, "--engine", arguments.engine]
                    command += ["--task", f"{folder}/{seconds}.wav", str(threads)]
                    environment = {**os.environ, "PYTHONPATH": source}
                    done = subprocess.run(
                        command, capture_output=True, text=True, check=True, env=environment
                    )
                    found.setdefault((source, seconds, threads), []).append(json.loads(done.stdout))
    print("| |", " | ".join(f"{s} s" if n == 1 else f"{n} threads, {s} s" for s, n in cases), "|")
    print(f"|---|{'---|' * len(cases)}")
    for source in sources:
        rows = [found[source, seconds, threads] for seconds, threads in cases]
        print(f"| {source}, MB |", " | ".join(f"{max(r['mb'] for r in row):.0f}" for row in rows), "|")
        print(f"| {source}, s |", " | ".join(f"{min(r['seconds'] for r in row):.2f}" for row in rows), "|")


if __name__ == "__main__":
    main()
