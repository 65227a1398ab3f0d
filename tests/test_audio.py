"""Audio: one road from anything to mono 16 kHz, in constant memory, and an error of its own for each flaw."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from voxid import audio
from voxid.errors import (
    AudioEmpty,
    AudioError,
    AudioNotFinite,
    AudioNotFound,
    AudioNotReadable,
    AudioNotScaled,
    AudioSilent,
    AudioTooShort,
    AudioTruncated,
    AudioUndecodable,
    BadAudioInput,
)

RATE = 16_000


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def encoded(wave: np.ndarray, rate: int = RATE, format: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def wav_header_8_bit(samples: int) -> bytes:
    form = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE, 1, 8)
    return b"RIFF" + struct.pack("<I", 36 + samples) + form + b"data" + struct.pack("<I", samples)


def sine(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


# -- what comes out ------------------------------------------------------------------------------------


def test_16_bit_samples_come_back_exactly(tone: np.ndarray, tmp_path: Path) -> None:
    pcm = np.rint(tone * 20_000).astype(np.int16)
    for format in ("WAV", "FLAC", "AIFF", "RF64"):
        wave = audio.load(encoded(pcm, format=format))
        assert wave.dtype == np.float32
        np.testing.assert_array_equal(wave * 32768, pcm)


def test_every_kind_of_source_gives_the_same_samples(tone: np.ndarray, tmp_path: Path) -> None:
    data = encoded(np.rint(tone * 20_000).astype(np.int16))
    path = tmp_path / "süß in a folder.wav"
    path.write_bytes(data)
    expected = soundfile.read(path, dtype="float32")[0]
    buffer = io.BytesIO(data)
    buffer.seek(100)  # read from its beginning all the same
    with path.open("rb") as file:
        for source in (path, str(path), data, bytearray(data), buffer, file, (expected, RATE)):
            np.testing.assert_array_equal(audio.load(source), expected)


def test_a_pipe_is_read_too(tone: np.ndarray) -> None:
    data = encoded(np.rint(tone * 20_000).astype(np.int16))
    end, start = os.pipe()
    with open(start, "wb") as writer:  # noqa: PTH123 - file descriptors
        writer.write(data)  # 32 kB fit into a pipe
    with open(end, "rb") as pipe:  # noqa: PTH123
        np.testing.assert_array_equal(audio.load(pipe), audio.load(data))


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_other_rates_are_resampled(rate: int) -> None:
    wave = audio.load((sine(2.0, rate), rate))
    assert abs(len(wave) - 2 * RATE) <= 1
    inner = slice(RATE // 4, -RATE // 4)  # a filter rings at the ends of a cut sine
    np.testing.assert_allclose(wave[inner], sine(2.0, RATE)[: len(wave)][inner], atol=1e-3)


def test_resampling_removes_what_16_khz_cannot_hold() -> None:
    assert np.abs(audio.load((sine(1.0, 48_000, hertz=12_000), 48_000))[2000:-2000]).max() < 1e-3


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_averaged(channels: int, rng: np.random.Generator) -> None:
    wave_SC = rng.uniform(-0.5, 0.5, (3000, channels)).astype(np.float32)
    expected = sum(wave_SC[:, c].astype(float) for c in range(channels)) / channels
    for source in ((wave_SC, RATE), encoded(wave_SC, subtype="FLOAT")):
        np.testing.assert_allclose(audio.load(source), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (np.int8, [-128, 64], [-1.0, 0.5]),
        (np.uint8, [0, 128, 192], [-1.0, 0.0, 0.5]),
        (np.int16, [-32768, 16384], [-1.0, 0.5]),
        (np.uint16, [0, 32768, 49152], [-1.0, 0.0, 0.5]),
        (np.int32, [-(2**31), 2**30], [-1.0, 0.5]),
        (np.float64, [-1.0, 0.5], [-1.0, 0.5]),
    ],
)
def test_integers_are_scaled_by_their_full_range(dtype: type, values: list, expected: list) -> None:
    assert audio.load((np.array(values, dtype), RATE)).tolist() == expected


def test_8_bit_file_and_array_agree() -> None:
    unsigned = np.arange(0, 256, dtype=np.uint8)
    header = (
        b"RIFF"
        + struct.pack("<I", 36 + 256)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE, 1, 8)
    )
    data = header + b"data" + struct.pack("<I", 256) + unsigned.tobytes()
    np.testing.assert_array_equal(audio.load(data), audio.load((unsigned, RATE)))


def test_the_array_given_is_not_changed(tone: np.ndarray) -> None:
    before = tone.copy()
    wave = audio.load((tone, RATE))
    wave *= 0
    np.testing.assert_array_equal(tone, before)


# -- pieces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("block_s", [0.01, 0.7, 30.0, 1000.0])
def test_blocks_joined_are_load(rate: int, block_s: float, rng: np.random.Generator) -> None:
    source = (rng.uniform(-0.5, 0.5, 40 * rate).astype(np.float32), rate)
    whole = audio.load(source)
    pieces = list(audio.blocks(source, block_s=block_s))
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert {len(piece) for piece in pieces[:-1]} <= {round(block_s * RATE)}
    assert 0 < len(pieces[-1]) <= round(block_s * RATE)


def test_resampling_in_pieces_is_resampling_at_once(rng: np.random.Generator) -> None:
    samples = rng.uniform(-0.5, 0.5, 40 * 44_100).astype(np.float32)
    at_once = soxr.resample(samples, 44_100, RATE, quality="HQ")
    np.testing.assert_allclose(audio.load((samples, 44_100)), at_once, atol=1e-6)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG"])
def test_a_piece_is_cut_where_asked(format: str, rng: np.random.Generator) -> None:
    data = encoded(rng.uniform(-0.5, 0.5, 6 * RATE).astype(np.float32), format=format)
    whole = audio.load(data)
    np.testing.assert_array_equal(audio.load(data, start_s=2.5, duration_s=1.25), whole[40_000:60_000])
    np.testing.assert_array_equal(audio.load(data, start_s=5.5), whole[88_000:])
    # lists round their times: a little beyond the end is the end, more is a missing end
    np.testing.assert_array_equal(audio.load(data, start_s=5.0, duration_s=1.4), whole[80_000:])
    with pytest.raises(AudioTruncated, match="ends at 6 s"):
        audio.load(data, start_s=5.0, duration_s=2.0)
    with pytest.raises(AudioEmpty, match="ends at 6 s"):
        audio.load(data, start_s=7.0)


@pytest.mark.parametrize(
    "options",
    [
        {"start_s": -1.0},
        {"start_s": float("nan")},
        {"duration_s": 0.0},
        {"duration_s": float("inf")},
        {"block_s": 0.0},
        {"block_s": float("nan")},
    ],
)
def test_times_that_make_no_sense(options: dict, tone: np.ndarray) -> None:
    with pytest.raises(BadAudioInput):
        list(audio.blocks((tone, RATE), **options))


@pytest.mark.slow
def test_ten_hours_take_the_memory_of_a_minute(tmp_path: Path) -> None:
    seconds = 10 * 3600
    path = tmp_path / "long.wav"
    size = seconds * RATE
    with path.open("wb") as file:  # 8-bit samples, never written: a sparse file
        file.write(wav_header_8_bit(size))
        file.truncate(44 + size)
    assert audio.info(path).duration_s == seconds
    tracemalloc.start()
    try:
        samples = sum(len(block) for block in audio.blocks(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert samples == size
    assert peak < 20e6  # whole it would be 2.3 GB


# -- what is refused -----------------------------------------------------------------------------------


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(AudioNotFound, match="no such file"):
        audio.load(tmp_path / "nothing.wav")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioNotReadable, match="a folder"):
        audio.load(tmp_path)


def test_a_pipe_in_the_file_system_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioNotReadable, match="not a regular file"):
        audio.load(tmp_path / "pipe.wav")


def test_a_name_no_system_can_have() -> None:
    with pytest.raises((AudioNotFound, AudioNotReadable)):
        audio.load("a\0b.wav")


Bound = Callable[[], AbstractContextManager[None]]


def test_no_permission(tmp_path: Path, tone: np.ndarray, without_root: Bound) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded(tone))
    path.chmod(0)
    with without_root(), pytest.raises(AudioNotReadable, match="permissions"):
        audio.load(path)


def test_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "zero.wav").touch()
    for source in (tmp_path / "zero.wav", b"", io.BytesIO()):
        with pytest.raises(AudioEmpty, match="no bytes"):
            audio.load(source)


def test_no_samples() -> None:
    for source in (encoded(np.zeros(0, np.float32)), (np.zeros(0, np.float32), RATE)):
        with pytest.raises(AudioEmpty, match="no samples"):
            audio.load(source)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"These are words, and no sound at all.\n" * 40, "it is text"),
        (b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00" + bytes(2000), "MPEG-4"),
        (b"\x1a\x45\xdf\xa3" + bytes(2000), "WebM"),
        (bytes(5000), "not audio"),
    ],
    ids=["text", "m4a", "webm", "zeros"],
)
def test_bytes_that_are_not_audio(data: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "renamed.wav").write_bytes(data)
    for source in (data, tmp_path / "renamed.wav"):
        with pytest.raises(AudioUndecodable, match=what):
            audio.load(source)


def test_a_headerless_file(tmp_path: Path) -> None:
    (tmp_path / "samples.raw").write_bytes(bytes(3200))
    with pytest.raises(AudioUndecodable):
        audio.load(tmp_path / "samples.raw")


def test_a_header_with_an_absurd_rate(tone: np.ndarray) -> None:
    data = bytearray(encoded(tone))
    data[24:28] = struct.pack("<I", 1)  # upsampling 1 Hz would ask for 16,000 times the samples
    with pytest.raises(AudioUndecodable, match="1 Hz"):
        audio.load(bytes(data))


@pytest.mark.parametrize("part", [0.95, 0.5, 0.2])
@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", None),
        ("RF64", None),
        ("AIFF", None),
        ("FLAC", None),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", None),
    ],
)
def test_a_file_that_breaks_off(
    format: str, subtype: str | None, part: float, rng: np.random.Generator
) -> None:
    data = encoded(rng.uniform(-0.3, 0.3, 5 * RATE).astype(np.float32), format=format, subtype=subtype)
    assert len(audio.load(data)) == 5 * RATE
    if part == 0.95 and format in ("WAV", "RF64", "AIFF", "MP3"):  # a quarter of a second is told
        assert "header" in audio.inspect(data[: int(part * len(data))]).warnings[0]
        return
    with pytest.raises(AudioTruncated):
        audio.load(data[: int(part * len(data))])


def test_a_stream_that_never_knew_its_length_is_whole(tone: np.ndarray) -> None:
    for size in (0xFFFFFFFF, 0x7FFFF000):  # what recorders write into a pipe
        data = bytearray(encoded(np.rint(tone * 20_000).astype(np.int16)))
        data[4:8] = data[40:44] = struct.pack("<I", size)
        assert len(audio.load(bytes(data))) == len(tone)


def test_a_damaged_middle(rng: np.random.Generator) -> None:
    data = bytearray(encoded(rng.uniform(-0.3, 0.3, 5 * RATE).astype(np.float32), format="FLAC"))
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    with pytest.raises(AudioTruncated, match="damaged"):
        audio.load(bytes(data))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_numbers(bad: float, tone: np.ndarray) -> None:
    tone[1234] = bad
    for source in ((tone, RATE), encoded(tone, subtype="FLOAT"), (np.stack([tone, tone], axis=1), RATE)):
        with pytest.raises(AudioNotFinite, match="sample 1234"):
            audio.load(source)
    with pytest.raises(AudioNotFinite, match="sample 1234"):
        audio.check(tone)


@pytest.mark.parametrize("loudest", [32768, 2**31, 1e18])
def test_samples_nobody_scaled(loudest: float, tone: np.ndarray) -> None:
    wave = tone.astype(np.float64) * loudest
    with pytest.raises(AudioNotScaled, match="Divide the samples"):
        audio.check(audio.load((wave, RATE)))
    audio.check(audio.load((tone * 4, RATE)))  # a codec's overshoot, or a careless mix: still a recording


def test_samples_beyond_float32_are_not_finite(tone: np.ndarray) -> None:
    with pytest.raises(AudioNotFinite):
        audio.check(audio.load((tone.astype(np.float64) * 1e300, RATE)))


@pytest.mark.parametrize(
    "source",
    [
        None,
        3,
        np.zeros(100),
        [0.0, 0.1],
        (np.zeros(100),),
        (np.zeros(100), RATE, 1),
        (np.zeros(100), 0),
        (np.zeros(100), -16_000),
        (np.zeros(100), 16_000.5),
        (np.zeros(100), "16000"),
        (np.zeros(100), None),
        (np.zeros(100), float("nan")),
        (np.zeros(100), True),
        (np.zeros(100, np.int64), RATE),
        (np.zeros(100, bool), RATE),
        (np.zeros(100, complex), RATE),
        (np.array(["a"]), RATE),
        ([[0.1, 0.2], [0.1]], RATE),
        (np.zeros(()), RATE),
        (np.zeros((2, 3, 4)), RATE),
        (np.zeros((2, 16_000)), RATE),
        (np.zeros((100, 0)), RATE),
        io.StringIO("text"),
    ],
    ids=lambda source: type(source).__name__,
)
def test_values_that_are_not_audio(source: object) -> None:
    with pytest.raises(BadAudioInput):
        audio.load(source)


@pytest.mark.parametrize("format", ["WAV", "RF64", "AIFF", "FLAC", "OGG", "AU", "W64", "CAF"])
def test_damage_of_any_kind_is_an_audio_error(format: str, rng: np.random.Generator) -> None:
    """Whatever bytes come, the answer is samples or an AudioError: no crash, no other exception."""
    original = encoded(rng.uniform(-0.3, 0.3, 2000).astype(np.float32), format=format)
    for _ in range(60):
        data = bytearray(original)
        for place in rng.integers(0, min(len(data), 200), rng.integers(1, 6)):
            data[place] = rng.integers(256)
        with suppress(AudioError):
            wave = audio.load(bytes(data[: rng.integers(1, len(data) + 1)]))
            assert wave.dtype == np.float32
            assert np.isfinite(wave).all()


# -- what cannot hold a voice --------------------------------------------------------------------------


def test_silence_and_what_passes_for_it(rng: np.random.Generator) -> None:
    dither = rng.integers(-2, 3, RATE) / 32768
    for wave in (np.zeros(RATE), dither, np.full(RATE, 0.25)):  # the last: a sound card's constant offset
        with pytest.raises(AudioSilent, match="silence"):
            audio.check(wave.astype(np.float32))


def test_quiet_speech_is_not_silence(tone: np.ndarray) -> None:
    audio.check(tone * 10 ** (-45 / 20))
    assert 20 * np.log10(audio.SILENCE_PEAK) == pytest.approx(-60)


def test_one_millisecond(tone: np.ndarray) -> None:
    with pytest.raises(AudioTooShort, match=r"1\.0 ms"):
        audio.check(tone[:16])
    audio.check(tone[: round(audio.MIN_DURATION_S * RATE)])
    with pytest.raises(AudioTooShort):
        audio.check(tone[: round(audio.MIN_DURATION_S * RATE) - 1])


def test_nothing_to_check() -> None:
    with pytest.raises(AudioEmpty):
        audio.check(np.zeros(0, np.float32))


def test_checking_in_blocks_is_checking_at_once(tone: np.ndarray) -> None:
    tone[:9000] *= 1e-5  # the voice comes late: no block alone decides
    checker = audio.Checker()
    for block in np.array_split(tone, 7):
        checker.add(block)
    checker.finish()
    assert checker.samples == len(tone)
    assert checker.peak == pytest.approx((tone.max() - tone.min()) / 2)


# -- headers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "OPUS")])
def test_info(format: str, subtype: str, rng: np.random.Generator) -> None:
    wave_SC = rng.uniform(-0.3, 0.3, (24_000, 2))
    found = audio.info(encoded(wave_SC, 48_000, format, subtype))
    assert found == audio.AudioInfo(0.5, 48_000, 2, 24_000, f"{format} {subtype}")


@pytest.mark.real
def test_real_recordings_are_read_as_soundfile_reads_them(real_data: Path) -> None:
    for pattern in ("LibriSpeech/test-other-mini/*/*/*.flac", "speechocean762/dev/audio/*/*.ogg"):
        for path in sorted(real_data.glob(pattern))[::50]:
            wave = audio.load(path)
            np.testing.assert_array_equal(wave, soundfile.read(path, dtype="float32")[0])
            audio.check(wave)
