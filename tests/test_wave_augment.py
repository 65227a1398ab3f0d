"""Augmentation of waveforms: every change measured from outside, by means that are not its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxid.augment import AugmentConfig, Sources, WaveAugment
from voxid.augment.channel import amplify, band_limit, clip, fast_length, mu_law
from voxid.augment.clips import Clips
from voxid.augment.levels import active_rms, add_at_snr
from voxid.augment.lossy import CODECS, Codec, compress
from voxid.augment.reverb import BEFORE, Rooms, aligned, convolve
from voxid.augment.rooms import images, random_room, room_response, wall_reflectivity
from voxid.augment.speed import samples_needed, speed, speed_length
from voxid.errors import BadConfig, CorpusNotFound, EmptyCorpus

RATE = 16_000
KINDS = ("rir", "noise", "music", "babble", "gain", "clip", "telephone", "codec", "lossy")
SEED = 3


def off(**options: Any) -> AugmentConfig:
    """Return a config in which nothing happens but what `options` switch on."""
    return AugmentConfig(**{f"{kind}_prob": 0.0 for kind in KINDS} | {"rooms": 5} | options)


def hiss(rows: int, samples: int, level: float = 0.1, seed: int = 0) -> torch.Tensor:
    wave_BS = level * np.random.default_rng(seed).standard_normal((rows, samples))
    return torch.from_numpy(wave_BS.astype(np.float32))


def recordings(*waves: np.ndarray) -> Clips:
    return Clips(tuple(np.round(wave_S * 32767).astype(np.int16) for wave_S in waves))


def tone(hz: float, samples: int = RATE, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(samples) / RATE)).astype(np.float32)


def decibels(ratio: float) -> float:
    return 20 * float(np.log10(ratio))


def run(augment: WaveAugment, wave_BS: torch.Tensor, seed: int = SEED) -> torch.Tensor:
    before = wave_BS.clone()
    out_BS = augment(wave_BS, torch.arange(len(wave_BS)), np.random.default_rng(seed))
    assert torch.equal(wave_BS, before), "the input was written to"
    assert out_BS.shape == wave_BS.shape
    assert out_BS.dtype == wave_BS.dtype
    return out_BS


MODULES = ["channel", "lossy", "levels", "reverb", "rooms", "specaugment", "speed", "waves"]


# -- other sounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [-5.0, 0.0, 7.5, 20.0])
@pytest.mark.parametrize("kind", ["noise", "music", "babble"])
def test_the_snr_is_the_one_asked_for(kind: str, snr: float) -> None:
    # Speech with pauses: its loudness is that of the bursts, which we know.
    wave_BS = hiss(6, 4 * RATE, seed=1)
    wave_BS[:, RATE : 3 * RATE] = 0.0
    sources = Sources(**{kind: recordings(*hiss(3, 6 * RATE, seed=2).numpy())})
    options = {f"{kind}_prob": 1.0, f"{kind}_snr": (snr, snr), kind: "unused", "babble_voices": (1, 1)}
    added_BS = run(WaveAugment(off(**options), sources), wave_BS) - wave_BS
    for added_S in added_BS.double().numpy():
        assert decibels(0.1 / np.sqrt(np.mean(added_S**2))) == pytest.approx(snr, abs=0.1)


def test_the_snrs_fill_the_range() -> None:
    sources = Sources(noise=recordings(*hiss(3, RATE, seed=2).numpy()))
    augment = WaveAugment(off(noise_prob=1.0, noise="unused", noise_snr=(3.0, 13.0)), sources)
    wave_BS = hiss(400, 3_200)
    added_BS = run(augment, wave_BS) - wave_BS
    snrs = 20 * torch.log10(active_rms(wave_BS) / active_rms(added_BS)).numpy()
    assert 2.9 < snrs.min() < 3.2
    assert 12.8 < snrs.max() < 13.1
    assert np.std(snrs) == pytest.approx(10 / 12**0.5, rel=0.1)  # of an even spread


def test_pauses_in_the_noise_do_not_make_it_louder() -> None:
    noise_S = hiss(1, RATE, level=0.3)[0]
    noise_S[4_000:] = 0.0
    speech_BS = hiss(1, RATE, seed=4)
    added_S = (add_at_snr(speech_BS, noise_S[None], torch.tensor([10.0])) - speech_BS)[0].numpy()
    assert decibels(0.1 / np.std(added_S[:4_000])) == pytest.approx(10, abs=0.2)


def test_pieces_come_from_all_recordings_and_all_places() -> None:
    ramps = [
        np.linspace(k, k + 1, RATE, endpoint=False) / 4 for k in range(4)
    ]  # every sample tells its place
    pieces_BS = recordings(*ramps).draw(np.random.default_rng(0), 2_000, 100).numpy()
    starts_B = pieces_BS[:, 0] * 4
    assert np.diff(pieces_BS, axis=1).min() >= 0  # no seam
    counts, _ = np.histogram(starts_B, bins=16, range=(0, 4))
    assert counts.min() > 80  # 125 on average
    assert counts.max() < 175


def test_a_short_recording_is_repeated() -> None:
    clips = recordings(np.array([0.1, 0.2, 0.3]))
    pieces_BS = clips.draw(np.random.default_rng(0), 20, 7).numpy().round(1)
    assert {tuple(piece_S[:3].tolist()) for piece_S in pieces_BS} == {
        tuple(np.float32(v) for v in start) for start in ((0.1, 0.2, 0.3), (0.2, 0.3, 0.1), (0.3, 0.1, 0.2))
    }
    np.testing.assert_array_equal(pieces_BS[:, 3:], pieces_BS[:, :4])


def test_babble_is_made_of_other_speakers_of_the_batch() -> None:
    hz = [500.0 + 100 * row for row in range(12)]  # whole periods, so that a shift leaves one line
    wave_BS = torch.from_numpy(np.stack([tone(f) for f in hz]))
    labels_B = torch.arange(12) // 3  # three rows of each of four speakers
    config = off(babble_prob=1.0, babble_snr=(10.0, 10.0), babble_voices=(2, 4))
    out_BS = WaveAugment(config)(wave_BS, labels_B, np.random.default_rng(0))
    counts, voices = set(), set()
    for row, added_S in enumerate((out_BS - wave_BS).numpy()):
        lines = np.abs(np.fft.rfft(added_S))[[int(f) for f in hz]]
        heard = np.flatnonzero(lines > 0.1 * lines.max())
        assert not set(heard) & set(range(row // 3 * 3, row // 3 * 3 + 3)), "a speaker babbles over himself"
        np.testing.assert_allclose(lines[heard], lines.max(), rtol=1e-3)  # each equally loud
        counts.add(len(heard))
        voices |= set(heard.tolist())
    assert counts == {2, 3, 4}
    assert len(voices) > 9, "the same few rows babble everywhere"


def test_without_other_speakers_there_is_no_babble() -> None:
    augment = WaveAugment(off(babble_prob=1.0))
    wave_BS = hiss(4, 1_000)
    assert torch.equal(augment(wave_BS, torch.full((4,), 7), np.random.default_rng(0)), wave_BS)
    labels_B = torch.tensor([7, 7, 7, 8])
    changed_B = (augment(wave_BS, labels_B, np.random.default_rng(0)) != wave_BS).any(dim=1)
    assert changed_B.all()


# -- rooms --------------------------------------------------------------------------------------------


def test_a_room_is_a_convolution() -> None:
    rir_BL = torch.stack(
        [
            torch.from_numpy(np.pad(random_room(np.random.default_rng(s), 0.4, 3_000), (BEFORE, 0)))
            for s in range(3)
        ]
    )
    wave_BS = hiss(3, 5_000)
    for ours_S, wave_S, rir_L in zip(convolve(wave_BS, rir_BL), wave_BS, rir_BL, strict=True):
        theirs_S = np.convolve(wave_S.double().numpy(), rir_L.double().numpy())[BEFORE : BEFORE + 5_000]
        np.testing.assert_allclose(ours_S.numpy(), theirs_S, atol=1e-5)


def test_the_direct_sound_stays_where_it_was() -> None:
    rir_S = np.zeros(900)
    rir_S[[700, 800]] = 1.0, 0.5
    rir_L = aligned(rir_S, most=500)
    np.testing.assert_allclose(rir_L[[BEFORE, BEFORE + 100]], np.array([1.0, 0.5]) / 1.25**0.5)
    assert len(rir_L) == BEFORE + 101  # the silence after the last reflection is gone
    click_BS = torch.zeros(1, 1_000)
    click_BS[0, 300] = 1.0
    heard_S = convolve(click_BS, torch.from_numpy(rir_L)[None])[0]
    assert heard_S.abs().argmax() == 300
    assert heard_S[400] == pytest.approx(0.5 / 1.25**0.5, abs=1e-6)


@settings(max_examples=30)
@given(peak=st.integers(0, 400), most=st.integers(1, 500), seed=st.integers(0, 100))
def test_responses_are_aligned_and_of_energy_one(peak: int, most: int, seed: int) -> None:
    rir_S = 0.1 * np.random.default_rng(seed).uniform(-1, 1, 500)
    rir_S[peak] = -0.7
    rir_L = aligned(rir_S, most)
    assert np.abs(rir_L).argmax() == BEFORE
    assert np.sum(rir_L.astype(np.float64) ** 2) == pytest.approx(1, abs=1e-5)
    assert len(rir_L) <= BEFORE + most


def test_images_of_a_source_in_a_shoebox() -> None:
    # A room of 4 x 5 x 3 m, source and microphone on a line along x: the mirrors are worked out by hand.
    size, source, microphone = np.array([4.0, 5, 3]), np.array([1.0, 2, 1]), np.array([3.0, 2, 1])
    delay_I, gain_I = images(size, source, microphone, 0.8, 0.03)
    metres = delay_I / RATE * 343
    expected = {  # distance: bounces
        2.0: 0,  # straight
        4.0: 1,  # the wall at x = 0 (source at -1), and that at x = 4 (source at 7)
        (4 + 16) ** 0.5: 1,  # the wall at y = 0: source at (1, -2, 1)
        (4 + 4) ** 0.5: 1,  # the floor: source at (1, 2, -1)
        (4 + 36) ** 0.5: 1,  # the wall at y = 5: source at (1, 8, 1)
        6.0: 2,  # both walls along x: the source at -5 - ... and at 9
    }
    for distance, bounces in expected.items():
        near = np.flatnonzero(np.abs(metres - distance) < 1e-9)
        assert near.size, distance
        assert np.any(np.isclose(gain_I[near], 0.8**bounces / distance)), distance
    assert metres[0] == pytest.approx(2.0)
    assert np.sum(np.abs(metres - 4.0) < 1e-9) >= 2
    assert metres.max() < 343 * 0.03


def test_the_number_of_images_is_that_of_the_rooms_that_fill_the_ball() -> None:
    size = np.array([4.0, 5, 3])
    delay_I, _ = images(size, size / 3, size / 2, 0.9, 0.1)
    assert len(delay_I) == pytest.approx(4 / 3 * np.pi * 34.3**3 / np.prod(size), rel=0.02)


@pytest.mark.parametrize("rt60", [0.2, 0.5, 1.0])
def test_sound_decays_by_60_db_in_the_time_asked_for(rt60: float) -> None:
    times = []
    for seed in range(8):
        rir_S = random_room(np.random.default_rng(seed), rt60, int(1.2 * rt60 * RATE)).astype(np.float64)
        left_db = 10 * np.log10(np.cumsum(rir_S[::-1] ** 2)[::-1] / np.sum(rir_S**2))  # Schroeder
        first, last = np.flatnonzero(left_db < -5)[0], np.flatnonzero(left_db < -25)[0]
        times.append(3 * (last - first) / RATE)
    assert np.median(times) == pytest.approx(rt60, rel=0.2)


def test_walls_reflect_as_eyrings_rule_says() -> None:
    size = np.array([5.0, 4, 3])
    absorbed = 1 - wall_reflectivity(size, 0.5) ** 2
    assert -0.161 * 60 / (94 * np.log(1 - absorbed)) == pytest.approx(0.5)


def test_a_fractional_delay_is_kept() -> None:
    # 3.43 m and a tenth of a sample: the phase of a tone tells the delay.
    metres = 343 * (160 + 0.1) / RATE
    room, source = np.full(3, 60.0), np.full(3, 30.0)
    microphone = source + np.array([metres, 0, 0])
    rir_S = room_response(room, source, microphone, 0.3, 700, np.random.default_rng(0))
    phase = np.angle(np.sum(rir_S * np.exp(2j * np.pi * 1_000 / RATE * np.arange(700))))
    assert phase / (2 * np.pi * 1_000 / RATE) % 16 == pytest.approx(160.1 % 16, abs=0.01)
    assert np.abs(np.fft.rfft(rir_S))[: 700 // 4].mean() == pytest.approx(1 / metres, rel=0.01)


def test_rooms_of_a_folder_first_channel_any_rate(tmp_path: Path) -> None:
    rir_S = np.zeros(4_800)
    rir_S[480], rir_S[960] = 0.5, 0.25
    soundfile.write(tmp_path / "stereo48.wav", np.stack([rir_S, -rir_S], axis=1), 48_000, subtype="FLOAT")
    rooms = Rooms.make([str(tmp_path)])
    assert rooms.rir_RL.shape[0] == 1
    rir_L = rooms.rir_RL[0].numpy()
    assert rir_L.argmax() == BEFORE
    assert rir_L[BEFORE + 160] / rir_L[BEFORE] == pytest.approx(0.5, abs=0.01)


def test_measured_and_simulated_rooms_side_by_side(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.eye(1, 300)[0], RATE)
    rooms = Rooms.make([str(tmp_path)], simulated=3, rt60_s=(0.2, 0.3), most_s=0.1)
    assert rooms.rir_RL.shape[0] == 4
    assert rooms.rir_RL.shape[1] <= BEFORE + 1_600
    assert torch.equal(rooms.rir_RL, Rooms.make([str(tmp_path)], 3, (0.2, 0.3), 0.1).rir_RL)


# -- microphone and line ------------------------------------------------------------------------------


def test_the_telephone_band() -> None:
    wave_BS = hiss(2, 2 * RATE)
    out_BS = run(WaveAugment(off(telephone_prob=1.0)), wave_BS)
    hz = np.fft.rfftfreq(2 * RATE, 1 / RATE)
    before, after = (np.abs(np.fft.rfft(w.numpy() * np.hanning(2 * RATE))) for w in (wave_BS, out_BS))
    passed, stopped = (hz > 320) & (hz < 3_380), (hz < 180) | (hz > 3_520)
    power_before, power_after = before**2, after**2
    assert decibels(np.sqrt(power_after[:, passed].mean() / power_before[:, passed].mean())) == pytest.approx(
        0, abs=0.1
    )
    assert decibels(np.sqrt(power_after[:, stopped].mean() / power_before[:, stopped].mean())) < -60


def test_the_band_does_not_wrap_around() -> None:
    click_BS = torch.zeros(1, 4_000)
    click_BS[0, -1] = 1.0
    assert band_limit(click_BS, 300, 3_400)[0, :200].abs().max() < 1e-2


def test_mu_law_by_hand_and_by_its_noise() -> None:
    # 127 ln(1 + 255 / 2) / ln 256 = 111.2: step 111 is (256^(111/127) - 1) / 255.
    assert mu_law(torch.tensor([[0.5]])).item() == pytest.approx((256 ** (111 / 127) - 1) / 255, abs=1e-6)
    assert mu_law(torch.tensor([[-3.0, 0.0]])).tolist() == [[-1.0, 0.0]]
    assert len(mu_law(torch.linspace(-1, 1, 100_001)[None]).unique()) == 255
    for level in (0.5, 0.05):  # its purpose: the noise follows the signal, about 38 dB below it
        wave_BS = hiss(1, RATE, level=level / 3)
        noise = (mu_law(wave_BS) - wave_BS).std().item()
        assert 33 < decibels(level / 3 / noise) < 41


def speechlike(samples: int) -> np.ndarray:
    """Return a buzz of 120 Hz that comes and goes, with all its overtones."""
    time_S = np.arange(samples) / RATE
    buzz_S = sum(np.sin(2 * np.pi * 120 * n * time_S) / n for n in range(1, 60))
    return (0.2 * buzz_S * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time_S))).astype(np.float32)


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_keeps_time_length_and_loudness(codec: Codec) -> None:
    wave_S = speechlike(RATE + 77)
    coded_S = compress(wave_S, codec, 0.8)
    assert coded_S.shape == wave_S.shape
    assert coded_S.dtype == np.float32
    lag = np.correlate(np.pad(coded_S, 1_500), wave_S, "valid").argmax() - 1_500
    assert abs(int(lag)) <= 4  # samples
    assert decibels(coded_S.std() / wave_S.std()) == pytest.approx(0, abs=1.5)
    louder_S = compress(40 * wave_S, codec, 0.8)  # beyond full scale: nothing is clipped
    assert decibels(louder_S.std() / (40 * wave_S).std()) == pytest.approx(0, abs=1.5)


@pytest.mark.parametrize("codec", ["mp3", "vorbis", "opus"])
def test_a_higher_level_compresses_harder(codec: Codec) -> None:
    wave_S = speechlike(RATE)
    lost = [float(np.square(compress(wave_S, codec, level) - wave_S).sum()) for level in (0.2, 1.0)]
    assert lost[0] < lost[1]


def test_what_a_mobile_telephone_leaves() -> None:
    """GSM works at 8 kHz: nothing is left above 4 kHz, and below it most is."""
    for hz, least, most in ((1_000, -3, 3), (6_000, -200, -40)):
        wave_S = tone(hz, level=0.3)
        assert least < decibels(compress(wave_S, "gsm", 0.5).std() / wave_S.std()) < most


def test_the_codecs_that_are_named_are_used() -> None:
    wave_BS = torch.from_numpy(np.stack([speechlike(4_000)] * 40))
    two_BS = run(WaveAugment(off(lossy_prob=1.0, lossy=("gsm", "mp3"), lossy_level=(1.0, 1.0))), wave_BS)
    expected = [torch.from_numpy(compress(wave_BS[0].numpy(), codec, 1.0)) for codec in ("gsm", "mp3")]
    found = [sum(torch.equal(row_S, wave_S) for row_S in two_BS) for wave_S in expected]
    assert sum(found) == 40
    assert min(found) >= 8  # of 20 expected


def test_gain_and_clipping() -> None:
    wave_BS = hiss(3, 4_000)
    np.testing.assert_allclose(
        amplify(wave_BS, torch.tensor([20.0, -20, 0])) / wave_BS,
        np.array([[10.0], [0.1], [1.0]]).repeat(4_000, 1),
        rtol=1e-5,
    )
    clipped_BS = clip(wave_BS, torch.tensor([6.0, 6.0, 0.0]))
    for row, level in enumerate((10 ** (-6 / 20), 10 ** (-6 / 20), 1.0)):
        top = wave_BS[row].abs().max() * level
        np.testing.assert_allclose(clipped_BS[row], wave_BS[row].clamp(-top, top), rtol=1e-6)


@settings(max_examples=200)
@given(samples=st.integers(1, 1 << 20))
def test_fast_lengths_hold_the_wave(samples: int) -> None:
    length = fast_length(samples)
    assert samples <= length < 1.34 * samples + 2
    while length % 2 == 0:
        length //= 2
    assert length in (1, 3, 5, 9)


# -- speed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.5, 2.0, 1.03])
def test_speed_moves_the_pitch(factor: float) -> None:
    played_S = speed(torch.from_numpy(tone(440.0)), factor).numpy()
    assert len(played_S) == round(RATE / factor)
    spectrum = np.abs(np.fft.rfft(played_S * np.hanning(len(played_S)), n=1 << 19))
    assert spectrum.argmax() * RATE / (1 << 19) == pytest.approx(440 * factor, abs=0.2)
    middle = played_S[1_000:-1_000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / 2**0.5, rel=0.01)


@settings(max_examples=40)
@given(samples=st.integers(1, 5_000), factor=st.floats(0.5, 2.0))
def test_lengths_at_any_speed(samples: int, factor: float) -> None:
    needed = samples_needed(samples, factor)
    assert samples <= speed_length(needed, factor) <= samples + 2
    played_BS = speed(hiss(2, needed), factor, samples)
    assert played_BS.shape == (2, samples)
    assert torch.equal(played_BS[1], speed(hiss(2, needed)[1], factor)[:samples])


def test_speed_by_the_right_factor_only() -> None:
    wave_BS = hiss(2, 100)
    assert torch.equal(speed(wave_BS, 1.0), wave_BS)
    for factor in (0.4, 2.5, float("nan"), -1.0):
        with pytest.raises(BadConfig, match=r"0\.5 to 2"):
            speed(wave_BS, factor)
    with pytest.raises(ValueError, match="fewer than 100"):
        speed(wave_BS, 1.1, 100)


# -- all together -------------------------------------------------------------------------------------


def everything(probability: float) -> WaveAugment:
    config = AugmentConfig(
        **{f"{kind}_prob": probability for kind in KINDS}, noise="unused", music="unused", rooms=5
    )
    noise = recordings(np.zeros(50_000), hiss(1, 30_000)[0].numpy(), np.eye(1, 40_000)[0])
    return WaveAugment(config, Sources(noise, noise, None, Rooms.make(simulated=5)))


def test_the_same_draws_give_the_same_batch() -> None:
    augment, wave_BS, labels_B = everything(0.5), hiss(16, 8_000), torch.arange(16)
    first_BS = augment(wave_BS, labels_B, np.random.default_rng(1))
    assert torch.equal(first_BS, everything(0.5)(wave_BS, labels_B, np.random.default_rng(1)))
    assert not torch.equal(first_BS, augment(wave_BS, labels_B, np.random.default_rng(2)))
    with_torch = [augment(wave_BS, labels_B, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(with_torch[0], with_torch[1])
    assert not torch.equal(with_torch[0], with_torch[2])


def test_a_change_switched_off_leaves_the_others_as_they_were() -> None:
    wave_BS = hiss(8, 8_000)
    gain_BS = run(WaveAugment(off(gain_prob=0.5)), wave_BS)
    both_BS = run(WaveAugment(off(gain_prob=0.5, codec_prob=1.0)), wave_BS)
    assert torch.equal(both_BS, mu_law(gain_BS))


@pytest.mark.parametrize("kind", KINDS)
def test_each_happens_as_often_as_asked(kind: str) -> None:
    wave_BS = hiss(1, 400, level=0.3).expand(1_000, -1).contiguous()
    noise = recordings(hiss(1, 500)[0].numpy())
    sources = Sources(noise, noise, None, Rooms.make(simulated=3))
    options = {f"{kind}_prob": 0.3} | ({kind: "unused"} if kind in ("noise", "music") else {})
    changed_B = (run(WaveAugment(off(**options), sources), wave_BS) != wave_BS).any(dim=1)
    assert changed_B.float().mean().item() == pytest.approx(0.3, abs=0.06)  # 4 standard deviations


@pytest.mark.parametrize("samples", [1, 159, 160, 16_000])
def test_silence_stays_silence_and_nothing_is_nan(samples: int) -> None:
    wave_BS = hiss(6, samples)
    wave_BS[:3] = 0.0
    wave_BS[3] *= 1e-30
    for seed in range(3):
        out_BS = run(everything(1.0), wave_BS, seed)
        assert out_BS.isfinite().all()
        assert torch.count_nonzero(out_BS[:3]) == 0


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_other_devices_give_the_same(device: str) -> None:
    if not (torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()):
        pytest.skip(f"no {device} on this machine")
    augment, wave_BS, labels_B = everything(0.5), hiss(16, 8_000), torch.arange(16)
    there = augment(wave_BS.to(device), labels_B.to(device), np.random.default_rng(1))
    here = augment(wave_BS, labels_B, np.random.default_rng(1))
    off_by = (there.cpu() - here).abs() > 1e-3  # one step of mu-law may fall to the other side
    assert off_by.float().mean() < 1e-3


# -- what is asked for wrongly ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_prob": 0.5}, r"noise_prob is 0\.5, and no recordings are named"),
        ({"music_prob": 0.1}, r"music_prob is 0\.1"),
        ({"noise": ["a"]}, "noise names recordings, and noise_prob is 0"),
        ({"rooms": 0}, "rir_prob needs rooms"),
        ({"noise_snr": [20, 0]}, r"augment\.noise_snr.*the smaller number comes first"),
        ({"codec_prob": 1.5}, r"augment\.codec_prob"),
        ({"babble_voices": [0, 3]}, "babble_voices"),
        ({"telephone_band": [3400, 3400]}, "telephone_band"),
        ({"rt60": [0.0, 0.5]}, "rt60"),
        ({"lossy_prob": 0.1, "lossy": []}, "lossy is empty: name mp3, vorbis, opus, gsm"),
        ({"lossy": ["aac"]}, r"augment\.lossy"),
        ({"lossy_level": [0.5, 2.0]}, "lossy_level is two numbers from 0 to 1"),
        ({"noize_prob": 0.5}, "Did you mean 'noise_prob'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        AugmentConfig.parse(options, "augment")


def test_one_folder_may_be_written_without_brackets() -> None:
    assert AugmentConfig.parse({"noise": "a", "noise_prob": 0.1}, "augment").noise == ("a",)


FOLDERS: dict[str, tuple[Callable[[Path], None], type[Exception], str]] = {
    "missing": (lambda folder: folder.rmdir(), CorpusNotFound, "there is no noise folder"),
    "empty": (lambda _: None, EmptyCorpus, "holds no audio: it is empty"),
    "text only": (
        lambda folder: [(folder / f"{n}.txt").write_text("") for n in "ab"] and None,
        EmptyCorpus,
        r"its files are 2 x \.txt",
    ),
    "broken": (
        lambda folder: (folder / "a.wav").write_text("no audio") and None,
        EmptyCorpus,
        r"none of the 1 noise files can be used \(1 undecodable\).*a\.wav",
    ),
    "silent": (
        lambda folder: soundfile.write(folder / "a.wav", np.zeros(100), RATE),
        EmptyCorpus,
        r"1 silent",
    ),
}


@pytest.mark.parametrize("state", FOLDERS)
def test_a_folder_without_noise_is_named(state: str, tmp_path: Path) -> None:
    make, error, message = FOLDERS[state]
    folder = tmp_path / "noise"
    folder.mkdir()
    make(folder)
    with pytest.raises(error, match=message) as caught:
        WaveAugment(AugmentConfig(noise_prob=0.5, noise=str(folder)))  # type: ignore[arg-type]
    assert str(folder) in str(caught.value)


def test_a_folder_without_rooms_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmptyCorpus, match=r"the rir folder .* holds no audio"):
        WaveAugment(AugmentConfig(rir=(str(tmp_path),)))
    soundfile.write(tmp_path / "a.wav", np.zeros(100), RATE)
    with pytest.raises(EmptyCorpus, match=r"none of the 1 rir files can be used \(1 silent\)"):
        WaveAugment(AugmentConfig(rir=(str(tmp_path),)))


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, without_root: Callable[[], AbstractContextManager[None]]
) -> None:
    folder = tmp_path / "noise"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.ones(100), RATE)
    folder.chmod(0o000)
    try:
        with without_root(), pytest.raises(CorpusNotFound, match=r"cannot be read \(Permission denied"):
            Clips.load([str(folder)], "noise")
    finally:
        folder.chmod(0o755)


def test_some_unusable_files_are_counted(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", hiss(1, 800)[0].numpy(), RATE)
    (tmp_path / "bad.wav").write_text("no audio")
    soundfile.write(tmp_path / "still.wav", np.zeros(100), RATE)
    for part in (Clips.load([str(tmp_path)], "noise"), Rooms.make([str(tmp_path)])):
        [warning] = part.warnings
        assert "2 of 3 files cannot be used (1 silent, 1 undecodable)" in warning
    config = AugmentConfig(noise_prob=0.5, noise=(str(tmp_path),))
    assert len(WaveAugment(config).sources.warnings) == 1


def test_no_more_is_held_than_allowed_and_the_rest_is_counted(tmp_path: Path) -> None:
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", hiss(1, RATE, seed=number)[0].numpy(), RATE)
    clips = Clips.load([str(tmp_path)], "noise", most_s=2.5)
    assert clips.seconds == 2.5
    assert clips.warnings == ("noise: 2 of 5 files beyond the first 2.5 s",)
    assert Clips.load([str(tmp_path), str(tmp_path / "0.wav")], "noise").seconds == 6


@pytest.mark.real
def test_real_noise_and_rooms(real_data: Path) -> None:
    config = AugmentConfig(
        **{f"{kind}_prob": 0.5 for kind in KINDS if kind != "music"},
        noise=(str(real_data / "noise"),),
        rir=(str(real_data / "rir"),),
        rooms=10,
    )
    augment = WaveAugment(config)
    assert augment.sources.warnings == []
    assert augment.sources.noise is not None
    assert augment.sources.rooms is not None
    assert augment.sources.noise.seconds > 600
    assert len(augment.sources.rooms.rir_RL) == 84
    assert run(augment, hiss(32, RATE)).isfinite().all()
