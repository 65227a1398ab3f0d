"""Prepared folders: what is written comes back, and what is damaged is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from packing import make_pack

from voxid.corpora.seen import Seen
from voxid.data import features_cache
from voxid.data.features_cache import cached_features
from voxid.data.pack import Packed, PackWriter, to_int16
from voxid.errors import AudioTruncated, CorpusError, DiskFull, EmptyCorpus
from voxid.features import Mfcc, MfccConfig
from voxid.types import Dropped, Utterance


def utterance(speaker: str, name: str, **labels: object) -> Utterance:
    return Utterance(speaker, name, f"/x/{name}.wav", **labels)  # type: ignore[arg-type]


def noise(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, samples).astype(np.int16)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    waves = [noise(1000 + 7 * i, i) for i in range(5)]
    speakers = ["zoe", "ann", "zoe", "bob", "ann"]
    with PackWriter(tmp_path) as writer:
        for i, (speaker, wave) in enumerate(zip(speakers, waves, strict=True)):
            writer.add(utterance(speaker, f"u{i}", sex="f", age=30.0 + i, sample_rate=8000), wave)
        writer.drop(Dropped("u9", "/x/u9.wav", "silent", "no sample above the floor"))
        info = writer.finish(["/corpus"], ["a warning"])

    packed = Packed.open(tmp_path)
    assert packed.n == 5
    assert packed.speaker_names == ["ann", "bob", "zoe"]
    assert [packed.speaker_names[s] for s in packed.speakers_N] == speakers
    assert packed.utterances() == ["u0", "u1", "u2", "u3", "u4"]
    for i, wave in enumerate(waves):
        np.testing.assert_array_equal(packed.wave(i), wave)
        np.testing.assert_array_equal(packed.crop(i, 11, 100), wave[11:111])
    with pytest.raises(IndexError):
        packed.crop(0, 950, 51)  # one sample into the next utterance
    table = packed.manifest().to_pydict()
    assert table["speaker"] == speakers
    assert table["age"] == [30.0, 31.0, 32.0, 33.0, 34.0]
    assert table["sample_rate"] == [8000] * 5
    np.testing.assert_allclose(table["duration_s"], [len(w) / 16_000 for w in waves])
    assert info["dropped"] == {"silent": 1}
    assert info["seconds"] == round(sum(map(len, waves)) / 16_000, 3)
    with (tmp_path / "dropped.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == ["u9", "/x/u9.wav", "silent", "no sample above the floor"]


def test_sixteen_bit_audio_survives_the_trip_through_floats() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(to_int16(every.astype(np.float32) / 32768), every)
    assert to_int16(np.array([1.7, -1.7], np.float32)).tolist() == [32767, -32768]


def test_pieces_equal_the_whole_and_a_broken_stream_leaves_nothing(tmp_path: Path) -> None:
    wave = noise(10_000, 0)

    def broken() -> Iterator[np.ndarray]:
        yield wave[:3000]
        raise AudioTruncated("breaks off")

    with PackWriter(tmp_path) as writer:
        writer.add(utterance("a", "whole"), wave)
        with pytest.raises(AudioTruncated):
            writer.add(utterance("a", "broken"), broken())
        writer.add(utterance("b", "pieces"), iter(np.split(wave, [1, 4000, 4000])))
        writer.finish(["/x"], [])
    packed = Packed.open(tmp_path)
    assert packed.utterances() == ["whole", "pieces"]
    np.testing.assert_array_equal(packed.wave(1), wave)


def test_samples_that_were_seen_leave_no_trace(tmp_path: Path) -> None:
    plain, twice = tmp_path / "plain", tmp_path / "twice"
    for folder in (plain, twice):
        seen = Seen()
        with PackWriter(folder) as writer:
            assert writer.add(utterance("a", "u0"), noise(100, 0), seen) is None
            assert writer.add(utterance("b", "u1"), noise(200, 2), seen) is None
            if folder == twice:
                assert writer.add(utterance("gone", "dup"), iter(np.split(noise(200, 2), 2)), seen) == 1
            assert writer.add(utterance("a", "u2"), noise(300, 3), seen) is None
            writer.finish(["/x"], [])
    for name in ("audio.i16", "offsets.npy", "speakers.npy", "speaker_names.json", "prepared.json"):
        assert (twice / name).read_bytes() == (plain / name).read_bytes(), name


def test_fingerprint_changes_with_audio_and_names(tmp_path: Path) -> None:
    def fingerprint(speaker: str, name: str, wave: np.ndarray) -> str:
        with PackWriter(tmp_path) as writer:
            writer.add(utterance(speaker, name), wave)
            return writer.finish(["/x"], [])["fingerprint"]

    prints = {
        fingerprint("a", "u", noise(100, 0)),
        fingerprint("b", "u", noise(100, 0)),
        fingerprint("a", "v", noise(100, 0)),
        fingerprint("a", "u", noise(100, 1)),
    }
    assert len(prints) == 4
    assert fingerprint("a", "u", noise(100, 0)) in prints


def test_nothing_packed_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    with PackWriter(tmp_path) as writer:
        writer.drop(Dropped("u", "/x", "silent"))
        with pytest.raises(EmptyCorpus, match="1 silent"):
            writer.finish(["/x"], [])
    with pytest.raises(CorpusError, match="voxid prepare"):
        Packed.open(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("samples", [10, 100_000], ids=["noticed at the end", "noticed at once"])
def test_disk_full_while_packing(tmp_path: Path, samples: int) -> None:
    (tmp_path / "audio.i16").symlink_to("/dev/full")  # every byte that reaches it meets ENOSPC

    def pack() -> None:
        with PackWriter(tmp_path) as writer:
            writer.add(utterance("a", "u"), noise(samples, 0))
            writer.finish(["/x"], [])

    with pytest.raises(DiskFull, match="no room"):
        pack()
    assert not (tmp_path / "prepared.json").exists()


def shorten(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-8])


def change(**values: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "prepared.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


def bad_order(folder: Path) -> None:
    offsets = np.load(folder / "offsets.npy")
    offsets[1], offsets[2] = offsets[2], offsets[1]
    np.save(folder / "offsets.npy", offsets)


@pytest.mark.parametrize(
    "damage",
    [
        shorten("audio.i16"),
        shorten("offsets.npy"),
        shorten("speakers.npy"),
        change(version=99),
        change(sample_rate=8000),
        change(n_utterances=3),
        bad_order,
        lambda folder: (folder / "prepared.json").write_text("{"),
        lambda folder: (folder / "offsets.npy").unlink(),
        lambda folder: (folder / "speaker_names.json").write_text('["only one"]'),
        lambda folder: np.save(folder / "offsets.npy", np.array([{}], dtype=object)),
    ],
    ids=[
        "audio",
        "offsets",
        "speakers",
        "version",
        "rate",
        "count",
        "order",
        "json",
        "no-offsets",
        "names",
        "pickle",
    ],
)
def test_damaged_folder_is_refused_and_says_what_to_do(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    make_pack(tmp_path, [2, 2], seconds=0.2)
    damage(tmp_path)
    with pytest.raises(CorpusError, match="voxid prepare"):
        Packed.open(tmp_path)


# ---- stored features -----------------------------------------------------------------------------------


@pytest.fixture
def mfcc() -> Mfcc:
    return Mfcc(MfccConfig())


def test_stored_features_equal_those_of_each_utterance_alone(
    tmp_path: Path, mfcc: Mfcc, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = make_pack(tmp_path, [3, 2], seconds=1.0)
    alone = [mfcc(torch.from_numpy(packed.wave(i).astype(np.float32) / 32768)[None])[0] for i in range(5)]
    # All in one batch; in pairs; some walked in blocks, some alone; all walked in blocks.
    for batch, long in ((10**6, 10**6), (40_000, 10**6), (5_000, 18_000), (5_000, 1_000)):
        monkeypatch.setattr(features_cache, "BATCH_SAMPLES", batch)
        monkeypatch.setattr(features_cache, "LONG_SAMPLES", long)
        for old in tmp_path.glob("features-*"):
            old.unlink()
        store = cached_features(packed, mfcc)
        for i, feat_TF in enumerate(alone):
            np.testing.assert_allclose(store.utterance(i), feat_TF.numpy(), atol=2e-3)


def test_stored_features_are_computed_once_and_belong_to_their_config(
    tmp_path: Path, mfcc: Mfcc, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = make_pack(tmp_path, [2, 2], seconds=0.5)
    calls: list[tuple[int, int]] = []
    first = cached_features(packed, mfcc, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (4, 4)
    calls.clear()
    assert cached_features(packed, mfcc, lambda *c: calls.append(c)).path == first.path
    assert not calls
    other = cached_features(packed, Mfcc(MfccConfig(coefficients=20)))
    assert other.path != first.path
    assert other.utterance(0).shape[1] == 20
    first.path.write_bytes(first.path.read_bytes()[:-4])
    with pytest.raises(CorpusError, match="Delete it"):
        cached_features(packed, mfcc)


def test_windows_wrap_around_short_utterances(tmp_path: Path, mfcc: Mfcc) -> None:
    packed = make_pack(tmp_path, [2, 2], seconds=1.0)
    store = cached_features(packed, mfcc)
    got = store.gather(np.array([2, 0]), np.array([4, 0]), 80)
    for row, (i, start) in enumerate([(2, 4), (0, 0)]):
        repeated = np.concatenate([store.utterance(i)] * 4)
        np.testing.assert_array_equal(got[row], repeated[start : start + 80])


def test_read_only_folder_keeps_its_features_in_the_cache(
    tmp_path: Path, mfcc: Mfcc, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = make_pack(tmp_path / "pack", [2, 2], seconds=0.5)
    monkeypatch.setenv("VOXID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features_cache.os, "access", lambda *_: False)
    store = cached_features(packed, mfcc)
    assert store.path.parent == tmp_path / "cache" / "features"
    shutil.rmtree(tmp_path / "cache")
