"""Memory of preparing 1x and 10x the audio, and of opening a manifest of 10,000 and 1,000,000 rows.

    python -m benchmarks.prepare_memory [--minutes 20] [--json FILE]

Each figure is the peak resident memory of a process of its own, so what Python and its modules take is in
it: the line "nothing" is a process that imports them and stops. The recordings are noise, each another. The
million utterances of the manifest are 1 ms each, since rows are counted there and not hours. A process that
packs holds up to 20,000 manifest rows before it writes them: small corpora differ by that much.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SECONDS = 4.0
RATE = 16_000


def peak_mb() -> float:
    scale = 1e-6 if sys.platform == "darwin" else 1024e-6  # bytes there, KiB here
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale, 1)


# -- what the measured processes do -----------------------------------------------------------------------


def nothing(folder: Path) -> dict:
    import pyarrow.parquet  # noqa: F401 - the weight of the modules

    import voxid.data.prepare  # noqa: F401

    return {}


def prepare_corpus(folder: Path) -> dict:
    from voxid.corpora import scan
    from voxid.data.prepare import prepare

    start = time.perf_counter()
    report = prepare(scan(folder), folder.with_name(f"{folder.name}-prepared"))
    taken = time.perf_counter() - start
    return {
        "hours": round(report.seconds / 3600, 2),
        "utterances": report.kept,
        "seconds": round(taken, 2),
        "x_real_time": round(report.seconds / taken),
    }


def pack_rows(folder: Path) -> dict:
    """Pack as many tiny utterances as the folder's name says, through the writer that `prepare` uses."""
    from voxid.data.pack import PackWriter
    from voxid.types import Utterance

    rows = int(folder.name.removeprefix("rows-"))
    tiny_S = np.arange(16, dtype=np.int16)
    start = time.perf_counter()
    with PackWriter(folder) as writer:
        for i in range(rows):
            writer.add(
                Utterance(f"speaker-{i % 5000:04}", f"corpus/speaker/{i:07}", f"/data/{i:07}.flac"), tiny_S
            )
        writer.finish(["benchmark"], [])
    return {"utterances": rows, "seconds": round(time.perf_counter() - start, 2)}


def open_rows(folder: Path) -> dict:
    """Open a prepared folder, and read a thousand crops from all over it."""
    from voxid.data.pack import Packed

    start = time.perf_counter()
    packed = Packed.open(folder)
    opened = time.perf_counter() - start
    for i in np.random.default_rng(0).integers(0, packed.n, 1000):
        packed.crop(int(i), 0, 8).sum()
    return {"utterances": packed.n, "seconds": round(opened, 3)}


TASKS = {task.__name__: task for task in (nothing, prepare_corpus, pack_rows, open_rows)}


def measured(task: str, folder: Path) -> dict:
    """Run a task in a process of its own; return what it says and its peak memory."""
    command = [sys.executable, "-m", "benchmarks.prepare_memory", "--task", task, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def make_corpus(folder: Path, minutes: float) -> Path:
    import soundfile

    rng = np.random.default_rng(0)
    for i in range(round(60 * minutes / SECONDS)):
        path = folder / f"speaker-{i % 50:02}" / f"{i:05}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.integers(-8000, 8000, int(SECONDS * RATE), dtype=np.int16), RATE)
    return folder


def make_long(folder: Path, minutes: float) -> Path:
    """One speaker, two recordings that are `minutes` long together."""
    import soundfile

    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        (folder / "speaker").mkdir(parents=True, exist_ok=True)
        with soundfile.SoundFile(folder / "speaker" / f"{name}.wav", "w", RATE, 1) as file:
            for _ in range(round(30 * minutes / SECONDS)):
                file.write(rng.integers(-8000, 8000, int(SECONDS * RATE), dtype=np.int16))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="audio of the smaller corpus")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the larger manifest")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        said = TASKS[arguments.task[0]](Path(arguments.task[1]))
        print(json.dumps({**said, "peak_mb": peak_mb()}))
        return
    with tempfile.TemporaryDirectory() as name:
        home, minutes = Path(name), arguments.minutes
        results = {"nothing": measured("nothing", home)}
        for factor in (1, 10):
            corpus = make_corpus(home / f"corpus-{factor}", factor * minutes)
            results[f"prepare, {factor}x audio, utterances of 4 s"] = measured("prepare_corpus", corpus)
            corpus = make_long(home / f"long-{factor}", factor * minutes)
            results[f"prepare, {factor}x audio, two recordings"] = measured("prepare_corpus", corpus)
        for rows in (arguments.rows // 100, arguments.rows):
            folder = home / f"rows-{rows}"
            results[f"pack {rows:,} rows"] = measured("pack_rows", folder)
            results[f"open {rows:,} rows, read 1,000 crops"] = measured("open_rows", folder)
    print("| what | peak MB | utterances | hours | seconds |\n|---|---|---|---|---|")
    for what, row in results.items():
        cells = [what, *(str(row.get(key, "")) for key in ("peak_mb", "utterances", "hours", "seconds"))]
        print(f"| {' | '.join(cells)} |")
    print(json.dumps(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
