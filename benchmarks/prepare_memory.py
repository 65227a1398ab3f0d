"""Memory of preparing 1x and 10x the audio, and of opening a manifest of 10,000 and 1,000,000 rows.

    python -m benchmarks.prepare_memory [--minutes 20] [--json FILE]
    python -m benchmarks.prepare_memory --speed CORPUS [--rounds 5]

Each figure is the peak resident memory of a process of its own, so what Python and its modules take is in
it: the line "nothing" is a process that imports them and stops. The recordings are noise, each another. The
million utterances of the manifest are 1 ms each, since rows are counted there and not hours. A process that
packs holds up to 20,000 manifest rows before it writes them: small corpora differ by that much.

`--speed` measures packing a corpus against its bounds: decoding the same files with soundfile alone, by as
many threads, and writing the same bytes (with fsync). And reading crops of 3 s in any order, as a training
does, against `pread` of the same bytes, with the file in the system's cache and without (Linux). All in
turns; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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


# -- speed against bounds ----------------------------------------------------------------------------------

CROP = 3 * RATE
CROPS = 2_000
Seconds = tuple[float, float]  # waited, and of the processor


def timed(work: Callable[[], object]) -> Seconds:
    start, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - spent


def speed(corpus: str, rounds: int, home: Path) -> None:
    """Print packing and reading against their bounds."""
    import soundfile

    from voxid.corpora import scan
    from voxid.data.pack import Packed
    from voxid.data.prepare import prepare
    from voxid.parallel import Workers

    paths = [utterance.path for utterance in scan(corpus)]
    taken: dict[str, list[Seconds]] = {}

    def decode() -> None:
        with Workers(2) as workers:
            for _ in workers.map(lambda path: soundfile.read(path, dtype="int16"), paths):
                pass

    def write(pcm: bytes) -> None:
        with (home / "copy").open("wb") as file:
            file.write(pcm)
            file.flush()
            os.fsync(file.fileno())

    for number in range(rounds + 1):  # the first fills the caches
        packed = home / f"packed-{number}"
        row = {"decode": timed(decode), "prepare": timed(lambda: prepare(scan(corpus), packed, workers=2))}  # noqa: B023
        pcm = (packed / "audio.i16").read_bytes()
        row["write"] = timed(lambda: write(pcm))  # noqa: B023
        for name, seconds in row.items() if number else ():
            taken.setdefault(name, []).append(seconds)
    print(f"{len(paths)} recordings, {len(pcm) / 2 / RATE / 3600:.2f} h; load {os.getloadavg()[0]:.1f}")
    said(taken, "prepare", ["decode", "write"])

    opened = Packed.open(packed)
    rng = np.random.default_rng(0)
    rows = rng.choice(np.flatnonzero(opened.lengths_N >= CROP), CROPS)
    starts = [int(rng.integers(opened.lengths_N[i] - CROP + 1)) for i in rows]
    out = np.empty((CROPS, CROP), np.int16)
    file = os.open(packed / "audio.i16", os.O_RDONLY)

    def crops() -> None:
        for n, (i, start) in enumerate(zip(rows.tolist(), starts, strict=True)):
            out[n] = opened.crop(i, start, CROP)

    def reads() -> None:
        for n, (i, start) in enumerate(zip(rows.tolist(), starts, strict=True)):
            os.preadv(file, [out[n]], 2 * (int(opened.offsets[i]) + start))

    for cold in (False, True):
        taken = {}
        for _ in range(rounds):
            for name, work in (("crops", crops), ("reads", reads)):
                opened.release()
                if cold:
                    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                taken.setdefault(name, []).append(timed(work))
        print("from the disk" if cold else "from the system's cache")
        said(taken, "crops", ["reads"])
    os.close(file)


def said(taken: dict[str, list[Seconds]], what: str, bounds: list[str]) -> None:
    """Print medians, and how much of its slowest bound something reaches, round by round."""
    for name, seconds in taken.items():
        waited, spent = np.median(seconds, axis=0)
        print(f"  {name:>8}: {waited:.3f} s, {spent:.3f} s of the processor")
    for at, unit in enumerate(("waiting", "processor")):
        shares = [
            max(taken[bound][k][at] for bound in bounds) / taken[what][k][at] for k in range(len(taken[what]))
        ]
        print(f"  {what} reaches {np.median(shares):.0%} of its bound by {unit}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="audio of the smaller corpus")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the larger manifest")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--speed", metavar="CORPUS", help="measure speed instead, against its bounds")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.speed:
        with tempfile.TemporaryDirectory() as name:
            speed(arguments.speed, arguments.rounds, Path(name))
        return
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
