"""Triplets and batches: right by construction, uniform by measurement, pure functions of (seed, step)."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from packing import make_pack

from voxid.data.batches import Batches, DataConfig
from voxid.data.features_cache import cached_features
from voxid.data.triplets import TripletSampler
from voxid.errors import NotEnoughSpeakers
from voxid.features import Mfcc, MfccConfig


def test_anchor_and_positive_are_two_utterances_of_one_speaker_and_the_negative_is_anothers() -> None:
    speakers = np.random.default_rng(0).integers(0, 9, 60).astype(np.int32)
    sampler = TripletSampler(speakers, triplets=500, seed=1)
    for step in range(5):
        anchor, positive, negative = sampler.batch(step).T
        assert (speakers[anchor] == speakers[positive]).all()
        assert (anchor != positive).all()
        assert (speakers[negative] != speakers[anchor]).all()


def test_a_speaker_with_one_utterance_is_never_the_pair_and_still_a_negative() -> None:
    speakers = np.array([0, 1, 1, 2, 2, 2], np.int32)
    triplets = np.concatenate([TripletSampler(speakers, 100, seed=0).batch(step) for step in range(20)])
    assert 0 not in triplets[:, :2]
    assert 0 in triplets[:, 2]


def test_speakers_and_utterances_are_drawn_uniformly() -> None:
    speakers = np.array([0] * 2 + [1] * 10 + [2] * 3 + [3], np.int32)
    triplets = TripletSampler(speakers, 60_000, seed=3).batch(0)
    # By hand: the pair's speaker is 0, 1 or 2 with 1/3 each; the negative's one of the three others with
    # 1/3 each, so speaker 3 is the negative in 1/3 of the cases, the others in 2/9 each.
    pair = np.bincount(speakers[triplets[:, 0]], minlength=4) / 60_000
    np.testing.assert_allclose(pair, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.01)
    negative = np.bincount(speakers[triplets[:, 2]], minlength=4) / 60_000
    np.testing.assert_allclose(negative, [2 / 9, 2 / 9, 2 / 9, 1 / 3], atol=0.01)
    pairs = Counter(map(tuple, triplets[speakers[triplets[:, 0]] == 2][:, :2].tolist()))
    shares = np.array(list(pairs.values())) / pairs.total()
    np.testing.assert_allclose(shares, [1 / 6] * 6, atol=0.01)  # all 3 x 2 ordered pairs of speaker 2


def test_batches_depend_on_seed_and_step_alone() -> None:
    speakers = np.repeat(np.arange(20, dtype=np.int32), 5)
    first, second = TripletSampler(speakers, 8, seed=0), TripletSampler(speakers, 8, seed=0)
    later = first.batch(7)
    for step in (3, 7, 0):
        np.testing.assert_array_equal(second.batch(step), first.batch(step))
    np.testing.assert_array_equal(second.batch(7), later)
    assert (first.batch(8) != later).any()
    assert (TripletSampler(speakers, 8, seed=1).batch(7) != later).any()


def test_another_process_draws_the_same_batch() -> None:
    code = (
        "import numpy as np; from voxid.data.triplets import TripletSampler; "
        "print(TripletSampler(np.repeat(np.arange(20), 5), 4, seed=5).batch(11).tolist())"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str(TripletSampler(np.repeat(np.arange(20), 5), 4, seed=5).batch(11).tolist())


@pytest.mark.parametrize("counts", [[5], [1, 1, 1], []], ids=["one speaker", "no pair", "nothing"])
def test_too_few_speakers(counts: list[int]) -> None:
    speakers = np.repeat(np.arange(len(counts)), counts)
    with pytest.raises(NotEnoughSpeakers, match="two speakers, and one of them with two utterances"):
        TripletSampler(speakers, 8, seed=0)


def test_a_million_utterances_cost_no_more_per_triplet() -> None:
    """Told by memory, not by the clock: whatever walks over all utterances makes an array of them."""

    def peak_bytes(n: int) -> int:
        sampler = TripletSampler(np.random.default_rng(0).integers(0, 7000, n), 8, seed=0)
        tracemalloc.start()
        for step in range(5):
            sampler.batch(step)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(1_000_000) < 2 * peak_bytes(20_000) < 100_000


# ---- batches --------------------------------------------------------------------------------------------


@pytest.fixture
def mfcc() -> Mfcc:
    return Mfcc(MfccConfig())


def test_windows_are_cut_where_the_batch_says(tmp_path: Path, mfcc: Mfcc) -> None:
    packed = make_pack(tmp_path, [3, 3], seconds=2.0)
    store = cached_features(packed, mfcc)
    batches = Batches(packed, mfcc, DataConfig(triplets=4, window=40), seed=0, store=store)
    batch = batches.batch(3)
    assert batch.feat_BTF is not None
    assert batch.feat_BTF.shape == (12, 40, 40)
    for row, (i, start) in enumerate(zip(batch.rows_B, batch.starts_B, strict=True)):
        np.testing.assert_array_equal(batch.feat_BTF[row], store.utterance(i)[start : start + 40])
    assert batch.labels_B.tolist() == packed.speakers_N[batch.rows_B].tolist()
    assert len(set(batch.starts_B.tolist())) > 1


def test_every_start_can_come_up(tmp_path: Path, mfcc: Mfcc) -> None:
    packed = make_pack(tmp_path, [2, 2], seconds=1.0)
    config = DataConfig(triplets=200, window=30)
    batches = Batches(packed, mfcc, config, seed=0, store=cached_features(packed, mfcc))
    batch = batches.batch(0)
    first = batch.starts_B[batch.rows_B == 0]
    assert set(first.tolist()) == set(range(1 + 16_000 // 512 - 30 + 1))


def test_waveform_windows_have_the_same_frames_away_from_the_edges(tmp_path: Path, mfcc: Mfcc) -> None:
    packed = make_pack(tmp_path, [3, 3], seconds=2.5)
    mfcc = Mfcc(MfccConfig(top_db=None))  # the clipping is the only thing that looks beyond a frame
    stored = Batches(packed, mfcc, DataConfig(window=40), 0, cached_features(packed, mfcc)).batch(5)
    waves = Batches(packed, mfcc, DataConfig(window=40), 0, None).batch(5)
    np.testing.assert_array_equal(stored.rows_B, waves.rows_B)
    assert waves.wave_BS is not None
    assert stored.feat_BTF is not None
    feat_BTF = mfcc(waves.wave_BS)
    assert feat_BTF.shape == stored.feat_BTF.shape
    np.testing.assert_allclose(feat_BTF[:, 3:-3], stored.feat_BTF[:, 3:-3], atol=2e-3)


@pytest.mark.parametrize("cached", [True, False])
def test_short_utterances_are_repeated_or_dropped(tmp_path: Path, mfcc: Mfcc, cached: bool) -> None:
    packed = make_pack(tmp_path, [3, 3], seconds=0.5)  # 16, 19 and 22 frames
    store = cached_features(packed, mfcc) if cached else None
    repeat = Batches(packed, mfcc, DataConfig(window=20), 0, store)
    assert repeat.short == 4
    batch = repeat.batch(0)
    rows = batch.feat_BTF if batch.feat_BTF is not None else batch.wave_BS
    assert rows is not None
    assert bool(torch.isfinite(rows).all())
    assert set(batch.rows_B.tolist()) == set(range(6))
    with pytest.raises(NotEnoughSpeakers):  # one utterance of each speaker is left
        Batches(packed, mfcc, DataConfig(window=20, short_utterances="drop"), 0, store)
    dropping = Batches(packed, mfcc, DataConfig(window=17, short_utterances="drop"), 0, store)
    assert set(dropping.batch(0).rows_B.tolist()) == {2, 3, 4, 5}
