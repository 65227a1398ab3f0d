"""Fbank against kaldi-native-fbank in a loop and a plain batched torch.stft: real-time factors and ratios.

    python -m benchmarks.fbank [--threads 2] [--seconds 3]

All three give the same 80 bands (checked first). They take turns, so that a busy machine slows all of them.
"""

from __future__ import annotations

import argparse
import statistics

import kaldi_native_fbank
import numpy as np
import torch
from torch import Tensor

from benchmarks.mfcc import take_turns
from voxid.features import Fbank, FbankConfig
from voxid.types import SAMPLE_RATE


def by_kaldi(wave_BS: np.ndarray) -> np.ndarray:
    """Return what kaldi-native-fbank makes of each row, one after the other."""
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    rows = []
    for wave_S in wave_BS:
        computer = kaldi_native_fbank.OnlineFbank(options)
        computer.accept_waveform(SAMPLE_RATE, (wave_S * 32768).tolist())
        computer.input_finished()
        rows.append([computer.get_frame(t) for t in range(computer.num_frames_ready)])
    return np.array(rows)


def by_stft(fbank: Fbank, wave_BS: Tensor) -> Tensor:
    """Return log mel energies by torch.stft of the whole batch; pre-emphasis and mean before the windows."""
    wave_BS = wave_BS - wave_BS.mean(dim=1, keepdim=True)
    wave_BS = torch.cat([wave_BS[:, :1], wave_BS[:, 1:] - 0.97 * wave_BS[:, :-1]], dim=1)
    # torch.stft centres a short window in its transform: half of the difference goes before the wave.
    margin = (fbank.config.n_fft - fbank.window) // 2
    spectrum_BKT = torch.stft(
        torch.nn.functional.pad(wave_BS, (margin, margin)),
        fbank.config.n_fft,
        fbank.hop,
        fbank.window,
        fbank.window_N,
        center=False,
        return_complex=True,
    )
    energy_BTM = spectrum_BKT.abs().square().transpose(1, 2) @ fbank.mel_KM
    return energy_BTM.clamp_min(fbank.config.energy_floor).log()


def check(fbank: Fbank, wave_BS: np.ndarray) -> None:
    """Fail unless voxid and Kaldi agree, and the short version of torch.stft is near."""
    theirs, ours = by_kaldi(wave_BS), fbank(torch.from_numpy(wave_BS)).numpy()
    assert np.abs(ours - theirs).max() < 1e-3
    assert np.median(np.abs(by_stft(fbank, torch.from_numpy(wave_BS)).numpy() - theirs)) < 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    fbank = Fbank(FbankConfig(mean_norm=False))
    rng = np.random.default_rng(0)
    check(fbank, (0.1 * rng.standard_normal((2, 32_000))).astype(np.float32))
    print(f"x real time, {arguments.threads} threads, medians; voxid with its mean taken off as in training")
    fbank = Fbank(FbankConfig())
    print("| audio | kaldi-native-fbank | torch.stft | voxid | to Kaldi | to torch.stft |")
    print("|---|---|---|---|---|---|")
    for rows, seconds in ((1, 3.0), (1, 10.0), (64, 2.0), (32, 10.0)):
        wave_BS = (0.1 * rng.standard_normal((rows, int(seconds * SAMPLE_RATE)))).astype(np.float32)
        taken = take_turns(
            {
                "kaldi": lambda wave_BS=wave_BS: by_kaldi(wave_BS),
                "stft": lambda wave_BS=wave_BS: by_stft(fbank, torch.from_numpy(wave_BS)),
                "voxid": lambda wave_BS=wave_BS: fbank(torch.from_numpy(wave_BS)),
            },
            arguments.seconds,
        )
        kaldi, stft, ours = (rows * seconds / statistics.median(values) for values in taken.values())
        print(
            f"| {rows} x {seconds:g} s | {kaldi:.0f} | {stft:.0f} | {ours:.0f} | {ours / kaldi:.1f} "
            f"| {ours / stft:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
