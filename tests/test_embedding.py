"""Embedding for an evaluation: once per recording, then from the cache, and never from a stale one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from voxid.corpora import scan
from voxid.corpora.synthetic import make_corpus
from voxid.data.prepare import prepare
from voxid.embed import Embedder
from voxid.embed.torch import TorchNetwork
from voxid.evaluation import embedding, evaluate, read_data
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.embedding import embed_used
from voxid.model.network import Model


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    make_corpus(tmp_path / "voices", speakers=3, utterances=3, seconds=(0.5, 3.0))
    (tmp_path / "voices" / "extra").mkdir()
    (tmp_path / "voices" / "extra" / "broken.wav").write_bytes(b"not audio at all")
    return tmp_path / "voices"


@pytest.fixture
def runtime() -> Embedder:
    torch.manual_seed(0)
    return Embedder(TorchNetwork(Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8})))


def test_the_second_time_nothing_is_embedded(corpus: Path, runtime: Embedder, tmp_path: Path) -> None:
    data = read_data(corpus)
    everyone = np.arange(len(data.utterances))
    cache = EmbeddingCache.of(runtime, tmp_path / "cache")
    plain = embed_used(runtime, data, everyone)
    first = embed_used(runtime, data, everyone, cache=cache)
    second = embed_used(runtime, data, everyone, cache=cache)
    assert (plain.from_cache, first.from_cache, second.from_cache) == (0, 0, 9)
    for voices in (first, second):
        np.testing.assert_array_equal(voices.emb_UD, plain.emb_UD)
        np.testing.assert_array_equal(voices.row_N, plain.row_N)
        np.testing.assert_array_equal(voices.speech_s_U, plain.speech_s_U)
        assert voices.full_sequence == plain.full_sequence > 0
        assert [dropped.reason for dropped in voices.left_out] == ["undecodable"]
    assert plain.row_N.tolist().count(-1) == 1


def test_what_was_kept_without_its_net_speech_is_measured_when_it_is_asked_for(
    corpus: Path, runtime: Embedder, tmp_path: Path
) -> None:
    data = read_data(corpus)
    everyone = np.arange(len(data.utterances))
    cache = EmbeddingCache.of(runtime, tmp_path / "cache")
    without = embed_used(runtime, data, everyone, speech=False, cache=cache)
    assert np.isnan(without.net_speech_s_U).all()
    again = embed_used(runtime, data, everyone, speech=False, cache=cache)
    measured = embed_used(runtime, data, everyone, cache=cache)
    kept = embed_used(runtime, data, everyone, speech=False, cache=cache)
    assert (again.from_cache, measured.from_cache, kept.from_cache) == (9, 0, 9)
    assert not np.isnan(measured.net_speech_s_U).any()
    np.testing.assert_array_equal(measured.emb_UD, without.emb_UD)


def test_rows_belong_to_their_utterances(corpus: Path, runtime: Embedder, tmp_path: Path) -> None:
    data = read_data(corpus)
    cache = EmbeddingCache.of(runtime, tmp_path / "cache")
    embed_used(runtime, data, np.array([1, 4, 6]), cache=cache)  # some are known, some are not
    used = np.array([i for i, u in enumerate(data.utterances) if "broken" not in u.utterance][1:])
    voices = embed_used(runtime, data, used, cache=cache)
    for i in used:
        alone = runtime.embed(data.utterances[i])
        np.testing.assert_allclose(voices.emb_UD[voices.row_N[i]], alone, atol=1e-5)
    assert set(np.flatnonzero(voices.row_N >= 0)) == set(used)


def test_changed_audio_is_embedded_anew(corpus: Path, runtime: Embedder, tmp_path: Path) -> None:
    data = read_data(corpus)
    everyone = np.arange(len(data.utterances))
    cache = EmbeddingCache.of(runtime, tmp_path / "cache")
    before = embed_used(runtime, data, everyone, cache=cache)
    changed = next(i for i, u in enumerate(data.utterances) if "broken" not in u.utterance)
    wave, rate = soundfile.read(data.utterances[changed].path)
    soundfile.write(data.utterances[changed].path, wave[::-1], rate)  # as long, as loud
    after = embed_used(runtime, data, everyone, cache=cache)
    assert after.from_cache == 8
    row = after.row_N[changed]
    assert not np.allclose(after.emb_UD[row], before.emb_UD[row])


def test_audio_that_changes_during_the_work_is_not_kept(
    corpus: Path, runtime: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read_data(corpus)
    everyone = np.arange(len(data.utterances))
    cache = EmbeddingCache.of(runtime, tmp_path / "cache")
    assert cache is not None
    target = next(u for u in data.utterances if "broken" not in u.utterance)
    true_get = cache.get

    def get_then_change(keys: list) -> dict:
        wave, rate = soundfile.read(target.path)
        soundfile.write(target.path, wave[::-1], rate)
        return true_get(keys)

    monkeypatch.setattr(cache, "get", get_then_change)
    embed_used(runtime, data, everyone, cache=cache)
    monkeypatch.setattr(cache, "get", true_get)
    again = embed_used(runtime, data, everyone, cache=cache)
    assert again.from_cache == 8  # all but the one that was another recording when it was embedded


def test_what_was_done_before_a_stop_is_kept(
    corpus: Path, runtime: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "KEEP_EVERY", 2)
    data = read_data(corpus)
    cache = EmbeddingCache.of(runtime, tmp_path / "cache")

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    everyone = np.arange(len(data.utterances))
    with pytest.raises(KeyboardInterrupt):
        embed_used(runtime, data, everyone, cache=cache, progress=stop)
    assert embed_used(runtime, data, everyone, cache=cache).from_cache >= 4


def test_a_prepared_folder_is_cached_too(corpus: Path, runtime: Embedder, tmp_path: Path) -> None:
    prepare(scan(corpus), tmp_path / "prepared")
    for expected in (0, 9):
        model = evaluate([runtime], tmp_path / "prepared", "all", resamples=0).models[0]
        assert model.from_cache == expected
    assert (
        evaluate([runtime], tmp_path / "prepared", "all", resamples=0, cache=False).models[0].from_cache == 0
    )
