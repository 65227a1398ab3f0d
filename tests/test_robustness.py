"""Conditions do to recordings what their names say, alike for every system; every trial is accounted for."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import robustness
from benchmarks.__main__ import EXPERIMENTS, HERE
from benchmarks._conditions import (
    Condition,
    adder,
    changed,
    first_speech,
    make_conditions,
    mp3,
    opus,
    subset,
    telephone,
    wave_of,
    with_speech,
)
from benchmarks._measuring import SampledEer, sampled_eer
from benchmarks._resemblyzer import Peer
from voxid import metrics
from voxid.audio import speech_seconds
from voxid.augment.clips import Clips
from voxid.augment.levels import active_rms
from voxid.corpora.synthetic import make_corpus
from voxid.embed import Embedded, EmbedInfo
from voxid.evaluation import EvaluationData, make_trials, read_data
from voxid.types import SAMPLE_RATE

NOISE = Clips((np.random.default_rng(1).integers(-9000, 9000, 5 * SAMPLE_RATE).astype(np.int16),))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    return read_data(
        make_corpus(tmp_path_factory.mktemp("voices"), speakers=6, utterances=4, seconds=(1.5, 4.0))
    )


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def rms(wave_S: np.ndarray) -> float:
    import torch

    return float(active_rms(torch.from_numpy(wave_S)[None])[0])


@pytest.mark.parametrize("snr_db", [20, 0])
def test_noise_lies_as_far_below_the_speech_as_asked(data: EvaluationData, snr_db: int) -> None:
    wave_S = wave_of(data, 0)
    noise_S = adder(NOISE, snr_db)(wave_S, random()) - wave_S
    assert 20 * np.log10(rms(wave_S) / rms(noise_S)) == pytest.approx(snr_db, abs=0.1)


def test_the_same_noise_comes_at_every_level_and_for_every_system(data: EvaluationData) -> None:
    quiet, loud = (Condition("n", adder(NOISE, snr)) for snr in (20, 0))
    clean_S = wave_of(data, 3)
    added = [wave_of(changed(data, one, seed=5), 3) - clean_S for one in (quiet, loud, loud)]
    assert np.corrcoef(added[0], added[1])[0, 1] > 0.999
    assert np.array_equal(added[1], added[2])
    other = wave_of(changed(data, loud, seed=6), 3) - clean_S
    assert abs(np.corrcoef(added[1], other)[0, 1]) < 0.1


@pytest.mark.parametrize("codec", [opus, mp3, telephone])
def test_lines_and_codecs_keep_length_and_time(data: EvaluationData, codec: Callable) -> None:
    wave_S = wave_of(data, 1)
    heard_S = codec(wave_S, random())
    assert heard_S.shape == wave_S.shape
    assert heard_S.dtype == np.float32
    assert not np.allclose(heard_S, wave_S, atol=1e-3)
    size = 2 * wave_S.size
    against_S = np.fft.irfft(np.fft.rfft(wave_S, size).conj() * np.fft.rfft(heard_S, size))
    assert int(np.argmax(against_S)) in (0, 1, size - 1)


def test_a_telephone_line_leaves_its_band() -> None:
    noise_S = np.random.default_rng(0).uniform(-0.3, 0.3, 2 * SAMPLE_RATE).astype(np.float32)
    power_K = np.abs(np.fft.rfft(telephone(noise_S, random()))) ** 2
    hz_K = np.fft.rfftfreq(noise_S.size, 1 / SAMPLE_RATE)
    inside = power_K[(hz_K > 400) & (hz_K < 3300)].mean()
    assert power_K[hz_K < 150].mean() < 0.01 * inside
    assert power_K[hz_K > 4100].mean() < 1e-4 * inside


def test_speech_is_cut_to_so_much_of_it(data: EvaluationData) -> None:
    wave_S = np.pad(wave_of(data, 0), (SAMPLE_RATE, 0))
    whole_s = speech_seconds(wave_S)
    cut_S = first_speech(wave_S, 1.0)
    assert cut_S is not None
    assert speech_seconds(cut_S) == pytest.approx(1.0, abs=0.1)
    assert cut_S.size < wave_S.size - 0.9 * SAMPLE_RATE  # the silence before is gone
    assert first_speech(wave_S, whole_s - 0.01) is not None
    assert first_speech(wave_S, whole_s + 0.02) is None


def test_utterances_with_too_little_speech_are_not_used(data: EvaluationData) -> None:
    condition = Condition("3 s", least_s=2.0)
    enough = [i for i in range(len(data.utterances)) if speech_seconds(wave_of(data, i)) >= 2.0]
    assert 0 < len(enough) < len(data.utterances)
    assert with_speech(data, condition).tolist() == enough
    assert with_speech(data, Condition("clean")).size == len(data.utterances)


def test_a_part_of_the_data_is_always_the_same_and_keeps_its_sound(data: EvaluationData) -> None:
    some, again = subset(data, 2, seed=0), subset(data, 2, seed=0)
    assert [u.utterance for u in some.utterances] == [u.utterance for u in again.utterances]
    assert np.bincount(some.speakers()).tolist() == [2] * 6
    for i, utterance in enumerate(some.utterances):
        assert some.audio(i).utterance == utterance.utterance
    assert subset(data, 2, seed=1).utterances != some.utterances
    assert subset(data, None, seed=0) is data


def test_conditions_without_folders_leave_noise_and_measured_rooms_out(tmp_path: Path) -> None:
    names = [one.name for one in make_conditions(seed=0)]
    assert names[0] == "clean"
    assert "telephone" in names
    assert not any("noise" in name or "measured" in name for name in names)


class Counting:
    """A runtime that knows the speakers by name, and is wrong about one of them."""

    dim = 8

    def __init__(self) -> None:
        self.heard: list[int] = []

    def embed_each(self, audio: Iterable[Any], on_error: Any = None, **_: Any) -> Iterator[Embedded]:
        for place, (wave_S, _) in enumerate(audio):
            self.heard.append(wave_S.size)
            rng = np.random.default_rng(round(1e6 * float(np.abs(wave_S).mean())))
            yield Embedded(place, rng.standard_normal(self.dim).astype(np.float32), EmbedInfo(1.0, True, 1))


def test_all_lists_share_the_embeddings_and_lost_trials_are_counted(data: EvaluationData) -> None:
    runtime = Counting()
    lists = {spec: make_trials(spec, data) for spec in ("all", "20-pairs")}
    options = {"seed": 0, "resamples": 50}
    clean = list(robustness.measure("m", runtime, data, lists, Condition("clean"), **options))
    assert len(runtime.heard) == len(data.utterances)
    assert [one.eer.trials for one in clean if one.eer] == [276, 20]
    least_s = 2.0
    short = next(robustness.measure("m", runtime, data, lists, Condition("c", least_s=least_s), **options))
    used = with_speech(data, Condition("c", least_s=least_s)).size
    assert short.eer is not None
    assert short.eer.trials == used * (used - 1) // 2
    nothing = next(robustness.measure("m", runtime, data, lists, Condition("c", least_s=99), **options))
    assert nothing.eer is None


def test_intervals_are_those_of_the_library(data: EvaluationData) -> None:
    trials = make_trials("all", data)
    rng = np.random.default_rng(0)
    score_K = rng.standard_normal(len(trials)) + trials.same_K
    scored: Any = SimpleNamespace(
        score_K=score_K, same_K=trials.same_K, left_K=trials.left_K, right_K=trials.right_K
    )
    found = sampled_eer(scored, data, resamples=200, seed=4)
    speaker_N = data.speakers()
    sides = (speaker_N[trials.left_K], speaker_N[trials.right_K])
    wanted = metrics.intervals(score_K, trials.same_K, *sides, figures=["eer"], resamples=200, seed=4)["eer"]
    assert found.rate == wanted.value
    assert found.interval == pytest.approx((wanted.low, wanted.high))


def test_systems_are_compared_where_they_had_the_same_trials() -> None:
    def found(condition: str, system: str, rate: float, trials: int = 100) -> robustness.Found:
        drawn = rate + np.linspace(-0.1, 0.1, 21)
        return robustness.Found(condition, "all", system, SampledEer(rate, drawn, trials, 10, 8), 0)

    none = robustness.Found("empty", "all", "b", None, 0)
    clean = [found("clean", "a", 0.2), found("clean", "b", 0.3)]
    few = [found("few", "a", 0.2), found("few", "b", 0.3, trials=99)]
    apart = robustness.differences([*clean, *few, none], "a")
    assert list(apart) == [("clean", "all", "b")]
    value, ends = apart["clean", "all", "b"]
    assert value == pytest.approx(0.1)
    assert ends == pytest.approx((0.1, 0.1))


PEER = """
import numpy as np
def preprocess_wav(wav, source_sr):
    return wav[: len(wav) // 4]
class VoiceEncoder:
    def __init__(self, device, verbose):
        pass
    def embed_utterance(self, wav):
        return np.array([len(wav), wav[0]])
"""


def test_the_peer_answers_in_order_and_refuses_what_voxid_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "resemblyzer.py").write_text(PEER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rng = np.random.default_rng(0)
    waves = [rng.uniform(-0.3, 0.3, size).astype(np.float32) for size in (16_000, 48_000, 0, 64_000)]
    refused: list[int] = []
    with Peer(sys.executable) as peer:
        items = [(wave_S, SAMPLE_RATE) for wave_S in waves]
        found = list(peer.embed_each(items, lambda i, _: refused.append(i), batch_size=2))
    assert [one.position for one in found] == [0, 1, 3]
    assert refused == [2]
    assert [one.embedding[0] for one in found] == [
        16_000,
        12_000,
        16_000,
    ]  # a quarter, or all of what is short
    assert [one.embedding[1] for one in found] == pytest.approx([waves[i][0] for i in (0, 1, 3)])


def test_a_python_without_the_peer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resemblyzer.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="cannot import resemblyzer"):
        Peer(sys.executable)


def test_make_bench_starts_what_needs_no_corpus_alone() -> None:
    must = re.compile(r'required=True|add_argument\("\w+", nargs="\+"')
    needy = {path.stem for path in HERE.glob("[!_]*.py") if must.search(path.read_text())}
    assert needy
    assert needy <= EXPERIMENTS <= {path.stem for path in HERE.glob("*.py")}
