"""Archives as the homes of published corpora pack them, with few recordings, and what is read in them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import soundfile

from voxid.corpora.catalog import Corpus
from voxid.corpora.lists import Listing


def make_tar(members: Mapping[str, bytes | tarfile.TarInfo], commit: str = "") -> bytes:
    buffer = io.BytesIO()
    said = {"comment": commit} if commit else None  # as `git archive` says it
    with tarfile.open(fileobj=buffer, mode="w:gz", pax_headers=said) as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                info.mode = 0o4777  # set-uid, writable by all: must not survive
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_zip(members: Mapping[str, bytes], mode: int = 0o100777) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o040777 if name.endswith("/") else mode) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


WAVE = bytes(range(256)) * 40


def call(number: str, name: str, *utterances: str, phone: str = "cellphone") -> list[dict[str, str]]:
    """What data.json of WUW Corpus II says of a call; every recording has samples of its own."""
    entries = []
    for utterance in ("000", *utterances):
        file = f"WUWII{number}_{utterance}.ulaw"
        entries.append(
            {
                "gender": "female",
                "dialect": "native" if phone == "cellphone" else "nonNative",
                "phonetype": phone,
                "sessionNumber": number,
                "utteranceNumber": utterance,
                "filePath": f"calls/{number}/{file}",
                "checksum": hashlib.md5(WAVE + file.encode()).hexdigest(),
                "transcription": name if utterance == "000" else "Operator",
            }
        )
    return entries


CALLS = [
    *call("00000", "{smack} Ann ^Zimmer", "001", "006"),
    *call("00001", "(( ))", "006"),
    *call("00002", "((Bea)) Young [static]", "006"),
    *call("00003", "Ann Zimmer", "010", phone="landlinephone"),
]
USER = "2dEDqqeI3PZx0m2D9EBHUn7noTM2"


def tsv(*rows: dict[str, str]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in (rows[0], *(row.values() for row in rows))).encode()


def clip(speaker: str, language: str, number: int) -> dict[str, str]:
    return {
        "client_id": speaker * 64,
        "path": f"common_voice_{language}_{number}.mp3",
        "sentence": 'an "open quote',
        "age": "twenties",
        "gender": "male_masculine",
        "locale": language,
    }


PACKED: dict[str, dict[str, bytes]] = {
    "speechocean762": {
        "speechocean762/WAVE/SPEAKER0001/000010011.WAV": b"wave",
        "speechocean762/train/wav.scp": b"000010011\tWAVE/SPEAKER0001/000010011.WAV\n",
        "speechocean762/train/utt2spk": b"000010011\t0001\n",
    },
    "speech-commands": {
        "./yes/00b01445_nohash_0.wav": b"wave",
        "./no/00f0204f_nohash_0.wav": b"wave",
        "./_background_noise_/running_tap.wav": b"noise",
        "./validation_list.txt": b"",
        "./testing_list.txt": b"no/00f0204f_nohash_0.wav\n",
    },
    "arabic-speech-commands": {
        "arabic-speech-commands-dataset-1.0/dataset/zoom in/00000001_NO_01.wav": b"wave",
        "arabic-speech-commands-dataset-1.0/LICENSE": b"CC BY 4.0",
    },
    "wuw2": {
        "wuw-corpus-ii-edd16fe0/data.json": json.dumps({"entries": CALLS}).encode(),
        "wuw-corpus-ii-edd16fe0/calls/00000/WUWII00000_006.mfcc": b"features",
        **{
            f"wuw-corpus-ii-edd16fe0/{said['filePath']}": WAVE + Path(said["filePath"]).name.encode()
            for said in CALLS
        },
    },
    "msc-malayalam": {
        "msc-8fb543a/speech.tsv": tsv(
            {"id": "a", "user": USER, "fileName": "audio/a-1.webm", "time": "1573228579118", "vote": "10"},
            {"id": "b", "user": USER, "fileName": "audio/b-2.webm", "time": "default", "vote": "-1"},
            {"id": "c", "user": USER, "fileName": "audio/gone.webm", "time": "1573228579118", "vote": "1"},
        ),
        "msc-8fb543a/users.tsv": b"id\tname\n",
        "msc-8fb543a/audio/a-1.webm": b"webm",
        "msc-8fb543a/audio/b-2.webm": b"webm",
    },
    "alphanum": {
        "set/metadata.csv": b"Response_ID,file_name,Age,Gender,Native Language,Recording Machine,Name\n"
        b'R_1,audio_data/Names/R_1.m4a,24.0,Female,Marathi,Phone Recorder,"1, Elm"\n'
        b"R_7H8pYLcVGrTM7g5,audio_data/Names/R_7H8pYLcVGrTM7g5.wav,,Prefer not to say,Urdu,Laptop,2 Elm\n"
        b"R_7Vlj2RdVyGOM7Yz,audio_data/Names/R_7Vlj2RdVyGOM7Yz.wav,25,Female,Urdu,Laptop,2 Elm\n",
        "set/metadata_v1.csv": b"Response_ID,file_name\n",
        "set/audio_data/Names/R_1.wav": b"wave",
        "set/audio_data/Names/R_7H8pYLcVGrTM7g5.wav": b"wave",
        "set/audio_data/Names/R_7Vlj2RdVyGOM7Yz.wav": b"wave",
    },
    "dspspeech20": {
        "DSPSpeech-20-8165959/speech_data/16307110258/16307110258-00-02.wav": b"wave",
        "DSPSpeech-20-8165959/speech_data/16307130001/16307130001-00-02.wav": b"wave",
    },
    "common-voice-sample": {
        "rsample/ab/validated.tsv": tsv(clip("a", "ab", 1)),
        "rsample/ab/clips/common_voice_ab_1.mp3": b"mp3",
        "rsample/br/validated.tsv": tsv(clip("b", "br", 2), clip("b", "br", 3)),
        "rsample/br/clips/common_voice_br_2.mp3": b"mp3",
        "rsample/br/clips/common_voice_br_3.mp3": b"mp3",
        "rsample/ca/validated.tsv": tsv(clip("c", "ca", 4)),
        "rsample/ca/clips/common_voice_ca_4.mp3": b"mp3",
    },
    "common-voice-uz": {
        "transcription_training/other.tsv": tsv(clip("d", "uz", 5), clip("e", "uz", 6), clip("f", "uz", 7)),
        "transcription_training/dataset/audios/common_voice_uz_5.mp3": b"mp3",
        "transcription_training/dataset/audios_2/common_voice_uz_6.mp3": b"mp3",
    },
    "common-voice-vi": {
        "SPEECH-MFA/data/other.tsv": tsv(clip("g", "vi", 8)),
        "SPEECH-MFA/data/clips/common_voice_vi_8.mp3": b"mp3",
        "SPEECH-MFA/data/clips/common_voice_vi_8.txt": b"text",
    },
    "common-voice-tw": {
        "audio-for-Twi-TTS/validated.tsv": tsv(clip("h", "tw", 9)),
        "audio-for-Twi-TTS/train.tsv": tsv(clip("h", "tw", 9)),
        "audio-for-Twi-TTS/other.tsv": tsv(clip("h", "tw", 10)),
        "audio-for-Twi-TTS/clips/common_voice_tw_9.mp3": b"mp3",
        "audio-for-Twi-TTS/clips/common_voice_tw_10.mp3": b"mp3",
    },
    "aishell-sample": {
        "kaldi-asr/AISHELL_Sample_data/BAC009S0150W0011.wav": b"wave",
        "kaldi-asr/AISHELL_Sample_data/BAC009S0150W0011.txt": b"text",
        "kaldi-asr/AISHELL_Sample_data/BAC009S0252W0129.wav": b"wave",
    },
    "emodb": {"wav/03a01Fa.wav": b"wave", "wav/16b10Wb.wav": b"wave", "labsilb/03a01Fa.lab": b"label"},
    "asterisk-prompts": {"./vm-intro.wav": b"wave", "./digits/1.wav": b"wave", "./LICENSE": b"CC BY-SA"},
    "musan": {"musan/noise/free-sound/noise-free-sound-0000.wav": b"noise"},
}
ANN, DAY = "s000 f - en-US 00000-cellphone", 1573228579118 // (24 * 3600 * 1000)
LISTED = {  # speaker, sex, age, language and session of each recording, "-" where nothing is said
    "speechocean762": ["0001 - - - -"],
    "speech-commands": ["00f0204f - - en -", "00b01445 - - en -"],
    "arabic-speech-commands": ["00000001 - - ar -"],
    "wuw2": [ANN, ANN, "s000 f - en-nonnative 00003-landlinephone", "s001 f - en-US 00002-cellphone"],
    "msc-malayalam": [f"{hashlib.sha1(USER.encode()).hexdigest()[:12]} - - ml {day}" for day in (DAY, "-")],
    "alphanum": [
        "R_1 f 24.0 en-Marathi R_1-Phone_Recorder",
        "R_7Vlj2RdVyGOM7Yz - - en-Urdu R_7H8pYLcVGrTM7g5-Laptop",
        "R_7Vlj2RdVyGOM7Yz f 25.0 en-Urdu R_7Vlj2RdVyGOM7Yz-Laptop",
    ],
    "dspspeech20": ["16307110258 - - zh -", "16307130001 - - zh -"],
    "common-voice-sample": [f"{'b' * 32} m 25.0 br -"] * 2 + [f"{'c' * 32} m 25.0 ca -"],
    "common-voice-uz": [f"{'d' * 32} m 25.0 uz -", f"{'e' * 32} m 25.0 uz -"],
    "common-voice-vi": [f"{'g' * 32} m 25.0 vi -"],
    "common-voice-tw": [f"{'h' * 32} m 25.0 tw -"] * 2,
    "aishell-sample": ["S0150 - - zh -", "S0252 - - zh -"],
    "emodb": ["03 m - de -", "16 f - de -"],
    "asterisk-prompts": ["allison - - - en/digits", "allison - - - en"],
}


def world(wave: Callable[[str, int, int], bytes], people: int = 10) -> dict[str, bytes]:
    """Archives of all that voxid-base learned from, by file name.

    `wave(corpus, person, take)` is a recording. Every person has three, in LibriSpeech of two sessions, in
    WUW Corpus II and the Malayalam Speech Corpus of three.
    """
    takes = [(person, take) for person in range(people) for take in range(3)]

    def named(name: str, pattern: str) -> dict[str, bytes]:
        return {pattern.format(p=person, t=take): wave(name, person, take) for person, take in takes}

    def clips(language: str, folder: str) -> dict[str, bytes]:
        rows = [clip(f"{person:x}", language, 10 * person + take) for person, take in takes]
        found = {
            f"top/{folder}clips/{row['path']}": wave(language, person, take)
            for row, (person, take) in zip(rows, takes, strict=True)
        }
        return {f"top/{folder}validated.tsv": tsv(*rows), **found}

    def ulaw(person: int, take: int) -> bytes:
        samples, rate = soundfile.read(io.BytesIO(wave("wuw2", person, take)), dtype="int16")
        content = io.BytesIO()
        soundfile.write(content, samples, rate, format="RAW", subtype="ULAW")
        return content.getvalue()

    calls = {
        f"top/calls/{person}{take}/WUWII{person}{take}_{utterance}.ulaw": (
            ulaw(person, take) if utterance == "006" else WAVE
        )
        for person, take in takes
        for utterance in ("000", "006")
    }
    entries = [
        {
            **dict(zip(("gender", "dialect", "phonetype"), ("male", "native", "cellphone"), strict=True)),
            "sessionNumber": path.split("/")[2],
            "utteranceNumber": path[-8:-5],
            "filePath": path.partition("/")[2],
            "checksum": hashlib.md5(content).hexdigest(),
            "transcription": f"Ann {'ABCDEFGHIJ'[int(path.split('/')[2][:-1])]}",
        }
        for path, content in calls.items()
    ]
    tables = {"wav.scp": "{p}-{t}\tWAVE/{p}-{t}.WAV\n", "utt2spk": "{p}-{t}\t{p}\n"}
    answers = "".join(
        f"R_{person},audio_data/{take}/R_{person}.m4a,2{person},Male,Hindi,Laptop\n" for person, take in takes
    )
    said = [{"user": f"{p}", "fileName": f"audio/{p}-{t}.webm", "time": f"{t}5732285791"} for p, t in takes]
    noise = {"./_background_noise_/tap.wav": wave("noise", 0, 0)}
    lists = {"./validation_list.txt": b"", "./testing_list.txt": b""}
    rooms = {
        f"RIRS_NOISES/{kind}/a.wav": wave(kind, 0, 0) for kind in ("simulated_rirs", "pointsource_noises")
    }
    chapters = {
        f"LibriSpeech/train-clean-100/{p}/{t % 2}/{p}-{t % 2}-{t}.flac": wave("libri", p, t) for p, t in takes
    }
    by_file: dict[str, dict[str, bytes]] = {
        "train-clean-100.tar.gz": chapters,
        "speechocean762.tar.gz": {
            **named("ocean", "speechocean762/WAVE/{p}-{t}.WAV"),
            **{
                f"speechocean762/train/{table}": "".join(
                    line.format(p=person, t=take) for person, take in takes
                ).encode()
                for table, line in tables.items()
            },
        },
        "speech_commands_v0.02.tar.gz": named("words", "./yes/{p:08x}_nohash_{t}.wav") | noise | lists,
        "arabic-speech-commands-v1.0.tar.gz": named("arabic", "top/dataset/up/{p:08d}_NO_{t}.wav"),
        "common-voice-sample.tar.gz": clips("br", "br/"),
        **{f"common-voice-{language}.tar.gz": clips(language, "") for language in ("uz", "vi", "tw")},
        "wuw2.tar.gz": {"top/data.json": json.dumps({"entries": entries}).encode(), **calls},
        "msc-malayalam.tar.gz": named("msc", "top/audio/{p}-{t}.webm") | {"top/speech.tsv": tsv(*said)},
        "alphanum.tar.gz": {
            **named("alphanum", "top/audio_data/{t}/R_{p}.wav"),
            "top/metadata.csv": (
                f"Response_ID,file_name,Age,Gender,Native Language,Recording Machine\n{answers}".encode()
            ),
        },
        "dspspeech20.tar.gz": named("dsp", "top/speech_data/1{p:010d}/1{p:010d}-00-0{t}.wav"),
        "aishell-sample.tar.gz": named("aishell", "top/sample/BAC009S{p:04d}W000{t}.wav"),
        "emodb.zip": named("emodb", "wav/{p:02d}a0{t}Fa.wav"),
        **{
            f"asterisk-{part}.tar.gz": {f"./vm-{take}.wav": wave(part, 0, take) for take in range(3)}
            for part in ("en", "es", "fr", "it", "ru", "it-menardi")
        },
        "rirs_noises.zip": rooms,
    }
    return {
        file: (make_zip if file.endswith(".zip") else make_tar)(content) for file, content in by_file.items()
    }


def unverified(corpus: Corpus) -> Corpus:
    """The corpus of the catalog, of whose archives nobody knows checksum, size or how much is in them."""
    archives = [
        replace(
            archive,
            bytes=None,
            md5=None,
            sha256=None,
            after=replace(archive.after, speakers=1, recordings=1)
            if isinstance(archive.after, Listing)
            else archive.after,
        )
        for archive in corpus.archives
    ]
    return replace(corpus, archives=tuple(archives))
