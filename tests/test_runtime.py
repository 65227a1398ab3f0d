"""The same audio gives the same numbers by every road: alone, in a batch, in blocks, from any source."""

from __future__ import annotations

import io
import itertools
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import voxid
from voxid.corpora.synthetic import speak, voice
from voxid.embed import Embedder
from voxid.embed.bulk import embed_data
from voxid.embed.decode import decode_ahead
from voxid.embed.device import pick_device
from voxid.embed.torch import TorchNetwork
from voxid.errors import (
    AudioError,
    AudioNotFinite,
    AudioNotFound,
    AudioSilent,
    AudioTooShort,
    AudioUndecodable,
    BadAudioInput,
    BadConfig,
    DeviceUnavailable,
    EmptyCorpus,
    MissingExtra,
    UnknownModel,
)
from voxid.features import Mfcc, MfccConfig
from voxid.model.network import Model
from voxid.types import Utterance

RATE = 16_000
ENCODERS = {
    "lstm": {"name": "lstm", "layers": 2, "hidden": 8},
    "transformer": {"name": "transformer", "dim": 16, "heads": 4, "feedforward": 32, "dropout": 0.5},
}


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose colour and loudness wander, so that no two windows are alike; float32 (S,)."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    loudness = 0.02 + 0.2 * np.sin(np.arange(count) / RATE * (1.7 + seed % 5)) ** 2
    tone = np.sin(np.cumsum(0.05 + 0.04 * np.sin(np.arange(count) / (4000 + 500 * (seed % 7)))))
    return (loudness * (tone + 0.2 * rng.standard_normal(count))).astype(np.float32)


def model_of(encoder: str, mode: str = "sliding") -> Model:
    torch.manual_seed(0)
    model = Model.build({"name": "mfcc"}, ENCODERS[encoder], {"mode": mode})
    for parameter in model.parameters():  # livelier than a fresh network, so that embeddings differ
        torch.nn.init.normal_(parameter, std=0.01 if parameter.shape[-1] == model.features.dim else 0.6)
    return model


@pytest.fixture(params=list(itertools.product(ENCODERS, ["sliding", "full"])), ids="-".join)
def runtime(request: pytest.FixtureRequest) -> Embedder:
    return Embedder(TorchNetwork(model_of(*request.param)))


@pytest.fixture
def lstm() -> Embedder:
    return Embedder(TorchNetwork(model_of("lstm")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model_of("lstm").save(tmp_path / "model")
    return tmp_path / "model"


# Below, at and above one window (3.2 s), many alike and one long: every kind of batch occurs.
SECONDS = [0.1, 0.4, 0.5, 1.0, 1.0, 3.1, 3.168, 3.2, 4.0, 4.1, 7.7, 12.0, 0.9, 25.0]


def test_alone_in_a_batch_and_in_any_order_are_the_same(runtime: Embedder) -> None:
    audio = [(speech(seconds, seed), RATE) for seed, seconds in enumerate(SECONDS)]
    alone = np.stack([runtime.embed(item) for item in audio])
    together = runtime.embed_many(audio)
    assert together.dtype == np.float32
    assert together.shape == (len(SECONDS), runtime.dim)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    order = np.random.default_rng(1).permutation(len(audio))
    shuffled = runtime.embed_many([audio[i] for i in order], batch_size=3)
    np.testing.assert_allclose(shuffled, alone[order], atol=1e-5)
    spread = np.abs(alone[:, None] - alone[None]).max(-1)[~np.eye(len(audio), dtype=bool)]
    assert spread.min() > 3e-4, "embeddings that are all alike would pass whatever the order"


def test_sliding_is_the_mean_of_the_windows_embedded_one_by_one(lstm: Embedder) -> None:
    wave_S = speech(9.3)
    feat_TF = Mfcc(MfccConfig())(torch.from_numpy(wave_S)[None])[0]
    with torch.no_grad():
        windows = [
            lstm.network.model.encoder(feat_TF[None, start : start + 100])
            for start in range(0, len(feat_TF) - 100 + 1, 50)
        ]
    [(index, embedding, info)] = lstm.embed_each([(wave_S, RATE)])
    np.testing.assert_allclose(embedding, torch.cat(windows).mean(0).numpy(), atol=1e-5)
    assert (index, info.full_sequence, info.windows) == (0, False, 4)
    assert info.total_s == pytest.approx(9.3)


@pytest.mark.parametrize(("frames", "full"), [(99, True), (100, False)])
def test_shorter_than_a_window_goes_by_full_sequence_and_says_so(
    lstm: Embedder, frames: int, full: bool
) -> None:
    wave_S = speech(10)[: (frames - 1) * 512]
    [result] = lstm.embed_each([(wave_S, RATE)])
    assert result.info.full_sequence is full
    with torch.no_grad():
        whole = lstm.network.model(torch.from_numpy(wave_S)[None])[0].numpy()
    np.testing.assert_allclose(result.embedding, whole, atol=1e-5)


def test_in_blocks_as_in_one_piece(runtime: Embedder, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("voxid.embed.embedder.BLOCK_S", 1.7)
    blocky = Embedder(TorchNetwork(runtime.network.model), long_s=2.0)
    waves = [speech(seconds, seed) for seed, seconds in enumerate([1.0, 2.5, 3.3, 21.3, 1.1])]
    waves[3][-RATE:] *= 3  # the peak lies at the end: the first walk has to find it
    audio = [(wave_S, RATE) for wave_S in waves]
    np.testing.assert_allclose(blocky.embed_many(audio), runtime.embed_many(audio), atol=1e-5)
    path = tmp_path / "long.wav"
    soundfile.write(path, waves[3], RATE, subtype="FLOAT")
    with path.open("rb") as file:
        for source in (path, path.read_bytes(), file, Pipe(path.read_bytes())):
            np.testing.assert_allclose(blocky.embed(source), runtime.embed(audio[3]), atol=1e-5)


class Pipe:
    """An open file that can be read once, as sys.stdin is."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def test_every_kind_of_source_gives_the_same(
    lstm: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pcm = (speech(5.0) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", pcm, RATE)
    expected = lstm.embed((pcm, RATE))
    monkeypatch.setenv("HOME", str(tmp_path))
    content = (tmp_path / "a.wav").read_bytes()
    sources = [
        tmp_path / "a.wav",
        str(tmp_path / "a.wav"),
        "~/a.wav",
        content,
        io.BytesIO(content),
        Pipe(content),
        (pcm / np.float32(32768), RATE),
        Utterance("s", "u", str(tmp_path / "a.wav")),
    ]
    for source in sources:
        assert np.array_equal(lstm.embed(source), expected), source
    piece = Utterance("s", "u", str(tmp_path / "a.wav"), start_s=0.5, duration_s=4.0)
    assert np.array_equal(lstm.embed(piece), lstm.embed((pcm[8_000:72_000], RATE)))


def test_another_rate_and_more_channels_come_close(lstm: Embedder) -> None:
    times = np.arange(48_000 * 4) / 48_000
    wave_S = sum(np.sin(2 * np.pi * 180 * k * times + k) / k for k in range(1, 20)) * 0.1
    stereo = np.stack([wave_S, wave_S], axis=1)
    at_48k, at_16k = lstm.embed((stereo, 48_000)), lstm.embed((wave_S[::3], RATE))
    cosine = at_48k @ at_16k / np.linalg.norm(at_48k) / np.linalg.norm(at_16k)
    assert cosine > 0.99


BAD: dict[str, tuple[Callable[[Path], object], type[AudioError]]] = {
    "silence": (lambda _: (np.zeros(RATE, np.float32), RATE), AudioSilent),
    "nan": (lambda _: (np.full(RATE, np.nan, np.float32), RATE), AudioNotFinite),
    "1 ms": (lambda _: (speech(0.001), RATE), AudioTooShort),
    "no file": (lambda folder: folder / "none.wav", AudioNotFound),
    "text": (lambda folder: folder / "text.wav", AudioUndecodable),
    "number": (lambda _: 3, BadAudioInput),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_audio_is_raised_alone_and_handed_over_in_a_batch(
    lstm: Embedder, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "text.wav").write_text("RIFF? not really")
    make, expected = BAD[kind]
    good = (speech(1.0), RATE)
    with pytest.raises(expected):
        lstm.embed(make(tmp_path))
    with pytest.raises(expected):
        lstm.embed_many([good, make(tmp_path)])
    errors: list[tuple[int, AudioError]] = []
    results = list(lstm.embed_each([good, make(tmp_path), good], lambda *pair: errors.append(pair)))
    assert [result.position for result in results] == [0, 2]
    assert [(index, type(error)) for index, error in errors] == [(1, expected)]


@pytest.mark.parametrize(
    ("flaw", "expected"), [("silent", AudioSilent), ("nan", AudioNotFinite)], ids=["silent", "nan"]
)
def test_bad_long_audio_is_found_in_blocks(
    flaw: str, expected: type[AudioError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxid.embed.embedder.BLOCK_S", 1.0)
    runtime = Embedder(TorchNetwork(model_of("lstm")), long_s=2.0)
    wave_S = speech(6.0) if flaw == "nan" else np.zeros(6 * RATE, np.float32)
    if flaw == "nan":
        wave_S[-5] = np.nan
    soundfile.write(tmp_path / "long.wav", wave_S, RATE, subtype="FLOAT")
    with pytest.raises(expected, match=r"long\.wav"):
        runtime.embed(tmp_path / "long.wav")
    errors: list[int] = []
    good = (speech(1.0), RATE)
    results = runtime.embed_each(
        [good, tmp_path / "long.wav", good], lambda index, error: errors.append(index)
    )
    assert [result.position for result in results] == [0, 2]
    assert errors == [1]


@pytest.mark.parametrize("one", ["a.wav", b"RIFF", Path("a.wav"), None, 5, (np.zeros(RATE), RATE)], ids=repr)
def test_one_recording_is_not_a_list(one: object, lstm: Embedder) -> None:
    with pytest.raises(BadAudioInput, match="list"):
        lstm.embed_many(one)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", [None, 3, ""])
def test_what_cannot_name_a_model(name: object) -> None:
    with pytest.raises(UnknownModel, match=r"config\.json"):
        voxid.load(name)  # pyright: ignore[reportArgumentType]


def test_dropout_is_off_whatever_was_done_to_the_model() -> None:
    runtime = Embedder(TorchNetwork(model_of("transformer")))
    audio = (speech(4.0), RATE)
    before = runtime.embed(audio)
    runtime.network.model.train()
    assert np.array_equal(runtime.embed(audio), before)


def test_training_may_go_on_with_the_model_it_was_given() -> None:
    model = model_of("transformer").train()
    runtime = Embedder(TorchNetwork(model))
    before = runtime.embed((speech(4.0), RATE))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert np.array_equal(runtime.embed((speech(4.0), RATE)), before)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert runtime.fingerprint == runtime.network.model.fingerprint != model.fingerprint


def test_threads_share_one_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxid.embed.embedder.GATHER_S", 3.0)
    lstm = Embedder(TorchNetwork(model_of("lstm")), workers=2)
    audio = [(speech(1.0 + seed / 3, seed), RATE) for seed in range(8)]
    expected = lstm.embed_many(audio)
    results: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        results[number] = lstm.embed_many(audio[number:] + audio[:number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_allclose(results[number], np.roll(expected, -number, axis=0), atol=1e-5)


def test_global_settings_stay_as_they_were(lstm: Embedder) -> None:
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.random.get_rng_state()
    lstm.embed_many([(speech(1.0), RATE), (speech(4.0), RATE)])
    assert torch.get_num_threads() == before[0]
    assert torch.is_grad_enabled() == before[1]
    assert torch.equal(torch.random.get_rng_state(), before[2])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_number_of_workers_gives_the_same(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxid.embed.embedder.GATHER_S", 12.0)  # several parts, several workers
    monkeypatch.setattr("voxid.embed.embedder.LEAST_S", 1.0)
    audio = [(speech(seconds, seed), RATE) for seed, seconds in enumerate(SECONDS)]
    one, three = (
        Embedder(TorchNetwork(model_of(encoder)), workers=workers, long_s=20.0) for workers in (1, 3)
    )
    np.testing.assert_allclose(three.embed_many(audio), one.embed_many(audio), atol=1e-6)
    np.testing.assert_allclose(three.embed(audio[-1]), one.embed(audio[-1]), atol=1e-6)


def test_the_network_runs_on_one_core_and_without_gradients(lstm: Embedder) -> None:
    seen: set[tuple[int, bool, bool]] = set()

    def look(*_: object) -> None:
        seen.add((torch.get_num_threads(), torch.is_inference_mode_enabled(), lstm.network.model.training))

    lstm.network.model.encoder.register_forward_hook(look)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        lstm.embed((speech(4.0), RATE))
        lstm.embed_many([(speech(4.0), RATE)] * 10)
        Embedder(TorchNetwork(lstm.network.model), long_s=1.0).embed((speech(4.0), RATE))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {(1, True, False)}


def test_errors_come_in_the_order_of_the_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxid.embed.embedder.GATHER_S", 2.0)
    good, bad = (speech(0.5), RATE), (np.zeros(RATE, np.float32), RATE)
    seen: list[int] = []
    runtime = Embedder(TorchNetwork(model_of("lstm")), workers=3)
    for result in runtime.embed_each([good, bad] * 20, lambda index, _: seen.append(index)):
        seen.append(result.position)  # noqa: PERF401 -- the errors are appended in between
    assert seen == list(range(40))


def test_who_leaves_early_does_not_wait_for_a_long_recording(
    lstm: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = 0
    real = voxid.audio.blocks

    def counted(*arguments: object, **options: object) -> Iterator[np.ndarray]:
        nonlocal blocks
        for wave_S in real(*arguments, **options):  # type: ignore[arg-type]
            blocks += 1
            time.sleep(0.05)
            yield wave_S

    monkeypatch.setattr("voxid.embed.embedder.BLOCK_S", 0.5)
    monkeypatch.setattr("voxid.audio.blocks", counted)
    runtime = Embedder(TorchNetwork(lstm.network.model), long_s=2.0, workers=1)
    stream = runtime.embed_each([(speech(0.5), RATE), (speech(60.0), RATE)])
    next(stream)  # the long one is under way
    stream.close()  # type: ignore[attr-defined]
    at_most = -1
    while at_most < blocks:  # until nobody reads on
        at_most = blocks
        time.sleep(0.5)
    assert at_most < 100


def test_a_process_ends_with_a_runtime_in_use_or_dropped(folder: Path) -> None:
    code = f"""
import sys, threading, numpy, voxid
noise = numpy.random.default_rng(0).uniform(-0.1, 0.1, 32_000)
dropped = voxid.load({str(folder)!r})
dropped.embed((noise, 16_000))
del dropped
runtime = voxid.load({str(folder)!r})
stream = runtime.embed_each((noise, 16_000) for _ in iter(int, 1))
next(stream)
print("ends")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("ends", "", 0)


def test_progress_counts_to_the_end(lstm: Embedder) -> None:
    seen: list[tuple[int, int]] = []
    lstm.embed_many([(speech(1.0), RATE)] * 3, progress=lambda *pair: seen.append(pair))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_speech_is_measured_only_where_somebody_reads_it(
    lstm: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = [(speak(voice(n), 2.0, np.random.default_rng(n)), RATE) for n in range(2)]
    [measured, _] = lstm.embed_each(audio)
    assert measured.info.net_speech_s > 0
    monkeypatch.setattr("voxid.audio.front.SpeechMeter", None)  # nobody may ask for one from here on
    [unmeasured, _] = lstm.embed_each(audio, vad=None)
    assert math.isnan(unmeasured.info.net_speech_s)
    assert (unmeasured.info.level_dbfs, unmeasured.info.snr_db, unmeasured.info.warnings) == (None, None, ())
    for emb_D in (unmeasured.embedding, lstm.embed(audio[0]), lstm.embed_many(audio)[0]):
        np.testing.assert_allclose(emb_D, measured.embedding, atol=1e-6)
    with pytest.raises(AudioSilent, match="silence"):
        lstm.embed((np.zeros(RATE), RATE))


def test_nothing_to_embed(lstm: Embedder) -> None:
    assert lstm.embed_many([]).shape == (0, lstm.dim)


# -- decoding ahead ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_decoded_in_order_by_any_number_of_threads(workers: int) -> None:
    audio = [(speech(0.1 + (seed * 7 % 5) / 10, seed), RATE) for seed in range(40)]
    decoded = list(decode_ahead(audio, ahead_s=1.0, workers=workers))
    assert [one.index for one in decoded] == list(range(40))
    for one, (wave_S, _) in zip(decoded, audio, strict=True):
        assert one.wave is not None
        assert np.array_equal(one.wave, wave_S)


def test_no_more_is_decoded_ahead_than_asked_for() -> None:
    given = 0

    def endless() -> Iterator[tuple[np.ndarray, int]]:
        nonlocal given
        while True:
            given += 1
            yield speech(1.0), RATE

    stream = decode_ahead(endless(), ahead_s=5.0, workers=2)
    taken = list(itertools.islice(stream, 20))
    stream.close()  # type: ignore[attr-defined]
    assert len(taken) == 20
    assert given <= 20 + 5 + 2  # taken, waiting, in the hands of a thread
    assert not [thread for thread in threading.enumerate() if thread.name == "voxid-decode"]


def test_what_the_list_of_recordings_raises_reaches_the_caller(lstm: Embedder) -> None:
    def broken() -> Iterator[tuple[np.ndarray, int]]:
        yield speech(1.0), RATE
        raise ZeroDivisionError("the caller's own bug")

    with pytest.raises(ZeroDivisionError, match="the caller's own bug"):
        list(lstm.embed_each(broken()))


def test_a_bug_in_decoding_reaches_the_caller(lstm: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    def blocks(*_: object, **__: object) -> Iterator[np.ndarray]:
        raise MemoryError

    monkeypatch.setattr("voxid.audio.front.read_blocks", blocks)
    with pytest.raises(MemoryError):
        list(lstm.embed_each([(speech(1.0), RATE)] * 3))


# -- load ----------------------------------------------------------------------------------------------


def test_load_by_any_spelling_of_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    expected = Model.load(folder)
    for spelling in (folder, str(folder), "~/model"):
        runtime = voxid.load(spelling)
        assert runtime.fingerprint == expected.fingerprint
        assert (runtime.dim, runtime.sample_rate, runtime.score_mode) == (expected.dim, RATE, "sliding")


def test_load_in_another_mode(folder: Path) -> None:
    wave_S = speech(8.0)
    full = voxid.load(folder, mode="full")
    assert full.score_mode == "full"
    assert full.fingerprint != voxid.load(folder).fingerprint
    with torch.no_grad():
        whole = Model.load(folder)(torch.from_numpy(wave_S)[None])[0].numpy()
    np.testing.assert_allclose(full.embed((wave_S, RATE)), whole, atol=1e-5)
    with pytest.raises(BadConfig, match=r"inference\.mode"):
        voxid.load(folder, mode="half")


def test_load_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"'nobody'.*voxid-base.*config\.json and model\.safetensors"):
        voxid.load("nobody")


def test_load_without_torch_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("voxid.embed.torch", "voxid.model.network"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"voxid\[train\]"):
        voxid.load(folder)


def test_the_way_in_imports_no_torch() -> None:
    code = "import sys, voxid; voxid.load, voxid.compare; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cuda", "mps", "cpu")
    for name in ("cuda:99", "gpu", ""):
        with pytest.raises(DeviceUnavailable, match=r"There is: auto,.*cpu"):
            pick_device(name)


# -- a corpus at once ----------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two speakers with two utterances each, one of them silent."""
    for number, name in enumerate(["ann/1", "ann/2", "bob/1", "bob/2"]):
        path = tmp_path / "corpus" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speech(1.0, number) * (name != "bob/1"), RATE)
    return tmp_path / "corpus"


def test_a_corpus_becomes_one_file_of_plain_arrays(lstm: Embedder, corpus: Path, tmp_path: Path) -> None:
    result = embed_data(lstm, [corpus])
    result.save(tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        assert arrays["speakers"].tolist() == ["ann", "ann", "bob"]
        assert str(arrays["fingerprint"]) == lstm.fingerprint
        assert arrays["left_out_reasons"].tolist() == ["silent"]
        assert len(set(arrays["utterances"].tolist()) | set(arrays["left_out"].tolist())) == 4
        expected = [lstm.embed(corpus / name) for name in ("ann/1.wav", "ann/2.wav", "bob/2.wav")]
        np.testing.assert_allclose(arrays["embeddings"], expected, atol=1e-5)


def test_a_prepared_folder_gives_what_its_corpus_gives(lstm: Embedder, corpus: Path, tmp_path: Path) -> None:
    from voxid import corpora
    from voxid.data.prepare import prepare

    prepare(corpora.scan([corpus]), tmp_path / "prepared")
    direct, packed = embed_data(lstm, [corpus]), embed_data(lstm, [tmp_path / "prepared"])
    assert (packed.utterances, packed.speakers) == (direct.utterances, direct.speakers)
    np.testing.assert_allclose(packed.embeddings_ND, direct.embeddings_ND, atol=1e-5)


def test_lone_files_have_no_speaker(lstm: Embedder, corpus: Path) -> None:
    result = embed_data(lstm, [corpus / "ann/1.wav", corpus / "bob/1.wav"])
    assert result.utterances == [str(corpus / "ann/1.wav")]
    assert result.speakers == [""]
    with pytest.raises(EmptyCorpus, match="silence"):
        embed_data(lstm, [corpus / "bob/1.wav"])


def test_waves_need_no_opening_and_give_the_same(runtime: Embedder) -> None:
    waves = [speech(seconds, seed) for seed, seconds in enumerate((0.4, 2.0, 2.0, 5.1, 0.9))]
    np.testing.assert_allclose(
        runtime.embed_waves(waves), runtime.embed_many([(wave_S, RATE) for wave_S in waves]), atol=1e-6
    )
    assert runtime.embed_waves([]).shape == (0, runtime.dim)
