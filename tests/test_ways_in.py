"""What a newcomer hands in: tensors, pyannote's dictionaries, and a recording asked for window by window."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxid
from voxid import audio
from voxid.corpora.synthetic import speak, voice
from voxid.errors import BadAudioInput, BadConfig

RATE = 16_000
WAVE_S = speak(voice(0), 3.2, np.random.default_rng(0))
TENSOR_S = torch.tensor(WAVE_S)


@pytest.mark.parametrize(
    "source",
    [
        TENSOR_S,
        TENSOR_S[None],
        TENSOR_S.double().requires_grad_(),
        (TENSOR_S, RATE),
        (torch.stack((TENSOR_S, TENSOR_S)), RATE),  # torchaudio's: channels first
        {"waveform": TENSOR_S[None], "sample_rate": RATE},
        {"waveform": WAVE_S[None], "sample_rate": torch.tensor(RATE), "uri": "call"},
        audio.Part({"waveform": TENSOR_S, "sample_rate": RATE}),
    ],
    ids=["tensor", "one row", "gradient", "tuple", "stereo", "pyannote", "pyannote array", "part"],
)
def test_tensors_and_waveforms_are_audio(source: object) -> None:
    np.testing.assert_array_equal(audio.load(source), WAVE_S)  # pyright: ignore[reportArgumentType]
    found = audio.inspect(source)  # pyright: ignore[reportArgumentType]
    bare = isinstance(source, torch.Tensor)  # nobody said the rate, and the answer tells
    assert [warning for warning in found.warnings if "16,000 Hz" in warning] == bare * list(found.warnings)
    assert audio.is_one(source)


def test_the_rate_that_is_said_counts() -> None:
    assert audio.load({"waveform": TENSOR_S[None], "sample_rate": 8_000}).size == pytest.approx(
        2 * WAVE_S.size
    )
    half = (torch.tensor((WAVE_S * 32767).astype(np.int16)), RATE)
    np.testing.assert_allclose(audio.load(half), WAVE_S, atol=1e-4)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (TENSOR_S.repeat(8, 1), r"one recording, \(S,\) or \(1, S\), got shape \(8, 51200\).*embed_many"),
        (TENSOR_S[None, None], r"got shape \(1, 1, 51200\)"),
        ((TENSOR_S[:, None], RATE), r"channels first.*got shape \(51200, 1\).*\.T"),
        ({"waveform": TENSOR_S[:, None], "sample_rate": RATE}, "channels first"),
        ({"waveform": TENSOR_S}, "a waveform needs its rate"),
        ({"waveform": TENSOR_S, "sample_rate": "16k"}, "the rate must be a whole number"),
        ({"audio": "a.wav"}, 'type dict.*"waveform": samples'),
        ((TENSOR_S.long(), RATE), "no known full scale"),
    ],
)  # fmt: skip
def test_wrong_shapes_are_told(source: object, said: str) -> None:
    with pytest.raises(BadAudioInput, match=said):
        audio.load(source)  # pyright: ignore[reportArgumentType]


def test_tensors_where_several_recordings_are_taken() -> None:
    model = voxid.load("voxid-base")
    with pytest.raises(BadAudioInput, match="takes a list of recordings, got one Tensor"):
        model.embed_many(TENSOR_S[None])
    assert model.embed_many([TENSOR_S, (WAVE_S, RATE)]).shape == (2, model.dim)
    assert voxid.compare(TENSOR_S, {"waveform": TENSOR_S, "sample_rate": RATE}).accepted


def test_windows_are_embedded_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = voxid.load("voxid-base")
    wave_S = np.concatenate((WAVE_S, np.zeros(2 * RATE, np.float32), WAVE_S))
    windows = model.embed_windows((wave_S, RATE))
    assert len(windows) == len(windows.embeddings) == 11
    np.testing.assert_allclose(windows.start_s, [*np.arange(10) * 0.75, 8.4 - 1.5])  # the last ends with it
    np.testing.assert_allclose(windows.end_s - windows.start_s, 1.5)
    assert windows.speech_s[5] < 0.3 < 1 < windows.speech_s[0] < 1.51  # 3.75 to 5.25 s: a pause
    for number in (0, 3, 10):
        first = round(windows.start_s[number] * RATE)
        alone_D = model.embed((wave_S[first : first + round(1.5 * RATE)], RATE))
        np.testing.assert_allclose(windows.embeddings[number], alone_D, atol=1e-4)
    monkeypatch.setattr(model, "_long_s", 2.0)  # read in blocks, as a long recording is
    monkeypatch.setattr("voxid.audio.front.BLOCK_S", 1.1)
    np.testing.assert_array_equal(model.embed_windows((wave_S, RATE)).embeddings, windows.embeddings)
    [short] = model.embed_windows((WAVE_S[:8_000], RATE), vad=None).speech_s
    assert np.isnan(short)
    for window_s, step_s in ((0, 1), (1, 0), (float("nan"), 1)):
        with pytest.raises(BadConfig, match="is a number of seconds"):
            model.embed_windows(TENSOR_S, window_s, step_s)
