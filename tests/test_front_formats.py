"""m4a, webm and AAC by PyAV: files that PyAV itself encodes, whole, cut off, and without the extra."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest

from voxid import audio
from voxid.corpora.synthetic import speak, voice
from voxid.errors import AudioTruncated, AudioUndecodable

av: Any = pytest.importorskip("av")
KINDS = [("mp4", "aac"), ("webm", "libopus"), ("adts", "aac")]


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    return speak(voice(0), 6.0, np.random.default_rng(0))


def encoded(wave_S: np.ndarray, kind: str, codec: str) -> bytes:
    memory = io.BytesIO()
    with av.open(memory, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        even = av.AudioResampler(stream.codec_context.format, "mono", 48_000, stream.codec_context.frame_size)
        frame = av.AudioFrame.from_ndarray(wave_S[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for part in (*even.resample(frame), *even.resample(None), None):
            if part is None or part.samples:
                container.mux(stream.encode(part))
    return memory.getvalue()


@pytest.mark.parametrize(("kind", "codec"), KINDS)
def test_the_same_speech_comes_back(spoken: np.ndarray, kind: str, codec: str) -> None:
    found = audio.inspect(encoded(spoken, kind, codec))
    assert found.wave is not None
    assert found.sample_rate == 48_000
    assert found.total_s == pytest.approx(6.0, abs=0.1)
    want, n = audio.inspect((spoken, 16_000)), 80_000
    assert found.net_speech_s == pytest.approx(want.net_speech_s, rel=0.1)
    lagged = [np.corrcoef(spoken[:n], found.wave[lag : lag + n])[0, 1] for lag in range(1200)]
    assert max(lagged) > 0.9


@pytest.mark.parametrize(("kind", "codec"), KINDS)
def test_a_file_cut_off_is_refused(spoken: np.ndarray, kind: str, codec: str) -> None:
    data = encoded(spoken, kind, codec)
    with pytest.raises((AudioTruncated, AudioUndecodable), match="again"):
        audio.load(data[: len(data) // 2])


def test_without_the_extra_it_is_named(spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(spoken, "mp4", "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioUndecodable, match=r"MPEG-4.*voxid\[formats\]"):
        audio.load(data)


@pytest.mark.parametrize("suffix", ["amr", "awb", "3gp", "ac3", "spx", "webm"])
def test_what_pyav_alone_reads_is_a_recording_by_its_name(suffix: str) -> None:
    """`voxid embed call.amr` had asked for the layout of a corpus, and a scan had passed it over."""
    assert f".{suffix}" in audio.AUDIO_SUFFIXES
