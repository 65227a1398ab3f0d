"""How long encoders that others publish take, as voxid embeds by them, and as onnxruntime runs them alone.

Each is built in its published size, with random weights, and exported. `voxid` is `embed` of a recording in
memory, from samples to embedding, checks included; `alone` is onnxruntime's run of the encoder's graph on
features that are there already. Processor time, one thread.

    python -m benchmarks.published [NAME...]

NAME is a part of the name of a network, as in the table; without one all are measured.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import onnxruntime
import torch

import voxid
from voxid.corpora.synthetic import speak, voice
from voxid.embed import Embedder
from voxid.embed.onnx import OnnxNetwork
from voxid.export import export
from voxid.model.network import Model
from voxid.published.kinds import KALDI
from voxid.types import SAMPLE_RATE

SECONDS = 5.0
TRIES = 15
TSTP = {"unbiased": True, "added_variance": 1e-7, "least_variance": 1e-7}
MEL80 = {"name": "mel", "bins": 80, "window": "hamming", "bands": "left", "log": "db", "floor": 1e-10}
ECAPA = {"name": "ecapa", "channels": 1024, "summed": False}
NETWORKS = {
    "ECAPA-TDNN-512 (WeSpeaker)": (KALDI, {**ECAPA, "channels": 512, **TSTP}),
    "ECAPA-TDNN-1024 (SpeechBrain)": (
        {**MEL80, "clip": True, "norm": "mean"},
        {**ECAPA, "aggregate": 3072, "mirror": True, "norm_aggregate": True, "attention_norm": True},
    ),
    "ResNet34 (WeSpeaker)": (KALDI, {"name": "resnet", **TSTP}),
    "CAM++ (WeSpeaker, 3D-Speaker)": (KALDI, {"name": "campplus", **TSTP}),
    "ReDimNet-B0": ({**KALDI, "bins": 60}, {"name": "redimnet", "tanh_gelu": True}),
    "Fast ResNet (clovaai)": (
        {"name": "mel", "n_fft": 512, "edges": "mirror", "bands": "htk", "log": "ln", "floor": 1e-6},
        {
            "name": "resnet",
            "channels": 16,
            "squeeze": 8,
            "first": (7, 2),
            "strides": (1, 2, 2, 1),
            "relu_first": True,
            "bin_mean": True,
            "pooling": "self_attentive",
            "global_context": False,
            "embedding": 512,
        },
    ),
}


def best(*calls: Callable[[], object]) -> list[float]:
    """Return the least processor time of several calls of each, in turns, in seconds."""
    least = [math.inf] * len(calls)
    for _ in range(TRIES):
        for number, call in enumerate(calls):
            start = time.process_time()
            call()
            least[number] = min(least[number], time.process_time() - start)
    return least


def main() -> None:
    torch.manual_seed(0)
    wave_S = speak(voice(0), SECONDS, np.random.default_rng(0))
    print(f"{'network':32} {'voxid ms':>9} {'alone ms':>9} {'ratio':>6}   of {SECONDS:g} s")
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, (features, encoder)) in enumerate(NETWORKS.items()):
            if not any(part in name for part in sys.argv[1:] or [""]):
                continue
            folder, out = Path(scratch) / f"m{number}", Path(scratch) / f"x{number}"
            model = Model.build(features, encoder, {"mode": "full"}).eval()
            model.save(folder)
            with mock.patch("voxid.export.demand"):  # with untrained weights rounding errors grow
                export(folder, out)
            embedder = Embedder(OnnxNetwork(out), workers=1)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            cpu = ["CPUExecutionProvider"]
            alone = onnxruntime.InferenceSession(out / "encoder.onnx", options, providers=cpu)
            with torch.no_grad():
                feat_1TF = model.features(torch.from_numpy(wave_S)[None]).numpy()
            here, there = best(
                lambda e=embedder: e.embed((wave_S, SAMPLE_RATE)),
                lambda s=alone, f=feat_1TF: s.run(None, {"features": f}),
            )
            print(f"{name:32} {1e3 * here:9.1f} {1e3 * there:9.1f} {here / there:6.2f}", flush=True)
    print(f"voxid {voxid.__version__}, onnxruntime {onnxruntime.__version__}, one thread")


if __name__ == "__main__":
    main()
