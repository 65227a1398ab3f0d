"""Samplers: who is drawn, how often, and that ranks, resumes and threads agree on it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from packing import make_pack

from voxid.data.batches import Batches, DataConfig
from voxid.data.features_cache import cached_features
from voxid.data.pack import Packed
from voxid.data.samplers import SAMPLERS, CorpusSampler, SpeakerSampler, UniformSampler, corpora_of
from voxid.errors import BadConfig, BadRecipe, NotEnoughSpeakers
from voxid.features import Fbank, FbankConfig, Mfcc, MfccConfig

SPEAKERS_N = np.repeat([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 5, 8, 13, 21])  # 53 utterances of 7 speakers
CORPUS_N = np.repeat([0, 1], [11, 42])
NUMBERS = np.arange(53)


def make(kind: str, rows: int, seed: int = 0, numbers: np.ndarray = NUMBERS):
    if kind == "uniform":
        return UniformSampler(numbers, rows, seed)
    if kind == "speakers":
        return SpeakerSampler(SPEAKERS_N, numbers, rows, 1, seed)
    if kind == "pk":
        return SpeakerSampler(SPEAKERS_N, numbers, rows // 2, 2, seed)
    return CorpusSampler(CORPUS_N, SPEAKERS_N, numbers, rows, seed, 2.0, kind == "by speaker")


KINDS = ["uniform", "speakers", "pk", "corpora", "by speaker"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_depends_on_seed_and_step_alone(kind: str) -> None:
    walked = make(kind, 4)
    forward = [walked.batch(step).tolist() for step in range(60)]
    fresh = [make(kind, 4).batch(step).tolist() for step in range(60)]
    backward = [walked.batch(step).tolist() for step in reversed(range(60))]
    assert forward == fresh == backward[::-1]
    assert forward != [make(kind, 4, seed=1).batch(step).tolist() for step in range(60)]
    assert len({tuple(batch) for batch in forward}) > 50
    assert all(len(batch) == 4 for batch in forward)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_draw_the_same(kind: str) -> None:
    sampler, expected = make(kind, 4), make(kind, 4)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda step: sampler.batch(step * 7 % 400).tolist(), range(400)))
    assert got == [expected.batch(step * 7 % 400).tolist() for step in range(400)]


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_utterances_given_are_drawn(kind: str) -> None:
    numbers = np.array([3, 4, 5, 20, 21, 50])
    drawn = {n for step in range(100) for n in make(kind, 4, numbers=numbers).batch(step).tolist()}
    assert drawn == set(numbers.tolist())


def test_an_epoch_has_every_utterance_once_and_each_another_order() -> None:
    sampler = UniformSampler(NUMBERS, 5, seed=0)
    assert sampler.steps == 10
    epochs = [np.concatenate([sampler.batch(10 * e + i) for i in range(10)]) for e in range(40)]
    assert all(len(set(epoch.tolist())) == 50 for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    counts = np.bincount(np.concatenate(epochs), minlength=53)
    assert counts.min() >= 32, "what one epoch leaves out, another has"


def test_fewer_utterances_than_rows_are_repeated() -> None:
    batch = UniformSampler(np.array([4, 5, 6]), 8, seed=0).batch(5)
    assert sorted(Counter(batch.tolist()).values()) == [2, 3, 3]


def test_speakers_are_equally_often_and_their_utterances_in_turn() -> None:
    sampler = SpeakerSampler(SPEAKERS_N, NUMBERS, speakers=3, each=1, seed=0)
    drawn = np.concatenate([sampler.batch(step) for step in range(7 * 21)])
    assert np.bincount(SPEAKERS_N[drawn]).tolist() == [63] * 7
    counts = np.bincount(drawn, minlength=53)
    for speaker in range(7):
        of_speaker = counts[speaker == SPEAKERS_N]
        assert of_speaker.max() - of_speaker.min() <= 1
    mine = [n for n in drawn.tolist() if SPEAKERS_N[n] == 6]
    assert len(set(mine[:21])) == 21
    assert mine[:21] != sorted(mine[:21])


def test_each_pass_has_every_speaker_once() -> None:
    sampler = SpeakerSampler(SPEAKERS_N, NUMBERS, speakers=7, each=1, seed=0)
    passes = [SPEAKERS_N[sampler.batch(step)].tolist() for step in range(20)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) > 15


def test_pk_has_neighbours_of_one_speaker_and_no_utterance_twice() -> None:
    sampler = SpeakerSampler(SPEAKERS_N, NUMBERS, speakers=3, each=3, seed=0)
    for step in range(50):
        rows = sampler.batch(step).reshape(3, 3)
        who = SPEAKERS_N[rows]
        assert (who == who[:, :1]).all()
        for row, speaker in zip(rows.tolist(), who[:, 0].tolist(), strict=True):
            assert len(set(row)) == min(3, int((speaker == SPEAKERS_N).sum()))
    first = [SpeakerSampler(SPEAKERS_N, NUMBERS, 3, 3, seed=0).batch(s) for s in range(2)]
    assert len(set(SPEAKERS_N[np.concatenate(first)].tolist())) == 6  # a pass gives nobody twice


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 42 / 53), (2.0, 0.6615), (1e9, 0.5)])
def test_temperature_decides_the_share_of_a_corpus(temperature: float, share: float) -> None:
    """At 2, the shares go as the square roots: 6.48 to 3.32."""
    sampler = CorpusSampler(CORPUS_N, SPEAKERS_N, NUMBERS, 10, 0, temperature)
    assert sampler.shares.tolist() == pytest.approx([1 - share, share], abs=1e-3)
    drawn = np.concatenate([sampler.batch(step) for step in range(1000)])
    assert (CORPUS_N[drawn] == 1).mean() == pytest.approx(share, abs=0.02)  # 4 standard deviations


def test_balanced_by_speaker_a_corpus_is_as_large_as_its_speakers_are_many() -> None:
    sampler = CorpusSampler(CORPUS_N, SPEAKERS_N, NUMBERS, 10, 0, 2.0, by_speaker=True)
    assert sampler.shares.tolist() == pytest.approx([4**0.5 / (4**0.5 + 3**0.5), 3**0.5 / (4**0.5 + 3**0.5)])


def test_inside_a_corpus_utterances_or_speakers_are_equally_likely() -> None:
    for by_speaker in (False, True):
        sampler = CorpusSampler(CORPUS_N, SPEAKERS_N, NUMBERS, 1, 0, 1e9, by_speaker)
        drawn = np.concatenate([sampler.batch(step) for step in range(5_000)])
        first = np.bincount(SPEAKERS_N[drawn[CORPUS_N[drawn] == 0]], minlength=4) / 2_500
        expected = [0.25] * 4 if by_speaker else [1 / 11, 2 / 11, 3 / 11, 5 / 11]
        assert first.tolist() == pytest.approx(expected, abs=0.03)


def test_corpora_come_from_the_names_of_speakers() -> None:
    assert corpora_of(["1", "2"], np.array([0, 1, 1]))[0] == [""]
    names, corpus_N = corpora_of(["x/a/1", "x/b/1", "x/b/2"], np.array([2, 0, 1]))
    assert names == ["x/a", "x/b"]
    assert corpus_N.tolist() == [1, 0, 1]


def test_too_little_is_an_error() -> None:
    for kind in KINDS:
        with pytest.raises(NotEnoughSpeakers, match="got 0"):
            make(kind, 4, numbers=np.array([], np.int64))
    with pytest.raises(NotEnoughSpeakers, match="got 1 speakers"):
        make("pk", 4, numbers=np.array([1, 2]))
    assert make("speakers", 2, numbers=np.array([1, 2])).batch(0).size == 2  # one class is enough for a class


# ---- batches of them ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return make_pack(tmp_path_factory.mktemp("pack"), [3, 3, 2, 1], seconds=1.0)


MFCC, FBANK = Mfcc(MfccConfig()), Fbank(FbankConfig())


def batches_of(packed: Packed, features=FBANK, **options) -> Batches:
    return Batches(packed, features, DataConfig(**options), 0, None)


@pytest.mark.parametrize("features", [MFCC, FBANK], ids=["mfcc", "fbank"])
@pytest.mark.parametrize("sampler", ["triplets", "uniform", "speakers", "corpora", "pk"])
def test_every_sampler_makes_windows_of_the_length_asked(packed: Packed, features, sampler: str) -> None:
    config = DataConfig(sampler=sampler, rows=6, window=20, speakers=2, utterances=3, triplets=2)
    batch = Batches(packed, features, config, 0, None).batch(3)
    assert batch.wave_BS is not None
    assert tuple(features(batch.wave_BS).shape) == (6, 20, features.dim)
    assert config.batch_rows == 6
    assert batch.labels_B.tolist() == packed.speakers_N[batch.rows_B].tolist()
    stored = Batches(packed, features, config, 0, cached_features(packed, features)).batch(3)
    assert stored.feat_BTF is not None
    assert stored.feat_BTF.shape == (6, 20, features.dim)
    assert stored.rows_B.tolist() == batch.rows_B.tolist()
    assert stored.starts_B.tolist() == batch.starts_B.tolist()


def test_crops_are_neighbours_of_one_utterance_from_other_places(packed: Packed) -> None:
    batch = batches_of(packed, sampler="uniform", rows=6, crops=3, window=20).batch(0)
    assert batch.rows_B[0] == batch.rows_B[1] == batch.rows_B[2] != batch.rows_B[3]
    assert len(set(batch.starts_B.tolist())) > 3
    assert batches_of(packed, sampler="uniform", rows=6, crops=3).steps_per_epoch == 4  # of 9 utterances


def test_a_crop_is_where_it_says(packed: Packed) -> None:
    batch = batches_of(packed, sampler="uniform", rows=4, window=20).batch(1)
    assert batch.wave_BS is not None
    for number, start, wave_S in zip(batch.rows_B, batch.starts_B, batch.wave_BS, strict=True):
        whole = packed.wave(int(number))[start * FBANK.hop :][: FBANK.samples(20)] / 32768
        assert np.array_equal(wave_S.numpy(), whole.astype(np.float32))


def test_seconds_and_lengths_that_vary(packed: Packed) -> None:
    assert batches_of(packed, seconds=0.5).window == 48
    varying = batches_of(packed, sampler="uniform", rows=2, window=20, window_max=30)
    waves = [varying.batch(step).wave_BS for step in range(60)]
    lengths = {FBANK.frames(wave_BS.shape[1]) for wave_BS in waves if wave_BS is not None}
    assert lengths == set(range(20, 31))
    other = Batches(packed, FBANK, varying.config, 0, None, rank=1, world=2)
    assert [other.window_of(step) for step in range(9)] == [varying.window_of(step) for step in range(9)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_ranks_share_out_the_batch_of_one_process(packed: Packed, sampler: str) -> None:
    sizes = {"rows": 8, "triplets": 4, "speakers": 4, "utterances": 2}
    config = DataConfig(window=20, sampler=sampler, speeds=(0.9,), **sizes)
    whole = Batches(packed, FBANK, config, 0, None)
    ranks = [Batches(packed, FBANK, config, 0, None, rank=rank, world=4) for rank in range(4)]
    for step in range(5):
        parts, one = [batches.batch(step) for batches in ranks], whole.batch(step)
        for name in ("rows_B", "starts_B", "labels_B", "wave_BS"):
            together = np.concatenate([np.asarray(getattr(part, name)) for part in parts])
            np.testing.assert_array_equal(together, np.asarray(getattr(one, name)))
    with pytest.raises(BadRecipe, match="cannot be divided evenly between 7 processes"):
        Batches(packed, FBANK, config, 0, None, world=7)


def test_augmentation_sees_labels_and_is_seeded_by_the_step(packed: Packed) -> None:
    seen = []

    def augment(wave_BS: torch.Tensor, labels_B: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
        seen.append((labels_B.tolist(), draw.random()))
        return wave_BS + 1

    config = DataConfig(sampler="uniform", rows=3, window=20)
    batches = Batches(packed, FBANK, config, 0, None, augment=augment)
    augmented = batches.batch(0)
    plain = Batches(packed, FBANK, config, 0, None).batch(0)
    assert augmented.wave_BS is not None
    assert plain.wave_BS is not None
    assert torch.equal(augmented.wave_BS, plain.wave_BS + 1)
    batches.batch(1)
    batches.batch(0)
    assert seen[0] == seen[2] != seen[1]


def test_another_speed_is_another_class_and_another_pitch(packed: Packed) -> None:
    config = DataConfig(sampler="uniform", rows=60, window=40, speeds=(0.8, 1.25))
    batches = Batches(packed, FBANK, config, 0, None)
    batch = batches.batch(0)
    assert batches.classes == 12
    assert batch.wave_BS is not None
    assert batch.wave_BS.shape == (60, FBANK.samples(40))
    speed_B, speaker_B = batch.labels_B.numpy() // 4, batch.labels_B.numpy() % 4
    assert speaker_B.tolist() == packed.speakers_N[batch.rows_B].tolist()
    assert all(10 < (speed_B == number).sum() < 30 for number in range(3))
    for wave_S, speed, speaker in zip(batch.wave_BS.numpy(), speed_B, speaker_B, strict=True):
        spectrum = np.abs(np.fft.rfft(wave_S * np.hanning(len(wave_S)), 1 << 16))
        pitch = spectrum[: 1 << 12].argmax() * 16_000 / (1 << 16)  # the hums have a pitch below 1 kHz
        assert pitch == pytest.approx((90 + 40 * speaker) * (1.0, 0.8, 1.25)[speed], rel=0.02)
    plain = Batches(packed, FBANK, DataConfig(sampler="uniform", rows=60, window=40), 0, None).batch(0)
    assert plain.rows_B.tolist() == batch.rows_B.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "pk", "speakers": 4, "utterances": 3},
        {"sampler": "uniform", "rows": 12, "crops": 3},
        {"sampler": "triplets", "triplets": 4},
    ],
    ids=lambda options: options["sampler"],
)
def test_a_pair_stays_a_pair_at_another_speed(packed: Packed, options: dict) -> None:
    config = DataConfig(window=20, speeds=(0.9, 1.1), **options)
    batches = Batches(packed, FBANK, config, 0, None)
    plain = Batches(packed, FBANK, config.model_copy(update={"speeds": ()}), 0, None)
    seen = set()
    for step in range(20):
        labels_B = batches.batch(step).labels_B
        speed_GU = labels_B.reshape(4, 3) // 4
        assert torch.equal(labels_B % 4, plain.batch(step).labels_B)
        assert bool((speed_GU == speed_GU[:, :1]).all())
        seen |= set(speed_GU.flatten().tolist())
    assert seen == {0, 1, 2}


def test_two_speakers_of_a_batch_are_two() -> None:
    """Where a pass over the speakers ends and the next begins, too."""
    speakers_N = np.repeat([0, 1, 2], 4)
    sampler = SpeakerSampler(speakers_N, np.arange(12), speakers=2, each=2, seed=0)
    assert all(len(set(speakers_N[sampler.batch(step)])) == 2 for step in range(300))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "unifrom"}, r"data\.sampler"),
        ({"sampler": "uniform", "rows": 5, "crops": 2}, "multiple of crops"),
        ({"crops": 2}, "other samplers than triplets"),
        ({"window": 50, "window_max": 40}, "window_max is below window"),
        ({"seconds": 2.0, "window_max": 400}, "exclude each other"),
        ({"speeds": [1.0]}, "speeds are between"),
        ({"speeds": [3.0]}, "speeds are between"),
        ({"speeds": [0.9, 0.9]}, "same speed twice"),
        ({"temperature": 0}, r"data\.temperature"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_options_that_do_not_fit_are_refused(options: dict, message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        DataConfig.parse(options, "data")


def test_a_million_utterances_cost_no_more_than_a_few(tmp_path: Path) -> None:
    """Nothing but the shuffle of an epoch looks at every utterance."""
    numbers = np.arange(1_000_000)
    speakers_N = numbers // 100
    for sampler in (
        SpeakerSampler(speakers_N, numbers, 64, 2, 0),
        CorpusSampler(speakers_N // 5000, speakers_N, numbers, 128, 0),
    ):
        before = numbers.copy()
        assert len(set(sampler.batch(10**9).tolist())) == 128
        assert np.array_equal(numbers, before)
