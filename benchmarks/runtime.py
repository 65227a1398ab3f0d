"""The runtime without torch: speed beside PyPI's peers, time to the first answer, room on the disk.

    python -m benchmarks.runtime MODEL [--rounds 3] [--int8 FOLDER] [--install] [--resemblyzer PYTHON]

MODEL is an exported folder or a shipped name. Everything keeps to one core and takes turns within a round,
so that a busy machine slows all alike. Waiting time grows with whatever else the machine does, processor
time hardly does: both are shown, and the ratios, medians over the rounds, are of processor time.

- Files to embeddings, decoding included, beside `resemblyzer` (in the python of `--resemblyzer` that has it).
- Features to embeddings, at the same batch, beside our own encoder by torch; and the same of a network of the
  size of SpeechBrain's ECAPA-TDNN class (512 channels, the smaller of the paper's two) beside that by torch.
- `voxid compare` of two 5 s files, cold, with torch out of reach.
- With `--install`: what a bare `pip install` of this checkout takes on disk, and the same cold start there.

A peer that is not installed is left out with a line that says so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import soundfile
import torch

import voxid
from benchmarks._resemblyzer import Peer
from benchmarks.embedding import find_data
from benchmarks.encoders import speechbrain_ecapa
from voxid import corpora
from voxid.embed import Embedder
from voxid.embed.onnx import OnnxNetwork
from voxid.encoders import ENCODERS
from voxid.export import graphs
from voxid.types import SAMPLE_RATE

FILES = 60
CORPORA = ("speechocean762/train", "LibriSpeech/train-clean-100-mini")  # Ogg, slow to decode, and FLAC
ROWS, FRAMES = 32, 200  # a batch of 2 s
EXAMPLE_BINS = 80
TARGETS = {"resemblyzer": 3.0, "SpeechBrain ECAPA-512": 1.5}
COLD_S, DISK_MB = 1.5, 300
COLD_ROUNDS = 7
# what `voxid compare` does, in a process where importing torch fails
WITHOUT_TORCH = (
    "import sys; sys.modules['torch'] = None; sys.argv[0] = 'voxid'; from voxid.cli import main; main()"
)


class Taken(NamedTuple):
    waited: float  # seconds
    spent: float  # seconds of a processor, by this process, those it waited for, and a peer's


def seconds_of(work: Callable[[], Any], peer: int | None = None) -> Taken:
    """Return what `work` took; `peer` is the id of a process that works for this one, and goes on."""
    before, start = _spent(peer), time.perf_counter()
    work()
    return Taken(time.perf_counter() - start, _spent(peer) - before)


def _spent(peer: int | None) -> float:
    times = os.times()
    spent = times.user + times.system + times.children_user + times.children_system
    if peer is not None:  # Linux: fields 14 and 15, after a name that may hold blanks
        fields = Path(f"/proc/{peer}/stat").read_text().rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def in_turns(
    works: dict[str, Callable[[], Any]], rounds: int, peer: int | None = None
) -> dict[str, list[Taken]]:
    """Return what each work took in each round, after one that warms up."""
    taken: dict[str, list[Taken]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            one = seconds_of(work, peer)
            if number:
                taken[name].append(one)
    return taken


def report(taken: dict[str, list[Taken]], ours: str, amount: float, unit: str) -> None:
    """Print a line for each, and how many times faster `ours` is."""
    print(f"| | {unit} a second | a second of processor | voxid by onnxruntime is faster by | target |")
    print("|---|---|---|---|---|")
    for name, values in taken.items():
        ratio = statistics.median(
            other.spent / own.spent for other, own in zip(values, taken[ours], strict=True)
        )
        waited, spent = (amount / statistics.median(column) for column in zip(*values, strict=True))
        target = f"{TARGETS[name]:g} x" if name in TARGETS else ""
        print(f"| {name} | {waited:.1f} | {spent:.1f} | {ratio:.2f} x | {target} |", flush=True)


def files(corpus: Path) -> list[str]:
    """Return paths of utterances of all lengths."""
    found = sorted(corpora.scan([corpus]), key=lambda one: one.utterance)
    return [one.path for one in found[:: max(1, len(found) // FILES)]][:FILES]


def throughput(model: str, int8: str | None, corpus: Path, python: str | None, rounds: int) -> None:
    paths = files(corpus)
    seconds = sum(soundfile.info(path).duration for path in paths)
    runtime = _one_core(model)
    works: dict[str, Callable[[], Any]] = {"voxid, onnxruntime": lambda: runtime.embed_many(paths)}
    if int8 is not None:
        eight = _one_core(int8)
        works["voxid, 8 bits"] = lambda: eight.embed_many(paths)
    kind = Path(paths[0]).suffix.removeprefix(".")
    print(f"\nFiles to embeddings: {len(paths)} {kind} files, {seconds:.0f} s of audio, one core")
    if python is None:
        print("without resemblyzer: name a python that has it by --resemblyzer")
        report(in_turns(works, rounds), "voxid, onnxruntime", seconds, "seconds of audio")
        return
    with Peer(python) as peer:
        works["resemblyzer"] = lambda: list(peer.embed_each(paths))
        taken = in_turns(works, rounds, peer._process.pid)
        report(taken, "voxid, onnxruntime", seconds, "seconds of audio")


def encoders(model: str, rounds: int) -> None:
    """The encoder alone: features of one batch, on one core."""
    network = _one_core(model).network
    by_torch = voxid.load(model, engine="torch").network.model.encoder  # type: ignore[call-arg]
    bins = network.features(np.zeros((1, SAMPLE_RATE), np.float32), None)[0].shape[1]
    feat_BTF = np.random.default_rng(0).standard_normal((ROWS, FRAMES, bins)).astype(np.float32)
    tensor_BTF = torch.from_numpy(feat_BTF)

    def embed_by(module: Any) -> Callable[[], Any]:
        def work() -> None:
            with torch.inference_mode():
                module(tensor_BTF)

        return work

    works: dict[str, Callable[[], Any]] = {
        "voxid, onnxruntime": lambda: network.encode(feat_BTF, None),
        "voxid, torch": embed_by(by_torch),
    }
    print(f"\nFeatures to embeddings: {ROWS} x {FRAMES} frames, one core")
    report(in_turns(works, rounds), "voxid, onnxruntime", ROWS, "crops of 2 s")
    try:
        peer = speechbrain_ecapa().eval()
    except ImportError as error:
        print(f"\nwithout SpeechBrain ({error}): pip install speechbrain to compare")
        return
    encoder_class, config = ENCODERS.parse({"name": "ecapa"})
    same = encoder_class(config, EXAMPLE_BINS).eval()
    session = _session_of(same)
    feat_BTF = np.random.default_rng(0).standard_normal((ROWS, FRAMES, EXAMPLE_BINS)).astype(np.float32)
    tensor_BTF = torch.from_numpy(feat_BTF)
    ours = "ECAPA-512, onnxruntime"
    works = {
        ours: lambda: session.run(None, {"features": feat_BTF}),
        "ECAPA-512, torch": embed_by(same),
        "SpeechBrain ECAPA-512": embed_by(peer),
    }
    print("\nThe same, and SpeechBrain's network of the same size: 512 channels")
    report(in_turns(works, rounds), ours, ROWS, "crops of 2 s")


def _session_of(encoder: torch.nn.Module) -> onnxruntime.InferenceSession:
    """Return what `voxid export` would make of an encoder, its weights inside."""
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    example_BTF = torch.zeros(2, FRAMES, EXAMPLE_BINS)
    proto = graphs._traced(
        encoder.requires_grad_(False), (example_BTF,), (dynamic,), (["features"], ["embedding"])
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(proto.SerializeToString(), options)


def _one_core(model: str) -> Embedder:
    from voxid.embed import find_model

    return Embedder(OnnxNetwork(find_model(model)), workers=1)


def cold_start(command: list[str], model: str, folder: Path) -> None:
    """`voxid compare` of two files of 5 s, beside a Python that does nothing."""
    data = find_data()
    paths = []
    for n, path in enumerate(files(data / CORPORA[0])[:2]):
        wave_S, rate = soundfile.read(path, dtype="float32")
        paths.append(str(folder / f"{n}.wav"))
        soundfile.write(paths[-1], np.resize(wave_S, 5 * rate), rate)
    works = {"python -c pass": [command[0], "-c", "pass"]}
    works["voxid compare"] = [*command, "compare", *paths, "--model", str(model)]

    def run(arguments: list[str]) -> Callable[[], None]:
        def work() -> None:
            done = subprocess.run(arguments, capture_output=True, text=True)
            assert done.returncode in (0, 1), done.stderr

        return work

    taken = in_turns({name: run(arguments) for name, arguments in works.items()}, COLD_ROUNDS)
    for name, values in taken.items():
        waited, spent = (statistics.median(column) for column in zip(*values, strict=True))
        target = f" (target {COLD_S} s on a quiet machine)" if name == "voxid compare" else ""
        print(
            f"{name}: median {waited:.2f} s, {spent:.2f} s of processor, best {min(values)[0]:.2f} s{target}"
        )


def install(model: str, folder: Path) -> None:
    """Build the wheel, install it bare, and look at the size and the cold start of that."""
    here = Path(__file__).resolve().parents[1]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(folder), str(here)], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    wheel = next(folder.glob("*.whl"))
    subprocess.run([*pip, "--python", str(python), "install", "-q", str(wheel)], check=True)
    subprocess.run([str(python), "-c", "import voxid; voxid.compare, voxid.load"], check=True)
    site = next((folder / "venv" / "lib").glob("*/site-packages"))
    sizes = {path.name: _megabytes(path) for path in site.iterdir()}
    largest = ", ".join(f"{name} {size:.0f}" for name, size in sorted(sizes.items(), key=lambda s: -s[1])[:6])
    print(f"\nBare install: {sum(sizes.values()):.0f} MB (target {DISK_MB}); largest, MB: {largest}")
    assert "torch" not in sizes
    print(f"wheel: {wheel.stat().st_size / 1e6:.1f} MB")
    cold_start([str(python), "-m", "voxid"], model, folder)


def _megabytes(path: Path) -> float:
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in inside if one.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--int8", metavar="FOLDER", help="the same model as `voxid export --int8` wrote it")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--resemblyzer", metavar="PYTHON")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the peers' processes
    torch.set_num_threads(1)
    model = arguments.model if not Path(arguments.model).is_dir() else str(Path(arguments.model).resolve())
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    encoders(model, arguments.rounds)
    for corpus in CORPORA:
        throughput(model, arguments.int8, find_data() / corpus, arguments.resemblyzer, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        print("\nCold start, torch out of reach")
        cold_start([sys.executable, "-c", WITHOUT_TORCH], model, Path(folder))
        if arguments.install:
            install(model, Path(folder))


if __name__ == "__main__":
    main()
