"""The speech detector on voices whose silences are known, in noise, in blocks, and on real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from voxid import corpora
from voxid.audio import SpeechMeter, energy_mask, load, speech_mask, speech_seconds
from voxid.audio.speech import net_seconds
from voxid.embed import Embedder
from voxid.embed.torch import TorchNetwork
from voxid.model.network import Model

RATE = 16_000


def talk(seconds: float, seed: int = 0) -> np.ndarray:
    """Talking without a pause: a buzz with harmonics whose loudness goes up and down with syllables."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = 140 + 20 * np.sin(2 * np.pi * 0.7 * t + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = 10 ** (-(10 + 10 * np.cos(2 * np.pi * 4 * t)) / 20)  # 4 a second, 20 dB deep
    return (0.3 * buzz * syllables).astype(np.float32)


def scene(noise_db: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise, two seconds of talking, noise, one second of talking, noise; and when somebody talks."""
    parts = [(1.0, False), (2.0, True), (1.5, False), (1.0, True), (0.5, False)]
    waves = [
        talk(s, seed + i) if on else np.zeros(round(s * RATE), np.float32) for i, (s, on) in enumerate(parts)
    ]
    wave_S, talking_S = np.concatenate(waves), np.repeat([on for _, on in parts], [w.size for w in waves])
    level = np.sqrt(np.mean(wave_S[talking_S] ** 2)) * 10 ** (noise_db / 20)
    noise = np.random.default_rng(seed + 99).standard_normal(wave_S.size)
    return (wave_S + level * noise).astype(np.float32), talking_S


def of_frames(talking_S: np.ndarray, frames: int) -> np.ndarray:
    return talking_S[np.arange(frames) * 160 + 200]


def energy_seconds(wave_S: np.ndarray) -> float:
    return float(energy_mask(wave_S).sum() / 100)


@pytest.mark.parametrize(("noise_db", "hit"), [(-60, 0.97), (-40, 0.97), (-20, 0.75), (-10, 0.5)])
def test_finds_who_talks_and_not_the_noise(noise_db: float, hit: float) -> None:
    wave_S, talking_S = scene(noise_db)
    mask_T = energy_mask(wave_S)
    assert mask_T.dtype == bool
    assert mask_T.size == (wave_S.size - 400) // 160 + 1
    truth_T = of_frames(talking_S, mask_T.size)
    assert mask_T[truth_T].mean() >= hit
    assert mask_T[~truth_T].mean() < 0.03
    assert energy_seconds(wave_S) == pytest.approx(mask_T.sum() * 0.01)


@pytest.mark.parametrize("gain", [2.0**-8, 0.3, 4.0])
def test_the_level_of_the_recording_does_not_matter(gain: float) -> None:
    wave_S, _ = scene(-30)
    assert energy_seconds(gain * wave_S) == pytest.approx(energy_seconds(wave_S), abs=0.011)


def test_an_offset_and_hum_are_not_speech() -> None:
    wave_S, talking_S = scene(-40)
    t = np.arange(wave_S.size) / RATE
    disturbed = (wave_S + 0.2 + 0.05 * np.sin(2 * np.pi * 50 * t)).astype(np.float32)
    mask_T = energy_mask(disturbed)
    truth_T = of_frames(talking_S, mask_T.size)
    assert mask_T[truth_T].mean() > 0.8
    assert mask_T[~truth_T].mean() < 0.03


def test_silence_around_adds_nothing() -> None:
    wave_S, _ = scene(-30)
    silence = np.zeros(2 * RATE, np.float32)
    once = energy_seconds(wave_S)
    for padded in ([silence, wave_S], [wave_S, silence], [silence, silence, wave_S, silence[:12_345]]):
        assert abs(energy_seconds(np.concatenate(padded)) - once) < 0.1
    twice = energy_seconds(np.concatenate((wave_S, silence, wave_S)))
    assert twice == pytest.approx(2 * once, abs=0.1)


def test_stationary_noise_is_not_speech() -> None:
    rng = np.random.default_rng(0)
    white = rng.standard_normal(5 * RATE)
    spectrum = np.fft.rfft(white)
    spectrum[1:] /= np.sqrt(np.arange(1, spectrum.size))
    for noise in (white, np.fft.irfft(spectrum), np.sin(np.arange(5 * RATE) * 0.3)):
        assert energy_seconds(0.1 * noise / np.abs(noise).max()) == 0.0


def test_a_click_is_neither_speech_nor_the_measure_of_it() -> None:
    wave_S, _ = scene(-40)
    clicked = 0.01 * wave_S
    clicked[8_000:8_080:2] += 0.9  # 5 ms, some 35 dB above the voice
    clicked[8_001:8_080:2] -= 0.9
    clean, mask_T = energy_mask(wave_S), energy_mask(clicked)
    assert not mask_T[45:55].any()
    assert abs(int(mask_T.sum()) - int(clean.sum())) <= 6


def test_short_gaps_are_speech_and_longer_ones_are_not() -> None:
    for gap_s, filled in ((0.08, True), (0.4, False)):
        hole = np.zeros(round(gap_s * RATE), np.float32)
        noise = 0.001 * np.random.default_rng(0).standard_normal(2 * RATE + hole.size + RATE)
        wave_S = (
            np.concatenate((np.zeros(RATE // 2), talk(1.0), hole, talk(1.0, 1), np.zeros(RATE // 2))) + noise
        )
        middle = round((0.5 + 1.0 + gap_s / 2) / 0.01)
        assert bool(energy_mask(wave_S)[middle]) is filled


def test_too_short_for_a_frame() -> None:
    for samples in (0, 1, 399):
        assert energy_mask(np.full(samples, 0.5, np.float32)).size == 0
        assert energy_seconds(np.full(samples, 0.5, np.float32)) == 0.0
    assert energy_mask(talk(0.025)).size == 1
    assert SpeechMeter().mask().size == 0


@pytest.mark.parametrize("block", [1, 33, 80, 400, 7_777])
def test_blocks_give_what_the_whole_gives(block: int) -> None:
    wave_S, _ = scene(-30)
    wave_S = wave_S[: RATE + 4_321] if block == 1 else wave_S
    meter = SpeechMeter()
    for begin in range(0, wave_S.size, block):
        meter.add(wave_S[begin : begin + block])
    assert_array_equal(meter.mask(), speech_mask(wave_S))
    assert net_seconds(meter.mask()) == speech_seconds(wave_S) > 0


def test_every_embedding_says_how_much_speech_was_heard() -> None:
    model = Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8})
    waves = [scene(-30, seed)[0] for seed in range(3)]
    waves.append(waves[0][: 2 * RATE])  # shorter than a window
    want = [speech_seconds(wave_S) for wave_S in waves]
    for long_s in (300.0, 2.5):  # in memory, and in blocks
        runtime = Embedder(TorchNetwork(model), long_s=long_s)
        got = [embedded.info for embedded in runtime.embed_each([(wave_S, RATE) for wave_S in waves])]
        assert [info.net_speech_s for info in got] == pytest.approx(want)
        assert [info.total_s for info in got] == pytest.approx([6.0, 6.0, 6.0, 2.0])


@pytest.mark.real
def test_real_speech_has_a_sensible_share_and_silence_adds_little(real_data: Path) -> None:
    silence = np.zeros(RATE, np.float32)
    for corpus, low, high in (("LibriSpeech/train-clean-100-mini", 0.7, 0.9), ("speech-commands", 0.35, 0.7)):
        utterances = sorted(corpora.scan([real_data / corpus]), key=lambda utterance: utterance.utterance)[
            ::40
        ]
        waves = [load(u.path, start_s=u.start_s, duration_s=u.duration_s) for u in utterances]
        seconds = np.array([speech_seconds(wave_S) for wave_S in waves])
        assert low < np.median(seconds / [wave_S.size / RATE for wave_S in waves]) < high
        padded = np.array([speech_seconds(np.concatenate((silence, w, silence))) for w in waves])
        assert np.mean(np.abs(padded - seconds) < 0.1) > 0.97
        assert np.abs(padded - seconds).max() < 0.2


@pytest.mark.real
def test_real_speech_in_noise_is_not_all_speech(real_data: Path) -> None:
    utterances = sorted(
        corpora.scan([real_data / "speechocean762" / "train"]), key=lambda utterance: utterance.utterance
    )[::100]
    rng = np.random.default_rng(0)
    for snr_db, least, most in ((20, 0.7, 1.05), (5, 0.3, 1.05)):
        shares = []
        for u in utterances:
            wave_S = load(u.path, start_s=u.start_s, duration_s=u.duration_s)
            noise = wave_S.std() * 10 ** (-snr_db / 20) * rng.standard_normal(wave_S.size)
            shares.append(speech_seconds(wave_S + noise) / speech_seconds(wave_S))
        assert least < np.median(shares) < most
