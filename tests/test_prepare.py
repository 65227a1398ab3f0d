"""Preparing: one pass, everything counted, nothing half-made, the same result however many workers."""

from __future__ import annotations

import csv
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer

from voxid.cli._common import run_app
from voxid.corpora import scan
from voxid.corpora.seen import Seen
from voxid.data import prepare as preparing
from voxid.data.pack import Packed, is_prepared
from voxid.data.prepare import ensure_prepared, prepare
from voxid.errors import CorpusError, DiskFull, EmptyCorpus, NotWritable
from voxid.types import Utterance

RATE = 16_000


def speech(seconds: float, seed: int) -> np.ndarray:
    """Noise, int16: no two seeds alike."""
    return np.random.default_rng(seed).integers(-8000, 8000, round(seconds * RATE), dtype=np.int16)


def save(path: Path, wave: np.ndarray, rate: int = RATE, **options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, **options)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three speakers: ann has three recordings, bob two, cid one."""
    for seed, name in enumerate(("ann/1", "ann/2", "ann/x/3", "bob/1", "bob/2", "cid/1")):
        save(tmp_path / "corpus" / f"{name}.wav", speech(0.3 + 0.1 * seed, seed))
    return tmp_path / "corpus"


def reasons(folder: Path) -> dict[str, tuple[str, str]]:
    """Return utterance -> (reason, detail) of dropped.csv."""
    with (folder / "dropped.csv").open(newline="") as file:
        return {row["utterance"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}


# -- what is kept ------------------------------------------------------------------------------------------


def test_everything_usable_is_packed_in_order(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = prepare(scan(corpus), out)
    packed = Packed.open(out)
    assert packed.utterances() == ["ann/1", "ann/2", "ann/x/3", "bob/1", "bob/2", "cid/1"]
    for i, name in enumerate(packed.utterances()):
        np.testing.assert_array_equal(
            packed.wave(i), soundfile.read(corpus / f"{name}.wav", dtype="int16")[0]
        )
    assert [packed.speaker_names[s] for s in packed.speakers_N] == ["ann"] * 3 + ["bob"] * 2 + ["cid"]
    assert (report.kept, report.speakers, report.dropped) == (6, 3, {})
    assert report.seconds == pytest.approx(0.3 + 0.4 + 0.5 + 0.6 + 0.7 + 0.8)
    rows = packed.manifest().to_pylist()
    assert rows[2] == {
        "speaker": "ann",
        "utterance": "ann/x/3",
        "path": str(corpus / "ann/x/3.wav"),
        "start_s": 0.0,
        "duration_s": 0.5,
        "sample_rate": RATE,
        "sex": "",
        "age": None,
        "language": "",
        "session": "x",
        "channel": None,
    }
    assert packed.info["sources"] == [str(corpus)]


def test_other_rates_and_channels(tmp_path: Path) -> None:
    t = np.arange(44_100) / 44_100
    tone = 0.5 * np.sin(2 * np.pi * 300 * t)
    save(tmp_path / "c/ann/1.wav", np.stack([tone, np.zeros_like(tone)], axis=1), 44_100)
    prepare(scan(tmp_path / "c"), tmp_path / "out")
    packed = Packed.open(tmp_path / "out")
    expected = 0.25 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE) * 32768
    np.testing.assert_allclose(packed.wave(0)[500:-500], expected[500:-500], atol=20)
    assert packed.manifest()["sample_rate"].to_pylist() == [44_100]


def test_segments_of_one_recording(tmp_path: Path) -> None:
    wave = speech(3.0, 0)
    save(tmp_path / "k/all.flac", wave)
    (tmp_path / "k/wav.scp").write_text("rec all.flac\n")
    (tmp_path / "k/utt2spk").write_text("u1 ann\nu2 bob\n")
    (tmp_path / "k/segments").write_text("u1 rec 0.5 1.25\nu2 rec 2 -1\n")
    prepare(scan(tmp_path / "k"), tmp_path / "out")
    packed = Packed.open(tmp_path / "out")
    np.testing.assert_array_equal(packed.wave(0), wave[8000:20_000])
    np.testing.assert_array_equal(packed.wave(1), wave[32_000:])
    assert packed.manifest()["duration_s"].to_pylist() == [0.75, 1.0]


def test_speakers_with_one_utterance_are_kept_and_told(corpus: Path, tmp_path: Path) -> None:
    report = prepare(scan(corpus), tmp_path / "out")
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith("1 speaker has one utterance")
    assert "(cid)" in report.warnings[0]
    assert json.loads((tmp_path / "out/prepared.json").read_text())["warnings"] == report.warnings


def test_a_corpus_of_one_speaker_is_prepared(corpus: Path, tmp_path: Path) -> None:
    alone = [u for u in scan(corpus) if u.speaker == "ann"]
    assert prepare(alone, tmp_path / "out").speakers == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_folder(workers: int, corpus: Path, tmp_path: Path) -> None:
    for seed in range(40):
        save(corpus / f"dan/{seed:02}.wav", speech(0.2 if seed % 3 else 0.01, 100 + seed))
    expected = prepare(scan(corpus), tmp_path / "expected")
    report = prepare(scan(corpus), tmp_path / "out", workers=workers)
    assert report.fingerprint == expected.fingerprint
    for name in ("audio.i16", "dropped.csv", "offsets.npy", "speakers.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    assert report.dropped == {"too_short": 14}


# -- what is dropped ---------------------------------------------------------------------------------------


def spoil(corpus: Path) -> dict[str, str]:
    """Add one recording of each flaw; return utterance -> reason."""
    folder = corpus / "eve"
    whole = save(folder / "whole.flac", speech(2.0, 50)).read_bytes()
    (folder / "broken.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "words.wav").write_bytes(b"only words in here\n" * 99)
    (folder / "zero.wav").touch()
    (folder / "film.m4a").write_bytes(b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00" + bytes(999))
    save(folder / "silent.wav", np.zeros(RATE, np.int16))
    save(folder / "blink.wav", speech(0.001, 51))
    holes = speech(1.0, 52) / np.float32(32768)
    holes[77] = np.nan
    save(folder / "nan.wav", holes, subtype="FLOAT")
    save(folder / "zzz-again.wav", speech(2.0, 50))  # the samples of whole.flac in another container
    save(folder / "whole.wav", speech(1.0, 53))  # the name of whole.flac
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    return {
        "eve/broken": "truncated",
        "eve/words": "undecodable",
        "eve/zero": "empty",
        "eve/film": "undecodable",
        "eve/silent": "silent",
        "eve/blink": "too_short",
        "eve/nan": "not_finite",
        "eve/zzz-again": "duplicate_audio",
        "eve/whole": "duplicate_name",
        "eve/gone": "missing",
    }


@pytest.mark.parametrize("long_s", [preparing.LONG_S, 0.0], ids=["whole", "in-blocks"])
def test_every_flaw_is_dropped_and_counted(
    long_s: float, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "LONG_S", long_s)
    expected = spoil(corpus)
    report = prepare(scan(corpus), tmp_path / "out")
    found = reasons(tmp_path / "out")
    assert {name: reason for name, (reason, _) in found.items()} == expected
    assert report.dropped == Counter(expected.values())
    assert all(detail for _, detail in found.values())
    packed = Packed.open(tmp_path / "out")
    assert "eve/whole" in packed.utterances()
    assert report.kept == packed.n == 7
    np.testing.assert_array_equal(packed.wave(6), speech(2.0, 50))


def test_long_recordings_are_packed_in_blocks(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = prepare(scan(corpus), tmp_path / "whole")
    monkeypatch.setattr(preparing, "LONG_S", 0.45)
    sizes = []
    original = preparing._long_blocks
    monkeypatch.setattr(
        preparing, "_long_blocks", lambda d: sizes.append(d.utterance.utterance) or original(d)
    )
    assert prepare(scan(corpus), tmp_path / "blocks").fingerprint == expected.fingerprint
    assert sizes == ["ann/x/3", "bob/1", "bob/2", "cid/1"]


def test_channels_that_cancel_are_packed_as_they_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the two is taken, as for embeddings: their mean is next to nothing."""
    for number, seconds in enumerate((0.5, 2.0)):
        wave = speech(seconds, number)
        save(tmp_path / f"c/ann/{number}.wav", np.stack((wave, -wave), axis=1))
    monkeypatch.setattr(preparing, "LONG_S", 1.0)
    done = prepare(scan(tmp_path / "c"), tmp_path / "out")
    packed = Packed.open(tmp_path / "out")
    for number, seconds in enumerate((0.5, 2.0)):
        np.testing.assert_array_equal(np.abs(packed.wave(number)), np.abs(speech(seconds, number)))
    assert "2 recordings have channels that cancel each other: one was taken" in done.warnings[0]


def test_nothing_usable_names_the_first_flaw(tmp_path: Path) -> None:
    save(tmp_path / "c/ann/1.wav", np.zeros(RATE, np.int16))
    (tmp_path / "c/ann/2.wav").touch()
    with pytest.raises(EmptyCorpus, match=r"(?s)1 silent.*1 empty.*The first: \S+1\.wav: silence"):
        prepare(scan(tmp_path / "c"), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]


def test_a_bad_list_stops_before_the_folder_has_its_name(corpus: Path, tmp_path: Path) -> None:
    listing = corpus / "list.csv"
    listing.write_text("ann,ann/1.wav\nbob\n")
    with pytest.raises(CorpusError, match="line 2"):
        prepare(scan(listing), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus"]


# -- bounded -----------------------------------------------------------------------------------------------


def test_decoding_never_runs_far_ahead(corpus: Path, tmp_path: Path) -> None:
    asked, done = 0, 0
    distance = []

    def utterances() -> Iterator[Utterance]:
        nonlocal asked
        for i in range(100):
            asked += 1
            distance.append(asked - done)
            yield Utterance("ann", f"u{i}", str(corpus / "ann/1.wav"), start_s=0.001 * i)

    def progress(now: int, total: int) -> None:
        nonlocal done
        assert total >= now
        done = now

    prepare(utterances(), tmp_path / "out", workers=2, progress=progress)
    assert done == 100
    assert max(distance) <= 2 * (preparing.WAITING_PER_WORKER + 1)


def test_progress_knows_the_total_of_a_scan(corpus: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    prepare(scan(corpus), tmp_path / "out", progress=lambda *now: calls.append(now))
    assert calls == [(i, 6) for i in range(1, 7)]


def test_seen_agrees_with_a_dictionary() -> None:
    rng = np.random.default_rng(0)
    seen, expected = Seen(), {}
    for row, number in enumerate(rng.integers(0, 3000, 8000).tolist()):
        digest = (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "little") + b"tail"
        assert seen.find(digest) == expected.get(number)
        seen.add(digest, row)
        expected.setdefault(number, row)
    assert len(seen) == len(expected)
    assert Seen().find(bytes(8)) is None


# -- whole or not at all -----------------------------------------------------------------------------------


def test_ctrl_c_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(scan(corpus), tmp_path / "out", progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus"]


def test_a_kill_leaves_no_folder_and_the_next_run_tidies_up(corpus: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from voxid.corpora import scan; from voxid.data.prepare import prepare\n"
        "def wait(done, total): print('at work', flush=True); time.sleep(60)\n"
        f"prepare(scan({str(corpus)!r}), {str(tmp_path / 'out')!r}, progress=wait)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"at work\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f".out.{platform.node()}.{process.pid}.partial", "corpus"]
    prepare(scan(corpus), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "out"]


def test_a_prepared_folder_is_replaced_only_on_demand(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = prepare(scan(corpus), out)
    with pytest.raises(NotWritable, match="overwrite"):
        prepare(scan(corpus), out)
    save(corpus / "ann/9.wav", speech(0.5, 99))
    assert prepare(scan(corpus), out, overwrite=True).kept == first.kept + 1
    assert Packed.open(out).n == first.kept + 1
    # a run that fails leaves the earlier folder as it was
    with pytest.raises(EmptyCorpus):
        prepare([Utterance("ann", "x", str(tmp_path / "gone.wav"))], out, overwrite=True)
    assert Packed.open(out).n == first.kept + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "out"]


def test_a_folder_of_other_things_is_never_replaced(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(NotWritable, match="not a prepared folder"):
            prepare(scan(corpus), tmp_path / "thesis", overwrite=overwrite)
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable):
        prepare(scan(corpus), tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert prepare(scan(corpus), tmp_path / "empty").kept == 6


def test_disk_full(corpus: Path, tmp_path: Path) -> None:
    """A limit on file sizes is met like a full disk: the write fails half-way."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "from voxid.corpora import scan; from voxid.data.prepare import prepare\n"
        "from voxid.errors import DiskFull\n"
        f"try: prepare(scan({str(corpus)!r}), {str(tmp_path / 'out')!r})\n"
        "except DiskFull as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no room to write" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus"]


def test_disk_full_in_the_writer(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparing.PackWriter, "drop", fail)
    spoil(corpus)
    with pytest.raises(DiskFull):
        prepare(scan(corpus), tmp_path / "out")


def test_no_permission_to_write(
    corpus: Path, tmp_path: Path, without_root: Callable[[], AbstractContextManager[None]]
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    utterances = list(scan(corpus))
    with without_root(), pytest.raises(NotWritable, match="may write"):
        prepare(utterances, closed / "out")


def test_no_permission_to_read_a_corpus(
    corpus: Path, tmp_path: Path, without_root: Callable[[], AbstractContextManager[None]]
) -> None:
    corpus.chmod(0)
    try:
        with without_root(), pytest.raises(CorpusError, match="permissions"):
            ensure_prepared(corpus, cache=tmp_path / "cache")
    finally:
        corpus.chmod(0o755)


# -- the cache ---------------------------------------------------------------------------------------------


def test_a_prepared_folder_is_used_as_it_is(corpus: Path, tmp_path: Path) -> None:
    prepare(scan(corpus), tmp_path / "out")
    assert ensure_prepared([tmp_path / "out"], cache=tmp_path / "cache") == tmp_path / "out"
    assert ensure_prepared(str(tmp_path / "out")) == tmp_path / "out"
    with pytest.raises(CorpusError, match="cannot be joined"):
        ensure_prepared([corpus, tmp_path / "out"], cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_corpus_is_prepared_once_and_again_when_it_changes(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOXID_CACHE", str(tmp_path / "cache"))
    calls: list[tuple[int, int]] = []
    first = ensure_prepared([corpus], progress=lambda *now: calls.append(now))
    assert first.is_relative_to(tmp_path / "cache")
    assert calls[-1] == (6, 6)
    calls.clear()
    assert ensure_prepared([corpus], progress=lambda *now: calls.append(now)) == first
    assert ensure_prepared(corpus / ".." / "corpus") == first
    assert calls == []  # nothing was decoded again
    save(corpus / "ann/1.wav", speech(0.9, 77))
    second = ensure_prepared([corpus])
    assert second != first
    assert is_prepared(second)
    save(corpus / "ann/new.wav", speech(0.9, 78))
    third = ensure_prepared([corpus])
    assert Packed.open(third).n == Packed.open(second).n + 1
    stamp = time.time() + 5
    os.utime(corpus / "bob/1.wav", (stamp, stamp))  # same size, another time: it may be another recording
    assert ensure_prepared([corpus]) not in (first, second, third)


def test_labels_belong_to_the_cache_key(corpus: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("ann,corpus/ann/1.wav\nbob,corpus/bob/1.wav\n")
    first = ensure_prepared([listing], cache=tmp_path / "cache")
    listing.write_text("ann,corpus/ann/1.wav\nbea,corpus/bob/1.wav\n")
    assert Packed.open(ensure_prepared([listing], cache=tmp_path / "cache")).speaker_names == ["ann", "bea"]
    assert Packed.open(first).speaker_names == ["ann", "bob"]


def test_preparing_needs_no_torch() -> None:
    code = "import sys, voxid.data.prepare, voxid.cli.prepare; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


# -- the command -------------------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run `voxid prepare` with arguments; return its exit code."""
    from voxid.cli.prepare import prepare as command

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    monkeypatch.setattr(sys, "argv", ["voxid-prepare", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        run_app(app)
    return int(stop.value.code or 0)


def test_the_command_prints_what_was_kept_and_dropped(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(corpus)
    assert run(monkeypatch, corpus, "-o", tmp_path / "out") == 0
    text = capsys.readouterr().out
    table = {
        cells[1].strip(): cells[2].strip() for line in text.splitlines() if len(cells := line.split("│")) == 5
    }
    assert table["kept"] == "7"
    assert table["dropped: undecodable"] == "2"
    assert table["dropped: silent"] == "1"
    assert len(table) == 10
    assert "warning: 2 speakers have one utterance" in text
    assert "dropped.csv" in text


def test_the_command_as_json(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "ann/zero.wav").touch()
    arguments = (corpus / "..", "--subset", "corpus", "--layout", "folders", "--workers", 1, "--json")
    assert run(monkeypatch, *arguments, "-o", tmp_path / "out") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["kept"], result["speakers"], result["dropped"]) == (6, 3, {"empty": 1})
    assert result["folder"] == str(tmp_path / "out")


def test_the_command_exits_with_the_code_of_the_error(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path / "nowhere", "-o", tmp_path / "out") == 5
    assert capsys.readouterr().err.startswith("CorpusNotFound: ")
    save(tmp_path / "mute/ann/1.wav", np.zeros(RATE, np.int16))
    assert run(monkeypatch, tmp_path / "mute", "-o", tmp_path / "out", "--json") == 5
    assert json.loads(capsys.readouterr().out)["error"] == "EmptyCorpus"
    assert run(monkeypatch, corpus, "-o", corpus) == 9
    assert "NotWritable" in capsys.readouterr().err
    assert run(monkeypatch, corpus, "-o", tmp_path / "out", "--layout", "kaldy") == 3


# -- real speech -------------------------------------------------------------------------------------------


@pytest.mark.real
def test_real_speech_keeps_every_sample(real_data: Path, tmp_path: Path) -> None:
    report = prepare(scan(real_data / "LibriSpeech", subsets=["test-other-mini"]), tmp_path / "out")
    assert (report.kept, report.speakers, report.dropped, report.warnings) == (100, 10, {}, [])
    packed = Packed.open(tmp_path / "out")
    paths = packed.manifest()["path"].to_pylist()
    for i in range(0, 100, 9):
        np.testing.assert_array_equal(packed.wave(i), soundfile.read(paths[i], dtype="int16")[0])
