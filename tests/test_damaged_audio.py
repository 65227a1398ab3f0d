"""Recordings whose container lies, breaks off or is damaged: what is there is read, what is missing told."""

from __future__ import annotations

import collections
import io
import os
import signal
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxid import audio
from voxid.audio.streams import ogg_checksum
from voxid.audio.views import SLACK_S
from voxid.corpora.synthetic import speak, voice
from voxid.errors import AudioError, AudioTruncated, AudioUndecodable

RATE = 16_000
SECONDS = 4.0
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "float": ("WAV", "FLOAT"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
}


@cache
def spoken() -> np.ndarray:
    return speak(voice(3), SECONDS, np.random.default_rng(3))


@cache
def whole(kind: str) -> bytes:
    return encoded(spoken(), *FORMATS[kind])


def encoded(wave_S: np.ndarray, format: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave_S, RATE, format=format, subtype=subtype)
    return file.getvalue()


# -- headers that lie ----------------------------------------------------------------------------------


def with_length(length: int) -> bytes:
    data = bytearray(whole("wav"))
    data[40:44] = struct.pack("<I", length)
    data[4:8] = struct.pack("<I", min(length + 36, 0xFFFFFFFF))
    return bytes(data)


@pytest.mark.parametrize("more", [1, 28, 800])
def test_a_header_that_claims_some_bytes_too_many(more: int) -> None:
    found = audio.inspect(with_length(len(whole("wav")) - 44 + more))
    assert (found.total_s, found.warnings) == (SECONDS, ())


def test_a_missing_fifth_of_a_second_is_told_and_a_missing_second_refused() -> None:
    samples = len(whole("wav")) - 44
    found = audio.inspect(with_length(samples + RATE * 2 // 5))
    assert found.warnings == ("its header promises 4.20 s, and 4.00 s are there.",)
    with pytest.raises(AudioTruncated, match=r"promises 5\.00 s: 1\.00 s are missing"):
        audio.inspect(with_length(samples + 2 * RATE))


@pytest.mark.parametrize("length", [0, 2 * RATE, 0xFFFFFFFF])
def test_a_header_that_was_never_finished(length: int) -> None:
    """A recorder that crashed after its first flush, or wrote into a pipe."""
    found = audio.inspect(with_length(length))
    assert found.total_s == SECONDS
    assert (length == 0xFFFFFFFF) or "never finished" in found.warnings[0]
    np.testing.assert_array_equal(audio.load(with_length(length)), audio.load(whole("wav")))


def test_what_stands_behind_the_samples_is_no_sound() -> None:
    notes = b"LIST" + struct.pack("<I", 3000) + b"INFOIART" + bytes(2992)
    for behind in (notes, bytes(5000), b"TAG" + bytes(125)):
        found = audio.inspect(whole("wav") + behind)
        assert (found.total_s, found.warnings) == (SECONDS, ())


def test_zeros_for_chunks_end_the_walk() -> None:
    with pytest.raises(AudioUndecodable, match="no data chunk"):
        audio.load(b"RIFF\0\0\0\0WAVE" + bytes(1 << 20))
    with pytest.raises(AudioUndecodable, match="no data chunk"):
        audio.load(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 20_000 + bytes(8))


def test_a_header_that_contradicts_itself() -> None:
    data = bytearray(whole("wav"))
    data[24:28] = struct.pack("<I", 8000)
    with pytest.raises(AudioUndecodable, match="contradicts itself"):
        audio.load(bytes(data))


@pytest.mark.parametrize("total", [0, 1000])
def test_a_flac_whose_header_does_not_count_all(total: int) -> None:
    """ffmpeg writes 0 into a pipe; the last frame's header says how many there are."""
    long = np.tile(spoken(), 40)
    for wave_S in (spoken(), long):
        data = bytearray(encoded(wave_S, "FLAC", "PCM_16"))
        data[21] &= 0xF0
        data[22:26] = struct.pack(">I", total)
        np.testing.assert_array_equal(audio.load(bytes(data)), audio.load(encoded(wave_S, "FLAC", "PCM_16")))


@pytest.mark.parametrize("kind", ["wav", "aiff", "flac", "vorbis", "opus", "mp3"])
def test_files_appended_to_one_another_are_one_recording(kind: str) -> None:
    once, twice_ = (audio.inspect(data) for data in (whole(kind), 2 * whole(kind)))
    assert twice_.total_s == pytest.approx(2 * once.total_s, abs=0.15)  # MP3 has delays
    assert any("read" in warning for warning in twice_.warnings)
    part = audio.load(2 * whole(kind), start_s=SECONDS + 1, duration_s=1.0)
    if kind in ("wav", "aiff", "flac"):
        np.testing.assert_array_equal(part, audio.load(whole(kind), start_s=1, duration_s=1.0))


@pytest.mark.parametrize("kind", ["wav", "flac", "vorbis", "mp3"])
def test_whatever_lies_behind_a_wav_is_read(kind: str) -> None:
    """Another file, and another behind that: neither is samples of the first, and neither is lost."""
    data = 2 * whole("wav") + whole(kind)
    assert audio.inspect(data).total_s == pytest.approx(3 * SECONDS, abs=0.15)
    expected = audio.load(whole(kind), start_s=1, duration_s=1.0)
    if kind != "mp3":  # a decoder of MP3 begins somewhere else
        part = audio.load(data, start_s=2 * SECONDS + 1, duration_s=1.0)
        np.testing.assert_allclose(part, expected, atol=1e-6)


def test_the_place_of_the_damage_is_told() -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * RATE).astype(np.float32)
    data = encoded(noise, "FLAC", "PCM_16")  # as many bytes for every second
    with pytest.raises(AudioTruncated, match=r"damaged after \S+ s of 20\.00 s") as refused:
        audio.load(data[: len(data) // 2])
    assert float(str(refused.value).split(" s of 20")[0].split()[-1]) == pytest.approx(10, abs=0.5)


def test_files_without_end_are_refused() -> None:
    tiny = encoded(np.zeros(600, np.float32), "WAV", "PCM_16")
    with pytest.raises(AudioUndecodable, match="1,000 files or more"):
        audio.load(tiny * 1_001)


def test_a_second_file_of_another_rate_is_told() -> None:
    file = io.BytesIO()
    soundfile.write(file, spoken(), 8000, format="FLAC")
    found = audio.inspect(whole("flac") + file.getvalue())
    assert found.total_s == SECONDS
    assert "8.00 s behind them, of another rate or channels, were not read." in found.warnings


# -- Ogg and MP3 ---------------------------------------------------------------------------------------


def pages(data: bytes) -> list[bytes]:
    return [b"OggS" + page for page in data.split(b"OggS")[1:]]


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
def test_an_ogg_whose_end_is_not_marked(kind: str) -> None:
    *before, last = pages(whole(kind))
    unmarked = bytearray(last)
    unmarked[5] &= ~4
    unmarked[22:26] = bytes(4)
    unmarked[22:26] = struct.pack("<I", ogg_checksum(bytes(unmarked)))
    found = audio.inspect(b"".join(before) + bytes(unmarked))
    assert found.total_s == SECONDS
    assert "not marked as the end" in found.warnings[0]


def test_the_checksum_is_libogg_s() -> None:
    for page in pages(whole("vorbis")):
        assert ogg_checksum(page[:22] + bytes(4) + page[26:]) == struct.unpack("<I", page[22:26])[0]


def test_a_flipped_bit_and_missing_pages_of_an_ogg_are_told() -> None:
    whole_ = encoded(np.tile(spoken(), 3), "OGG", "OPUS")
    first, second, *sound = pages(whole_)
    damaged = bytearray(whole_)
    damaged[len(first) + len(second) + len(sound[0]) + 100] ^= 1
    for data in (bytes(damaged), first + second + sound[0] + b"".join(sound[2:])):
        with pytest.raises(AudioTruncated, match=r"about 1\.0. s are lost"):
            audio.load(data)
    with pytest.raises(AudioTruncated, match="out of order"):
        audio.load(first + second + sound[0] + sound[2] + sound[1] + b"".join(sound[3:]))


def frames_of(mp3: bytes) -> list[bytes]:
    """Return the frames of an MP3 at 16 kHz, without its Xing header."""
    kbps = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    frames, place = [], 0
    while place < len(mp3):
        length = 72_000 * kbps[mp3[place + 2] >> 4] // RATE + (mp3[place + 2] >> 1 & 1)
        frames.append(mp3[place : place + length])
        place += length
    return frames[1:]


def test_an_mp3_of_varying_rate_without_a_table_is_read_to_its_end() -> None:
    quiet_then_loud = np.concatenate((np.zeros(4 * RATE, np.float32), *[spoken()] * 3))
    frames = frames_of(encoded(quiet_then_loud, "MP3", "MPEG_LAYER_III"))
    assert len({len(frame) for frame in frames}) > 4
    found = audio.inspect(b"".join(frames))
    assert found.total_s == pytest.approx(16.0, abs=0.15)
    cut_ = audio.inspect(b"".join(frames[:-3]) + frames[-3][:30])
    assert "behind its last whole frame" in cut_.warnings[0]
    with pytest.raises(AudioTruncated, match="bytes between its frames"):
        audio.load(b"".join(frames[:50]) + frames[50][20:] + b"".join(frames[51:]))


def test_an_mp3_whose_table_counts_too_few_or_too_many() -> None:
    data = whole("mp3")
    at = data.index(b"Xing") + 8
    count = struct.unpack(">I", data[at : at + 4])[0]
    few = audio.inspect(data[:at] + struct.pack(">I", count // 2) + data[at + 4 :])
    assert few.total_s == pytest.approx(SECONDS, abs=0.15)
    assert "header promises 2.05 s; all 4.10 s were read." in few.warnings[0]
    with pytest.raises(AudioTruncated, match=r"promises 8\.21 s: 4\.10 s are missing"):
        audio.load(data[:at] + struct.pack(">I", 2 * count) + data[at + 4 :])


@pytest.mark.parametrize("suffix", [".au", ".snd", ".gsm", ".vox", ".wav"])
def test_words_are_not_sound(suffix: str, tmp_path: Path) -> None:
    page = "<!DOCTYPE html><html><head><title>Größe: 404</title></head><body>not here</body></html>\n" * 30
    (tmp_path / f"page{suffix}").write_text(page)
    with pytest.raises(AudioUndecodable, match="text"):
        audio.load(tmp_path / f"page{suffix}")


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/sp\xe9cial.wav"))
    path.write_bytes(whole("wav"))
    found = audio.inspect(path)
    assert found.total_s == SECONDS
    assert found.name.endswith(r"sp\xe9cial.wav")
    assert found.name.isprintable()
    with pytest.raises(AudioError, match=r"sp\\xe9cial"):
        audio.inspect(path.with_name(path.name + "x"))


# -- the real cases ------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    ("case", "seconds", "words"),
    [
        ("mp3_in_wav/ffmpeg_mp3.wav", 12.7, ""),
        ("mp3_vbr_no_xing/vbr_noxing.mp3", 12.6, ""),
        ("ogg_no_eos/noeos_opus.ogg", 12.6, "not marked as the end"),
        ("ogg_no_eos/noeos_vorbis.ogg", 12.6, "not marked as the end"),
        ("wav_few_bytes_too_long/plus1.wav", 12.6, ""),
        ("wav_few_bytes_too_long/plus28.wav", 12.6, ""),
        ("wav_stale_header/stale.wav", 12.6, "never finished"),
        ("wav_zero_length/zero.wav", 12.6, "never finished"),
        ("damaged_audio/ogg_original.ogg", 4.4, ""),
        ("damaged_audio/mp3_xing_lies.mp3", 5.1, ""),
    ],
)
def test_a_case_is_read_to_its_end(real_data: Path, case: str, seconds: float, words: str) -> None:
    found = audio.inspect(real_data.parent / "cases" / case)
    assert found.total_s == pytest.approx(seconds, abs=0.1)
    assert words in " ".join(found.warnings)
    assert bool(words) == bool(found.warnings)


@pytest.mark.real
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("ogg_one_bit_flipped.ogg", "about 0.99 s are lost"),
        ("ogg_pages_shuffled.ogg", "about 1.99 s are lost"),
        ("html_renamed.au", "it is text"),
    ],
)
def test_a_damaged_case_is_refused(real_data: Path, case: str, words: str) -> None:
    with pytest.raises((AudioTruncated, AudioUndecodable), match=words):
        audio.inspect(real_data.parent / "cases" / "damaged_audio" / case)


@pytest.mark.real
def test_a_telephone_s_amr(real_data: Path) -> None:
    pytest.importorskip("av")
    found = audio.inspect(real_data.parent / "cases" / "amr_with_pyav" / "call.amr")
    assert (found.sample_rate, found.total_s) == (8000, pytest.approx(12.6, abs=0.1))


# -- damage of every kind ------------------------------------------------------------------------------


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(1, len(data)))]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    for place in rng.integers(0, len(data), int(rng.integers(1, 9))):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def head_flipped(data: bytes, rng: np.random.Generator) -> bytes:
    return flipped(data[:64], rng) + data[64:]


def stretch(data: bytes, rng: np.random.Generator) -> tuple[int, int]:
    begin = int(rng.integers(0, len(data)))
    return begin, min(len(data), begin + int(2 ** rng.uniform(0, 14)))


def zeroed(data: bytes, rng: np.random.Generator) -> bytes:
    begin, end = stretch(data, rng)
    return data[:begin] + bytes(end - begin) + data[end:]


def removed(data: bytes, rng: np.random.Generator) -> bytes:
    begin, end = stretch(data, rng)
    return data[:begin] + data[end:]


def repeated(data: bytes, rng: np.random.Generator) -> bytes:
    begin, end = stretch(data, rng)
    return data[:end] + data[begin:]


def noise_behind(data: bytes, rng: np.random.Generator) -> bytes:
    return data + rng.bytes(int(2 ** rng.uniform(0, 15)))


def twice(data: bytes, rng: np.random.Generator) -> bytes:
    return data + data


DAMAGE: list[Callable[[bytes, np.random.Generator], bytes]] = [
    cut, flipped, head_flipped, zeroed, removed, repeated, noise_behind, twice,
]  # fmt: skip


def outcome(data: bytes, whole_frames: float) -> str:
    """Return what became of a damaged file: refused, right, told (shorter, and says so), shortened."""
    try:
        found = audio.inspect(data)
    except AudioError:
        return "refused"
    frames = found.total_s * found.sample_rate
    if frames >= whole_frames - SLACK_S * found.sample_rate:
        return "right"
    notes = [
        warning for warning in found.warnings if "header" in warning or "end" in warning or "read" in warning
    ]
    return "told" if notes else "shortened"


def fuzz(kind: str, number: int) -> collections.Counter[str]:
    counts: collections.Counter[str] = collections.Counter()
    whole_frames = audio.inspect(whole(kind)).total_s * RATE
    for seed in range(number):
        rng = np.random.default_rng([seed, list(FORMATS).index(kind)])
        damage = DAMAGE[int(rng.integers(len(DAMAGE)))]
        data = damage(whole(kind), rng)
        signal.alarm(20)  # a hang ends the test
        try:
            found = outcome(data, whole_frames)
        finally:
            signal.alarm(0)
        counts[found] += 1
        if found == "shortened":
            print(kind, seed, damage.__name__)
    return counts


def test_nothing_is_shortened_without_a_word() -> None:
    """Forty damaged files of each format; `make slow` takes two hundred and ten."""
    counts = sum((fuzz(kind, 40) for kind in FORMATS), collections.Counter())
    assert counts["shortened"] == 0
    assert counts["right"] > counts["refused"] / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_of_2500_files_is_shortened_without_a_word(kind: str) -> None:
    counts = fuzz(kind, 210)
    print(kind, dict(counts))
    assert counts["shortened"] == 0
