"""Corpora: six layouts become the same stream of utterances, and a bad list is named by file and line."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from voxid.corpora import LAYOUTS, scan
from voxid.corpora.scanning import DETECTION_ORDER, detect
from voxid.corpora.split import split
from voxid.corpora.trees import write_training_list
from voxid.errors import (
    BadCorpusFile,
    CorpusNotFound,
    EmptyCorpus,
    UnknownComponent,
    UnknownLayout,
)
from voxid.types import Utterance


def touch(folder: Path, *names: str) -> Path:
    """Make empty files: scanning opens no recording."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def labelled(path: Path, **options: object) -> list[tuple]:
    """Return (speaker, utterance, path below the corpus) of a scan."""
    home = path if path.is_dir() else path.parent
    return [
        (u.speaker, u.utterance, Path(u.path).relative_to(home).as_posix()) for u in scan([path], **options)
    ]


SPEAKERS = """;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | dev-clean        | 25.03 | Kristin
16   | M | test-clean       | 25.11 | Alys | Co
"""


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    root = tmp_path / "LibriSpeech"
    touch(root, "dev-clean/14/208/14-208-0001.flac", "dev-clean/14/208/14-208-0000.flac", "README.TXT")
    touch(root, "dev-clean/14/208/14-208.trans.txt", "dev-clean/14/9/14-9-0000.flac")
    touch(root, "test-clean/16/1/16-1-0000.flac", "test-clean/17/5/17-5-0000.flac", ".hidden/x.flac")
    write(root / "SPEAKERS.TXT", SPEAKERS)
    return root


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    folder = touch(tmp_path / "kaldi", "audio/a one.wav", "audio/b.wav")
    write(folder / "wav.scp", "utt-a audio/a one.wav\nutt-b   audio/b.wav\n\nutt-c /elsewhere/c.wav\n")
    write(folder / "utt2spk", "utt-a ann\nutt-b ann\nutt-c bob\n")
    return folder


# -- each layout -----------------------------------------------------------------------------------------


def test_librispeech(librispeech: Path) -> None:
    assert labelled(librispeech) == [
        ("14", "14-208-0000", "dev-clean/14/208/14-208-0000.flac"),
        ("14", "14-208-0001", "dev-clean/14/208/14-208-0001.flac"),
        ("14", "14-9-0000", "dev-clean/14/9/14-9-0000.flac"),
        ("16", "16-1-0000", "test-clean/16/1/16-1-0000.flac"),
        ("17", "17-5-0000", "test-clean/17/5/17-5-0000.flac"),
    ]
    found = {u.utterance: u for u in scan(librispeech)}
    assert [found[name].sex for name in ("14-208-0000", "16-1-0000", "17-5-0000")] == ["f", "m", ""]
    assert (found["14-9-0000"].session, found["14-9-0000"].language) == ("9", "en")


def test_librispeech_subsets_alone_and_together(librispeech: Path) -> None:
    alone = [u.utterance for u in scan(librispeech / "test-clean")]
    assert alone == ["16-1-0000", "17-5-0000"]
    assert [u.sex for u in scan(librispeech / "test-clean")] == ["m", ""]  # the list lies one folder up
    both = [librispeech / "test-clean", librispeech / "dev-clean"]
    assert [u.utterance for u in scan(both)][:2] == alone
    assert list(scan(both)) == list(scan(librispeech, subsets=["test-clean", "dev-clean"]))
    assert [u.utterance for u in scan(librispeech, subsets=["test-clean"])] == alone


def test_the_same_folder_twice_counts_once(librispeech: Path) -> None:
    assert len(list(scan([librispeech, librispeech / "." / "../LibriSpeech"]))) == 5


@pytest.mark.parametrize(
    "text",
    [
        "ann,audio/a b.wav\nbob,audio/c.wav\n",
        "\ufeffann,audio/a b.wav\nbob,audio/c.wav\n",
        ' ann , "audio/a b.wav" \r\n\r\n"bob",audio/c.wav\r\n',
        "speaker,path\nann,audio/a b.wav\nbob,audio/c.wav",
        "Path,comment,Speaker_ID\naudio/a b.wav,hm,ann\naudio/c.wav,,bob\n",
    ],
    ids=["plain", "bom", "quotes-spaces-crlf", "header", "more-columns"],
)
def test_csv(text: str, tmp_path: Path) -> None:
    listing = write(tmp_path / "lists" / "train.csv", text)
    expected = [("ann", "audio/a b", "audio/a b.wav"), ("bob", "audio/c", "audio/c.wav")]
    assert labelled(listing) == expected
    assert labelled(listing.parent) == expected  # the folder that holds it


def test_csv_paths_elsewhere(tmp_path: Path) -> None:
    listing = write(tmp_path / "l" / "a.csv", f"ann,../b/x.wav\nann,{tmp_path}/c/y.wav\n")
    assert [u.path for u in scan(listing)] == [str(tmp_path / "l/../b/x.wav"), str(tmp_path / "c/y.wav")]
    assert len({u.utterance for u in scan(listing)}) == 2


def test_csv_labels(tmp_path: Path) -> None:
    header = "speaker,path,utterance,start,duration,gender,age,language,session,channel"
    listing = write(
        tmp_path / "a.csv", f"{header}\nann,x.wav,first,1.5,2,Female,31,de,monday,1\nbob,x.wav,,,,,,,,\n"
    )
    path = str(tmp_path / "x.wav")
    assert list(scan(listing)) == [
        Utterance(
            "ann", "first", path, 1.5, 2.0, sex="f", age=31.0, language="de", session="monday", channel=1
        ),
        Utterance("bob", "x", path),
    ]


def test_kaldi(kaldi: Path) -> None:
    assert [(u.speaker, u.utterance, u.path) for u in scan(kaldi)] == [
        ("ann", "utt-a", str(kaldi / "audio/a one.wav")),
        ("ann", "utt-b", str(kaldi / "audio/b.wav")),
        ("bob", "utt-c", "/elsewhere/c.wav"),
    ]
    assert list(scan(kaldi / "wav.scp")) == list(scan(kaldi))


def test_kaldi_labels(kaldi: Path) -> None:
    write(kaldi / "spk2gender", "ann f\nbob M\n")
    write(kaldi / "spk2age", "ann\t31\n")
    write(kaldi / "spk2lang", "ann de\nbob fr\n")
    write(kaldi / "utt2lang", "utt-b nl\n")
    found = [(u.sex, u.age, u.language) for u in scan(kaldi)]
    assert found == [("f", 31.0, "de"), ("f", 31.0, "nl"), ("m", None, "fr")]


def test_kaldi_segments(kaldi: Path) -> None:
    write(kaldi / "segments", "s1 utt-a 0.5 2.25\ns2 utt-a 3 -1\n")
    write(kaldi / "utt2spk", "s1 ann\ns2 bob\n")
    path = str(kaldi / "audio/a one.wav")
    assert list(scan(kaldi)) == [
        Utterance("ann", "s1", path, 0.5, 1.75),
        Utterance("bob", "s2", path, 3.0, None),
    ]


def test_speechocean_as_openslr_has_it(tmp_path: Path) -> None:
    """Tables have tabs, and recordings lie beside the lists: WAVE/SPEAKER0001/000010011.WAV."""
    root = touch(
        tmp_path / "speechocean762", "WAVE/SPEAKER0001/000010011.WAV", "WAVE/SPEAKER0003/000030012.WAV"
    )
    for part, speaker, utterance in (("train", "0001", "000010011"), ("test", "0003", "000030012")):
        write(root / part / "wav.scp", f"{utterance}\tWAVE/SPEAKER{speaker}/{utterance}.WAV\n")
        write(root / part / "utt2spk", f"{utterance}\t{speaker}\n")
        write(root / part / "spk2utt", f"{speaker}\t{utterance}\n")
        write(root / part / "spk2gender", f"{speaker}\tm\n")
        write(root / part / "spk2age", f"{speaker}\t6\n")
        write(root / part / "text", f"{utterance}\tWE CALL IT BEAR\n")
    path = str(root / "WAVE/SPEAKER0001/000010011.WAV")
    assert list(scan(root / "train")) == [Utterance("0001", "000010011", path, sex="m", age=6.0)]
    assert [u.speaker for u in scan(root, subsets=["test"])] == ["0003"]
    with pytest.raises(UnknownLayout, match=r"test \(kaldi\), train \(kaldi\)"):
        scan(root)


def test_kaldi_recordings_in_the_folder_itself_come_first(kaldi: Path) -> None:
    touch(kaldi.parent, "audio/a one.wav", "audio/b.wav")
    assert next(iter(scan(kaldi))).path == str(kaldi / "audio/a one.wav")
    (kaldi / "audio/a one.wav").unlink()
    assert next(iter(scan(kaldi))).path == str(kaldi.parent / "audio/a one.wav")
    (kaldi.parent / "audio/a one.wav").unlink()  # a recording that is nowhere is missing where it should be
    assert next(iter(scan(kaldi))).path == str(kaldi / "audio/a one.wav")


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """Speech Commands as it is unpacked: words, noise, and lists of two of the three parts."""
    root = touch(
        tmp_path / "speech_commands_v0.02", "_background_noise_/running_tap.wav", "LICENSE", "README.md"
    )
    touch(root, "yes/00b01445_nohash_0.wav", "yes/00b01445_nohash_1.wav", "no/00f0204f_nohash_0.wav")
    touch(root, "no/0a2b400e_nohash_0.wav", "no/._0a2b400e_nohash_0.wav")
    write(root / "validation_list.txt", "no/0a2b400e_nohash_0.wav\n")
    write(root / "testing_list.txt", "no/00f0204f_nohash_0.wav\n")
    return root


def test_speech_commands(commands: Path) -> None:
    assert [(u.speaker, u.utterance, u.language) for u in scan(commands)] == [
        ("00f0204f", "no/00f0204f_nohash_0", "en"),
        ("0a2b400e", "no/0a2b400e_nohash_0", "en"),
        ("00b01445", "yes/00b01445_nohash_0", "en"),
        ("00b01445", "yes/00b01445_nohash_1", "en"),
    ]
    touch(commands.parent / "ar" / "dataset", "zoom in/00000001_NO_01.wav", "zoom in/00000030_NO_10.wav")
    arabic = [(u.speaker, u.utterance, u.language) for u in scan(commands.parent / "ar" / "dataset")]
    assert arabic == [
        ("00000001", "zoom in/00000001_NO_01", "ar"),
        ("00000030", "zoom in/00000030_NO_10", "ar"),
    ]


def test_the_parts_of_speech_commands(commands: Path) -> None:
    everything = set(scan(commands))
    test, valid = (set(scan(commands / f"{name}_list.txt")) for name in ("testing", "validation"))
    assert [u.utterance for u in test] == ["no/00f0204f_nohash_0"]
    write_training_list(commands)
    rest = set(scan(commands / "training_list.txt"))
    assert rest | test | valid == everything
    assert len(rest) == 2
    assert set(scan(commands, subsets=["testing_list.txt", "validation_list.txt"])) == test | valid
    (commands / "training_list.txt").write_text("own\n")
    write_training_list(commands)
    assert (commands / "training_list.txt").read_text() == "own\n"


@pytest.mark.parametrize(
    "line", ["yes/running.wav", "../00b01445_nohash_0.wav", "/00b01445_nohash_0.wav", "x"]
)
def test_bad_speech_commands(line: str, commands: Path) -> None:
    write(commands / "testing_list.txt", f"no/00f0204f_nohash_0.wav\n{line}\n")
    with pytest.raises(BadCorpusFile, match=r"testing_list\.txt, line 2: .*is not word/SPEAKER_nohash"):
        list(scan(commands / "testing_list.txt"))
    (commands / "validation_list.txt").unlink()
    with pytest.raises(BadCorpusFile, match=r"validation_list\.txt is not there"):
        write_training_list(commands)


def test_recordings_that_do_not_fit_are_counted(commands: Path) -> None:
    touch(commands, "yes/stray.wav", "yes/stray2.wav")
    stream = scan(commands)
    assert len(list(stream)) == 4
    assert stream.warnings == [
        f"{commands}: 2 recordings are not named as this layout names them and were passed over; the first: "
        f"{commands}/yes/stray.wav. Give another layout (--layout folders) if it is not this one."
    ]


@pytest.mark.parametrize("home", ["", "wav", "dev/aac"])
def test_voxceleb(home: str, tmp_path: Path) -> None:
    root = tmp_path / "vox"
    touch(root / home, "id00012/_raOc/00110.m4a", "id00012/21Ux/00001.m4a", "id10001/zz/00001.wav")
    write(root / "vox2_meta.csv", "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n12 ,m ,dev \n")
    assert [(u.speaker, u.utterance, u.session, u.sex) for u in scan(root)] == [
        ("id00012", "id00012/21Ux/00001", "21Ux", "m"),
        ("id00012", "id00012/_raOc/00110", "_raOc", "m"),
        ("id10001", "id10001/zz/00001", "zz", ""),
    ]


def test_folders(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "bob/1.WAV",
        "ann/monday/early/2.flac",
        "ann/1.mp3",
        "ann/notes.txt",
        "ann/._1.mp3",
        "top.wav",
    )
    assert [(u.speaker, u.utterance, u.session) for u in scan(tmp_path)] == [
        ("ann", "ann/1", ""),
        ("ann", "ann/monday/early/2", "monday/early"),
        ("bob", "bob/1", ""),
    ]


def test_roots_of_published_corpora(tmp_path: Path) -> None:
    """What a user who downloads one has: speaker, utterance, sex, age, language, session as published."""
    for layout in TREES:
        example(layout, tmp_path / layout)
    write(
        tmp_path / "vctk/speaker-info.txt",
        "ID  AGE  GENDER  ACCENTS\n225  23  F    English\np226  22  M  English\n",
    )
    write(tmp_path / "aishell/resource_aishell/speaker.info", "0002 F\n0764 M\n")
    write(
        tmp_path / "libritts/speakers.tsv", "READER\tGENDER\tSUBSET\tNAME\n1\tF\tdev\tAnn\n2\tM\tdev\tBob\n"
    )
    found = {
        layout: [
            (u.speaker, u.utterance, u.sex, u.age, u.language, u.session) for u in scan(tmp_path / layout)
        ]
        for layout in TREES
    }
    assert found == {
        "libritts": [
            ("1", "1_1_000_0", "f", None, "en", "1"),
            ("1", "1_2_000_0", "f", None, "en", "2"),
            ("2", "2_1_000_0", "m", None, "en", "1"),
        ],
        "vctk": [
            ("p225", "p225_001", "f", 23.0, "en", ""),
            ("p225", "p225_002", "f", 23.0, "en", ""),
            ("p226", "p226_001", "m", 22.0, "en", ""),
        ],
        "aishell": [
            ("S0764", "BAC009S0764W0121", "m", None, "zh", ""),
            ("S0002", "BAC009S0002W0122", "f", None, "zh", ""),
            ("S0002", "BAC009S0002W0123", "f", None, "zh", ""),
        ],
        "timit": [
            ("MDAB0", "TEST/DR2/MDAB0/SA1", "m", None, "en", ""),
            ("FCJF0", "TRAIN/DR1/FCJF0/SA1", "f", None, "en", ""),
            ("FCJF0", "TRAIN/DR1/FCJF0/SX37", "f", None, "en", ""),
        ],
        "cn-celeb": [
            ("id00010", "data/id00010/singing-01-001", "", None, "zh", "singing-01"),
            ("id00010", "eval/enroll/id00010-enroll", "", None, "zh", "enroll"),
            ("id00800", "eval/test/id00800-live_broadcast-02-003", "", None, "zh", "live_broadcast-02"),
        ],
    }
    assert [u.speaker for u in scan(tmp_path / "timit" / "TEST")] == ["MDAB0"]
    assert len(list(scan(tmp_path / "timit" / "TRAIN" / "DR1", layout="folders"))) == 2


def test_common_voice_as_it_is(tmp_path: Path) -> None:
    folder = example("common-voice", tmp_path / "en")
    clips = folder / "clips"
    assert list(scan(folder)) == [
        Utterance("aaa", "a", str(clips / "a.mp3"), sex="m", age=25.0, language="en"),
        Utterance(
            "aaa", "b", str(clips / "b.mp3"), sex="m", age=None, language="en"
        ),  # teens: child or adult
        Utterance("bbb", "c", str(clips / "c.mp3"), sex="f", language="de"),
    ]
    assert list(scan(folder / "train.tsv")) == list(scan(folder))
    beside = write(tmp_path / "flat" / "validated.csv", COMMON_VOICE.replace('"', "").replace("\t", ","))
    assert [(u.sex, u.age) for u in scan(beside)] == [("m", 25.0), ("m", None), ("f", None)]


def clip(path: Path, seconds: float, rate: int = 8000) -> Path:
    import numpy as np
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * rate), np.float32), rate)
    return path


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("speaker,path,start,end\nann,call.wav,4.0,8\n", (4.0, 4.0)),
        ("speaker,path,start,stop\nann,call.wav,4,8\n", (4.0, 4.0)),
        ("speaker,path,start,stop\nann,call.wav,32000,64000\n", (4.0, 4.0)),
        ("ID,duration,wav,start,stop,spk_id\nu,16.0,call.wav,32000,64000,ann\n", (4.0, 4.0)),  # SpeechBrain
        ("ID,duration,wav,start,stop,spk_id\nu,16.0,$data_root/call.wav,32000,64000,ann\n", (4.0, 4.0)),
        ("uri,start,end,label\ncall,4.0,8.0,ann\n", (4.0, 4.0)),  # pyannote
        ("audio_filepath,offset,duration,label\ncall.wav,4.0,4.0,ann\n", (4.0, 4.0)),  # NeMo
        ("speaker,path,onset,offset\nann,call.wav,4.0,8.0\n", (4.0, 4.0)),
        ("speaker,path,start_ms,duration[ms]\nann,call.wav,4000,4000\n", (4.0, 4.0)),
        ("speaker,path,start_sample,end_sample\nann,call.wav,32000,64000\n", (4.0, 4.0)),
        ("speaker,path,start_s,end_s\nann,call.wav,4,8\n", (4.0, 4.0)),
        ("speaker,path,duration\nann,call.wav,64000\n", (0.0, 8.0)),
        ("speaker,path,start,end\nann,call.wav,4,\n", (4.0, None)),
        ("speaker,path,start,end\nann,call.wav,4,-1\n", (4.0, None)),
    ],
)
def test_times_in_a_list_are_read_for_what_they_are(
    text: str, piece: tuple[float, float | None], tmp_path: Path
) -> None:
    clip(tmp_path / "call.wav", 16)
    (found,) = scan(write(tmp_path / "list.csv", text))
    assert (found.start_s, found.duration_s, found.path) == (*piece, str(tmp_path / "call.wav"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("speaker,path,start,end\nann,call.wav,8,4\n", "line 2: it goes from 8 to 4 s"),
        (
            "speaker,path,start,end,duration\nann,call.wav,0,8,4\n",
            "line 2: from 0 to 8 s are 8 s, and the duration is 4",
        ),
        (
            "speaker,path,start,end_marker\nann,call.wav,0,8\n",
            "line 1: the column 'end_marker' seems to say a time",
        ),
        ("speaker,path,start,stop\nann,gone.wav,0,64000\n", "the column 'stop' may be seconds or samples"),
        ("talker,recording\nann,call.wav\n", "line 1: .* names no column of speakers"),
        ("speaker,path,num_frames\nann,call.wav,99\n", "the column 'num_frames' seems to say a time"),
        ("speaker,path,Path\nann,call.wav,b.wav\n", "line 1: the column 'path' is there twice"),
        ("speaker,path,age\nann,call.wav,old\n", "line 2: the age 'old' is not a number"),
    ],
)
def test_a_column_with_meaning_is_never_passed_over(text: str, what: str, tmp_path: Path) -> None:
    clip(tmp_path / "call.wav", 16)
    with pytest.raises(BadCorpusFile, match=what):
        list(scan(write(tmp_path / "list.csv", text)))


def test_columns_of_no_use_are_named_once(tmp_path: Path) -> None:
    stream = scan(write(tmp_path / "a.csv", "speaker,path,langauge,sentence\nann,x.wav,de,\nbob,y.wav,fr,\n"))
    assert [u.language for u in stream] == ["", ""]
    assert stream.warnings == [f"{tmp_path}/a.csv: columns that voxid does not read: langauge."]


def test_rows_of_several_splits_are_told(tmp_path: Path) -> None:
    stream = scan(write(tmp_path / "a.csv", "speaker,path,Split\nann,x.wav,train\nbob,y.wav,test\n"))
    assert len(list(stream)) == 2
    said = f"{tmp_path}/a.csv: rows of test, train are read as one corpus. Write a list for each."
    assert stream.warnings == [said]


def test_rows_without_a_name_are_named_by_their_piece(tmp_path: Path) -> None:
    rows = "1688,call0.wav,0,4.000,0\n1998,call0.wav,4.5,4.000,0\n1,call0.wav,0,4,1\n"
    text = f"speaker,path,start,duration,channel\n{rows}"
    found = [u.utterance for u in scan(write(tmp_path / "a.csv", text))]
    assert found == ["call0@0#0", "call0@4.5#0", "call0@0#1"]


def test_a_name_in_two_unicode_forms_is_one_speaker(tmp_path: Path) -> None:
    composed, decomposed = "M\u00fcller", "Mu\u0308ller"
    listing = write(tmp_path / "a.csv", f"{composed},x.wav\n{decomposed},{decomposed}.wav\n")
    first, second = scan(listing)
    assert first.speaker == second.speaker == composed
    assert (second.utterance, second.path) == (
        composed,
        str(tmp_path / f"{decomposed}.wav"),
    )  # as the disk has it
    write(tmp_path / "k/wav.scp", f"{composed}-1 x.wav\n")
    write(tmp_path / "k/utt2spk", f"{decomposed}-1 {decomposed}\n")
    write(tmp_path / "k/spk2gender", f"{decomposed} f\n")
    assert [(u.speaker, u.sex) for u in scan(tmp_path / "k")] == [(composed, "f")]
    write(tmp_path / "k/utt2spk", f"{composed}-1 ann\n{decomposed}-1 bob\n")
    with pytest.raises(BadCorpusFile, match=f"line 2: '{composed}-1' is there twice"):
        list(scan(tmp_path / "k"))


def test_a_file_name_that_is_not_utf8_has_a_name_that_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/ann/caf\xe9.wav")).touch()
    (found,) = scan(tmp_path, layout="folders")
    assert found.utterance == "ann/caf\\xe9"
    assert Path(found.path).exists()
    touch(tmp_path, "bob/a.wav")
    with pytest.raises(BadCorpusFile, match=r"caf\\xe9\.wav: a list cannot hold a name that is not UTF-8"):
        split(tmp_path, tmp_path / "lists", hold_out=0.5, layout="folders")


def test_kaldi_sides_of_a_call(kaldi: Path) -> None:
    write(kaldi / "wav.scp", "sw1-A audio/sw1.wav\nsw1-B audio/sw1.wav\nsw2-B audio/sw2-B.wav\n")
    write(kaldi / "utt2spk", "sw1-A ann\nsw1-B bob\nsw2-B cid\n")
    write(kaldi / "reco2file_and_channel", "sw1-A sw1 A\nsw1-B sw1 B\nsw2-B sw2 B\n")
    write(kaldi / "utt2session", "sw1-A monday\n")
    found = [(u.channel, u.session) for u in scan(kaldi)]
    assert found == [(0, "monday"), (1, ""), (None, "")]  # sw2-B.wav is one side already


def test_parts_of_a_corpus_are_not_taken_for_speakers(tmp_path: Path) -> None:
    for name in ("splits/train", "splits/test", "regions/DR1", "regions/DR2", "wavs/wav"):
        touch(tmp_path, f"{name}/ann/1.wav", f"{name}/bob/2.wav")
    for name in ("splits", "regions", "wavs"):
        with pytest.raises(UnknownLayout, match="are named like parts of a corpus"):
            scan(tmp_path / name)
    insisting = scan(tmp_path / "splits", layout="folders")
    assert [u.speaker for u in insisting] == ["test", "test", "train", "train"]
    assert "(test, train) are named like parts" in insisting.warnings[0]


def test_many_folders_below_each_speaker_are_told(tmp_path: Path) -> None:
    for group in ("north", "south"):
        touch(tmp_path, *(f"groups/{group}/{group}{i}/a.wav" for i in range(6)))
        touch(tmp_path, *(f"people/{group}/day{i}/a.wav" for i in range(6)))
    groups, people = scan(tmp_path / "groups"), scan(tmp_path / "people")
    assert len(list(groups)) == len(list(people)) == 12
    assert "2 folders (north, south) holds 5 or more folders with recordings (north0" in groups.warnings[0]
    assert people.warnings == []  # the same days for everybody: sessions


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.wav", "corpus/bob/1.wav")
    (tmp_path / "corpus/ann").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "elsewhere")
    assert [u.utterance for u in scan(tmp_path / "corpus")] == ["ann/1", "bob/1"]


# -- docs/corpora.md -----------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[1] / "docs/corpora.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without their backticks."""
    text = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_every_layout_is_in_the_docs_with_an_example(tmp_path: Path) -> None:
    rows = {row[0].strip("`"): [cell.strip("`") for cell in row[1:]] for row in rows_of("Layouts")}
    assert sorted(rows) == LAYOUTS.names()
    for layout, (example, *labels) in rows.items():
        if layout in ("kaldi", "csv", "common-voice"):
            continue
        (found,) = scan(touch(tmp_path / layout / "corpus", example))
        assert detect(tmp_path / layout / "corpus") == layout
        assert [found.speaker, found.session, found.language] == labels


@pytest.mark.parametrize("row", rows_of("Lists"), ids=lambda row: row[0])
def test_every_column_is_in_the_docs_with_an_example(row: list[str], tmp_path: Path) -> None:
    clip(tmp_path / "call.wav", 16)
    (found,) = scan(write(tmp_path / "list.csv", row[2].replace("`", "").replace(" / ", "\n")))
    for field in row[3].strip("`").split():
        name, _, value = field.partition("=")
        got = getattr(found, name)
        assert got == (None if value == "None" else type(got)(value))


# -- the contract of every layout --------------------------------------------------------------------------


TREES = {
    "libritts": ("dev/1/1/1_1_000_0.wav", "dev/1/2/1_2_000_0.wav", "dev/2/1/2_1_000_0.wav"),
    "vctk": ("wav48/p225/p225_001.wav", "wav48/p225/p225_002.wav", "wav48/p226/p226_001.wav"),
    "aishell": (
        "wav/train/S0002/BAC009S0002W0122.wav",
        "wav/train/S0002/BAC009S0002W0123.wav",
        "wav/test/S0764/BAC009S0764W0121.wav",
    ),
    "timit": ("TRAIN/DR1/FCJF0/SA1.WAV", "TRAIN/DR1/FCJF0/SX37.WAV", "TEST/DR2/MDAB0/SA1.WAV"),
    "cn-celeb": (
        "data/id00010/singing-01-001.flac",
        "eval/enroll/id00010-enroll.flac",
        "eval/test/id00800-live_broadcast-02-003.flac",
    ),
}
COMMON_VOICE = """client_id\tpath\tsentence\tup_votes\tage\tgender\taccents\tlocale
aaa\ta.mp3\tShe said "no.\t2\ttwenties\tmale_masculine\t\ten
aaa\tb.mp3\t\t2\tteens\tmale\tx\ten
bbb\tc.mp3\t\t2\t\tfemale_feminine\t\tde
"""


def example(layout: str, folder: Path) -> Path:
    """Make a small corpus of three utterances of two speakers in `layout`."""
    if layout == "librispeech":
        return touch(folder, "dev/1/1/1-1-0000.flac", "dev/1/2/1-2-0000.flac", "dev/2/1/2-1-0000.flac")
    if layout in TREES:
        return touch(folder, *TREES[layout])
    if layout == "common-voice":
        touch(folder, "clips/a.mp3", "clips/b.mp3", "clips/c.mp3")
        write(folder / "validated.tsv", COMMON_VOICE)
        write(folder / "train.tsv", COMMON_VOICE)
        return folder
    if layout == "voxceleb":
        return touch(folder, "id10001/a/1.wav", "id10001/b/1.wav", "id10002/a/1.wav")
    if layout == "speech-commands":
        names = ("yes/00b01445_nohash_0.wav", "no/00b01445_nohash_0.wav", "no/00f0204f_nohash_1.wav")
        return touch(folder, *names, "_background_noise_/tap.wav")
    names = ("ann/1.wav", "ann/2.wav", "bob/1.wav")
    touch(folder, *(f"sound/{name}" for name in names))
    if layout == "csv":
        write(folder / "all.csv", "".join(f"{name[:3]},sound/{name}\n" for name in names))
    elif layout == "kaldi":
        write(folder / "wav.scp", "".join(f"u{i} sound/{name}\n" for i, name in enumerate(names)))
        write(folder / "utt2spk", "u0 ann\nu1 ann\nu2 bob\n")
    else:
        return folder / "sound"
    return folder


@pytest.mark.parametrize("layout", LAYOUTS.names())
def test_every_layout_keeps_the_contract(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = example(layout, tmp_path / "corpus")
    assert detect(path) == layout
    found = list(scan(path))
    assert found == list(scan(path, layout=layout))
    assert len(found) == len({u.utterance for u in found}) == 3
    assert sorted(sum(u.speaker == name for u in found) for name in {u.speaker for u in found}) == [1, 2]
    assert all(Path(u.path).is_absolute() and Path(u.path).is_file() for u in found)
    monkeypatch.chdir(path)
    assert list(scan(".")) == found
    assert scan(path).count() == 3


def test_every_layout_is_tried() -> None:
    assert sorted(DETECTION_ORDER) == LAYOUTS.names()


def test_a_scan_is_lazy(tmp_path: Path) -> None:
    touch(tmp_path, "ann/1.wav", "ann/2.wav")
    stream = scan(tmp_path)
    assert next(stream).utterance == "ann/1"
    assert stream.count() == 2
    assert [u.utterance for u in stream] == ["ann/2"]
    assert stream.sources == [str(tmp_path)]


def test_speakers_of_one_name_in_two_corpora_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "one/0001/a.wav", "one/0002/b.wav", "two/0001/c.wav", "two/0003/d.wav")
    stream = scan([tmp_path / "one", tmp_path / "two"])
    assert len(list(stream)) == 4
    (warning,) = stream.warnings
    assert warning.startswith(f"speakers named alike in {tmp_path}/one and {tmp_path}/two: 1 (0001).")
    apart = scan([tmp_path / "one"])
    assert list(apart)
    assert apart.warnings == []


def test_corpora_in_folders_of_one_name_are_named_by_what_differs(tmp_path: Path) -> None:
    for name in ("a/train", "b/train", "c/lists", "d/lists"):
        write(tmp_path / name / "all.csv", "ann,x.wav\nbob,y.wav\n")
    folders = [tmp_path / name for name in ("a/train", "b/train", "c/lists", "d/lists")]
    assert [u.speaker for u in scan(folders)][::2] == ["a/ann", "b/ann", "c/lists/ann", "d/lists/ann"]
    touch(tmp_path, "x/L/dev/1/1/1-1-0000.flac", "y/L/dev/1/2/1-2-0000.flac")
    found = [u.speaker for u in scan([tmp_path / "x/L/dev", tmp_path / "y/L/dev", tmp_path / "a/train"])]
    assert found == ["L/1", "L/1", "a/ann", "a/bob"]  # a reader of LibriSpeech is one person in every copy


# -- what is refused ---------------------------------------------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CorpusNotFound, match="nowhere"):
        scan(tmp_path / "nowhere")
    with pytest.raises(CorpusNotFound, match="no corpus given"):
        scan([])


def test_no_layout_fits(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", "top.wav")
    with pytest.raises(UnknownLayout, match="librispeech"):
        scan(tmp_path)
    with pytest.raises(UnknownLayout):
        scan(tmp_path / "notes.txt")
    with pytest.raises(UnknownComponent, match="Did you mean 'kaldi'"):
        scan(tmp_path, layout="kaldy")


@pytest.mark.parametrize("layout", LAYOUTS.names())
def test_a_corpus_without_recordings(layout: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty/wav.scp", "") if layout == "kaldi" else None
    write(tmp_path / "empty/utt2spk", "") if layout == "kaldi" else None
    with pytest.raises(EmptyCorpus):
        list(scan(tmp_path / "empty", layout=layout))


def test_a_folder_of_corpora_is_not_a_corpus_of_speakers(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        example("kaldi", tmp_path / name)
    with pytest.raises(UnknownLayout, match=r"dev \(kaldi\), train \(kaldi\)"):
        scan(tmp_path)
    assert len(list(scan(tmp_path, subsets=["dev"]))) == 3


def test_a_subset_that_is_not_there(librispeech: Path) -> None:
    with pytest.raises(CorpusNotFound, match="Did you mean 'dev-clean'"):
        scan(librispeech, subsets=["dev-claen"])


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("ann,a.wav\njust-one-column\n", 2, "1 column"),
        ("ann\nbob\n", 1, "1 column"),
        ("ann;a.wav\n", 1, "commas"),
        ("ann,a.wav\n\nbob,b.wav,c\n", 3, "3 columns"),
        ("ann,a.wav\n,b.wav\n", 2, "speaker is empty"),
        ("ann,a.wav\nbob,\n", 2, "path is empty"),
        ('ann,a.wav\nbob,"b.wav\n', 2, "not closed"),
        ("ann,a.wav\nbob,b\0.wav\n", 2, "NUL"),
        ("speaker,path,start\nann,a.wav,soon\n", 2, "not a number"),
        ("speaker,path,channel\nann,a.wav,left\n", 2, "'left' is not a whole number"),
        ("ann,a.wav\nb\xf6b,b.wav\n".encode("latin-1"), 2, "UTF-8"),
        ("ann,a.wav\n".encode("utf-16"), 1, "UTF-8"),
    ],
)
def test_bad_csv(text: str | bytes, line: int, what: str, tmp_path: Path) -> None:
    listing = write(tmp_path / "bad.csv", text)
    with pytest.raises(BadCorpusFile, match=rf"bad\.csv, line {line}: .*{what}"):
        list(scan(listing))


def test_two_lists_in_one_folder(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv"):
        write(tmp_path / name, "ann,a.wav\n")
    with pytest.raises(UnknownLayout, match=r"test\.csv, train\.csv"):
        list(scan(tmp_path))
    write(tmp_path / "test.csv", "a table of,something else,entirely\n")
    assert len(list(scan(tmp_path))) == 1


@pytest.mark.parametrize(
    ("name", "text", "line", "what"),
    [
        ("wav.scp", "utt-a sox in.wav -t wav - |\nutt-b x\nutt-c x\n", 1, "never runs commands"),
        ("wav.scp", "utt-a x\nutt-b | cat x\nutt-c x\n", 2, "never runs commands"),
        ("wav.scp", "utt-a x\nutt-b raw.ark:123\nutt-c x\n", 2, "not an audio file"),
        ("wav.scp", "utt-a x\nutt-b\nutt-c x\n", 2, "has no path"),
        ("wav.scp", "utt-a x\nutt-b x\nutt-a y\nutt-c x\n", 3, "there twice"),
        ("wav.scp", "utt-a x\nutt-b x\nutt-c z\nutt-d x\n", 4, "'utt-d' has no line in"),
        ("utt2spk", "utt-a ann\nutt-b ann\nutt-c bob\nutt-x bob\n", 4, "'utt-x' is not in"),
        ("utt2spk", "utt-a ann\nutt-b\nutt-c bob\n", 2, "one column"),
        ("utt2spk", "utt-a ann\nutt-a bob\nutt-b ann\nutt-c bob\n", 2, "there twice"),
        ("spk2gender", "ann f\nbob\n", 2, "one column"),
        ("segments", "s1 utt-a 0.5\n", 1, "3 columns"),
        ("segments", "s1 utt-a 0 1\ns2 utt-a one two\n", 2, "not a number"),
        ("segments", "s1 utt-z 0 1\n", 1, "recording 'utt-z' is not in"),
        ("segments", "s1 utt-a 2 1\n", 1, "from 2 to 1 s"),
        ("segments", "s1 utt-a -1 1\n", 1, "from -1 to 1 s"),
        ("segments", "s1 utt-a 0 1\ns1 utt-a 1 2\n", 2, "there twice"),
    ],
)
def test_bad_kaldi(name: str, text: str, line: int, what: str, kaldi: Path) -> None:
    if name == "segments":
        write(kaldi / "utt2spk", "s1 ann\ns2 ann\n")
    write(kaldi / name, text)
    with pytest.raises(BadCorpusFile, match=rf"{name}, line {line}: .*{what}"):
        list(scan(kaldi))


def test_a_command_in_a_list_is_not_run(kaldi: Path, tmp_path: Path) -> None:
    write(kaldi / "wav.scp", f"utt-a touch {tmp_path}/ran |\n")
    with pytest.raises(BadCorpusFile):
        list(scan(kaldi))
    assert not (tmp_path / "ran").exists()


def test_kaldi_without_speakers(kaldi: Path) -> None:
    (kaldi / "utt2spk").unlink()
    with pytest.raises(BadCorpusFile, match="utt2spk is not"):
        list(scan(kaldi))


def test_bad_age(kaldi: Path) -> None:
    write(kaldi / "spk2age", "ann old\n")
    with pytest.raises(BadCorpusFile, match="'old'"):
        list(scan(kaldi))


def test_bad_speakers_txt(librispeech: Path) -> None:
    write(librispeech / "SPEAKERS.TXT", "; ID\n14 | F | dev-clean | 25 | K\n16\n")
    with pytest.raises(BadCorpusFile, match=r"SPEAKERS\.TXT, line 3: '16' has 1 fields"):
        list(scan(librispeech))


# -- real corpora ------------------------------------------------------------------------------------------


def columns_of(folder: Path) -> dict[str, tuple[str, str, str, float | None, str]]:
    """Return what utterances.csv of a shared corpus says, read with nothing of ours."""
    with (folder / "utterances.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["utterance"]: (
                row["speaker"],
                row["session"],
                row["language"],
                float(row["age"]) if row["age"] else None,
                row["sex"],
            )
            for row in csv.DictReader(file)
        }


@pytest.mark.real
def test_every_shared_corpus_has_the_labels_its_columns_say(real_data: Path) -> None:
    folders = [listing.parent for listing in sorted(real_data.glob("*/*/utterances.csv"))]
    for folder in folders:
        found = list(scan(folder))
        expected = columns_of(folder)
        assert {u.utterance: (u.speaker, u.session, u.language, u.age, u.sex) for u in found} == expected
        assert all(Path(u.path).is_file() for u in found[::20])
    for folder, layout in (("speech-commands", "csv"), ("speechocean762/train", "kaldi")):
        assert detect(real_data / folder) == layout
        assert all(Path(u.path).is_file() for u in list(scan(real_data / folder))[::50])


@pytest.mark.real
def test_a_reader_in_two_subsets_is_one_person(real_data: Path) -> None:
    root = real_data / "LibriSpeech"
    mini, more = root / "train-clean-100-mini", root / "train-clean-100-more"
    alone = {u.speaker for u in scan(mini)}
    both = scan([mini, more])
    found = list(both)
    assert {u.speaker for u in found} == alone
    assert len({(u.speaker, u.session) for u in found}) > len(alone)
    [said] = both.warnings  # pieces of the one and chapters of the other have five names in common
    assert "5 utterances have a name that another corpus has too" in said
    assert len({u.utterance for u in found}) == len(found)
    with pytest.raises(UnknownLayout, match="LibriSpeech"):
        scan(real_data)


def test_a_row_that_is_there_twice_is_one_row_and_told(tmp_path: Path) -> None:
    rows = ["utterance,speaker,path", "a1,ann,a1.wav", "a2,ann,a2.wav", "a1,ann,a1.wav"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    found = scan(tmp_path / "list.csv")
    assert [said.utterance for said in found] == ["a1", "a2"]
    assert found.warnings == ["1 rows are there twice and count once (a1)."]


def test_one_recording_of_two_speakers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("utterance,speaker,path\na1,ann,a1.wav\nb1,bob,a1.wav\n")
    with pytest.raises(BadCorpusFile, match=r"a1\.wav is listed for two speakers, 'ann' and 'bob'"):
        list(scan(tmp_path / "list.csv"))


def test_subsets_with_utterances_of_one_name(tmp_path: Path) -> None:
    """train-clean-100-more and -mini are pieces of one corpus that were numbered one by one."""
    for subset in ("more", "mini"):
        place = tmp_path / subset / "19" / "198"
        place.mkdir(parents=True)
        for number in range(1 + (subset == "mini")):
            (place / f"19-198-000{number}.flac").touch()
    found = scan([tmp_path / "more", tmp_path / "mini"], layout="librispeech")
    assert [(said.utterance, said.speaker) for said in found] == [
        ("19-198-0000", "19"),
        ("mini/19-198-0000", "19"),
        ("19-198-0001", "19"),
    ]
    assert found.warnings == [
        "1 utterances have a name that another corpus has too; their folder's was added (mini/19-198-0000)."
    ]
