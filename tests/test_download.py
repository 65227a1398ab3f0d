"""Downloads against a real HTTP server that misbehaves on request, and archives that try to escape."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import re
import resource
import signal
import socketserver
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from archives import LISTED, PACKED, make_tar, make_zip

from voxid.corpora import catalog, scan
from voxid.corpora import download as module
from voxid.corpora.download import CORPORA, Archive, Corpus, download, wanted
from voxid.corpora.lists import Listing
from voxid.corpora.unpack import unpack
from voxid.errors import (
    BadArchive,
    BadConfig,
    BadCorpusFile,
    ChecksumMismatch,
    DiskFull,
    DownloadError,
    NotWritable,
    UnknownComponent,
)

NO_WAIT = (0.0, 0.0, 0.0)


class Server(ThreadingHTTPServer):
    """Serves one file. Each request takes the next word of `script`; when it is used up, all goes well."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.etag = '"one"'
        self.kind = "application/gzip"
        self.script: list[str] = []
        self.asked: list[tuple[str, str | None, str | None]] = []  # path, Range, If-Range
        self.url = f"http://127.0.0.1:{self.server_address[1]}/resources/12"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers["Range"]
        server.asked.append((self.path, wanted, self.headers["If-Range"]))
        word = server.script.pop(0) if server.script else "well"
        if word.isdigit():
            self.send_error(int(word), "gone\x1b[2J" if word == "404" else None)
            return
        if word.startswith("chunk"):
            self.send_in_chunks(server.content, whole=word == "chunks")
            return
        content, start = server.content, 0
        changed = self.headers["If-Range"] not in (None, server.etag)
        if wanted and word != "ignore-range" and not changed:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", server.etag)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Connection", "close")
        self.end_headers()
        body = content[start:]
        if word == "drop":
            body = body[: len(body) // 2]
        if word == "slow":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(30)
        self.wfile.write(body)
        self.close_connection = True

    def send_in_chunks(self, content: bytes, whole: bool) -> None:
        """Send it as GitHub sends what it packs on the way: no length, and no going on in the middle."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for start in range(0, len(content) if whole else len(content) // 2, 100_000):
            block = content[start : start + 100_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


NOISE = bytes(hashlib.shake_256(b"speech").digest(1_500_000))  # does not compress: halves are real halves
CONTENT = make_tar(
    {
        "LibriSpeech/SPEAKERS.TXT": b"; ID | SEX\n",
        "LibriSpeech/dev-tiny/84/1/84-1-0000.flac": NOISE,
        "LibriSpeech/dev-tiny/84/1/84-1.trans.txt": b"84-1-0000 HELLO\n",
    }
)


def corpus_of(content: bytes, url: str = "http://unused.invalid") -> Corpus:
    archive = Archive(
        "dev-tiny",
        "dev-tiny.tar.gz",
        len(content),
        hashlib.md5(content).hexdigest(),
        "LibriSpeech/dev-tiny",
    )
    return Corpus("tiny", "for tests", "LibriSpeech", (archive,), {"us": (url,)})


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(CONTENT) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch_all(server: Server, out: Path, **options) -> Path:
    return download(corpus_of(CONTENT), ["dev-tiny"], out, server.url, waits_s=NO_WAIT, **options)


def check_complete(out: Path) -> None:
    """Everything of the archive is there, whole, and nothing else is."""
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert files == {
        "LibriSpeech/SPEAKERS.TXT",
        "LibriSpeech/dev-tiny/84/1/84-1-0000.flac",
        "LibriSpeech/dev-tiny/84/1/84-1.trans.txt",
    }
    assert (out / "LibriSpeech/dev-tiny/84/1/84-1-0000.flac").read_bytes() == NOISE
    assert {p.name for p in out.iterdir()} == {"LibriSpeech"}


# -- the table ----------------------------------------------------------------------------------------------


def test_librispeech_is_what_openslr_publishes() -> None:
    """Names, sizes (bytes) and MD5s as on openslr.org/12 and /31, entered here a second time by hand."""
    lines = """
    42e2234ba48799c1f50f24a7926300a1 337926286 dev-clean.tar.gz
    c8d0bcc9cca99d4f8b62fcc847357931 314305928 dev-other.tar.gz
    32fa31d27d2e1cad72775fee3f4849a9 346663984 test-clean.tar.gz
    fb5a50374b501bb3bac4815ee91d3135 328757843 test-other.tar.gz
    2a93770f6d5c6c964bc36631d331a522 6387309499 train-clean-100.tar.gz
    c0e676e450a7ff2f54aeade5171606fa 23049477885 train-clean-360.tar.gz
    d1a0fd59409feb2c614ce4d30c387708 30593501606 train-other-500.tar.gz
    6d7ab67ac6a1d2c993d050e16d61080d 126046265 dev-clean-2.tar.gz
    5df7d4e78065366204ca6845bb08f490 332954390 train-clean-5.tar.gz
    """
    published = {tuple(line.split()) for line in lines.strip().splitlines()}
    ours = {
        (a.md5, str(a.bytes), a.file)
        for name in ("librispeech", "mini-librispeech")
        for a in CORPORA[name].archives
    }
    assert ours == published
    assert CORPORA["librispeech"].mirrors["eu"] == ("https://openslr.elda.org/resources/12",)
    assert CORPORA["mini-librispeech"].mirrors["us"][0] == "https://us.openslr.org/resources/31"
    assert CORPORA["librispeech"].mirrors["cn"] == ("https://openslr.magicdatatech.com/resources/12",)


def test_every_corpus_has_every_mirror_and_a_checksum_or_none() -> None:
    for corpus in CORPORA.values():
        assert set(corpus.mirrors) == {"us", "eu", "cn"}, corpus.name
        for archive in corpus.archives:
            assert archive.published is None or len(archive.published[1]) in (32, 64), archive
    unpublished = {a.part for c in CORPORA.values() for a in c.archives if a.published is None}
    on_github = {a.part: a for c in CORPORA.values() for a in c.archives if a.commit}
    assert unpublished == {"speechocean762", "v1.0", "emodb", *on_github}
    whole = {name for name, archive in on_github.items() if len(archive.commit) == 40}
    assert set(on_github) - whole == {"msc-malayalam", "alphanum", "dspspeech20", "common-voice-tw"}
    for name, archive in on_github.items():
        assert archive.remote == f"{archive.commit}.tar.gz"
        assert isinstance(archive.after, Listing), name


def test_what_voxid_base_needs_is_there() -> None:
    needed = [f"{corpus.name} {archive.part}" for corpus, archive in wanted("voxid-base")]
    alone = "common-voice-sample common-voice-uz common-voice-vi common-voice-tw wuw2 msc-malayalam alphanum"
    assert needed == [
        "librispeech train-clean-100",
        "speechocean762 speechocean762",
        "speech-commands v0.02",
        "arabic-speech-commands v1.0",
        *(f"{name} {name}" for name in (*alone.split(), "dspspeech20", "emodb")),
        *(f"asterisk-prompts {part}" for part in ("en", "es", "fr", "it", "ru", "it-menardi")),
        "aishell-sample aishell-sample",
        "rirs-noises rirs_noises",
    ]
    with pytest.raises(BadConfig, match="as a whole"):
        wanted("voxid-base", ["v1.0"])
    with pytest.raises(BadConfig, match=r"several parts.*dev-clean"):
        wanted("librispeech")
    assert [archive.part for _, archive in wanted("musan")] == ["musan"]


# -- fetching -----------------------------------------------------------------------------------------------


def test_fetches_verifies_unpacks_and_cleans_up(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    root = fetch_all(server, tmp_path / "new" / "out", progress=lambda d, t: seen.append((d, t)))
    assert root == tmp_path / "new" / "out" / "LibriSpeech"
    check_complete(tmp_path / "new" / "out")
    assert [path for path, _, _ in server.asked] == ["/resources/12/dev-tiny.tar.gz"]
    assert {total for _, total in seen} == {len(CONTENT)}
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_connection_dropped_half_way_goes_on_from_there(server: Server, tmp_path: Path) -> None:
    server.script = ["drop", "drop"]
    fetch_all(server, tmp_path)
    check_complete(tmp_path)
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) if r else 0 for _, r, _ in server.asked]
    assert starts == [0, len(CONTENT) // 2, len(CONTENT) // 2 + (len(CONTENT) - len(CONTENT) // 2) // 2]
    assert [guard for _, _, guard in server.asked] == [None, '"one"', '"one"']


def test_server_that_ignores_range_starts_over(server: Server, tmp_path: Path) -> None:
    server.script = ["drop", "ignore-range"]
    fetch_all(server, tmp_path)
    check_complete(tmp_path)
    assert server.asked[1][1] == f"bytes={len(CONTENT) // 2}-"


def test_file_changed_between_halves_is_not_joined(server: Server, tmp_path: Path) -> None:
    partial = tmp_path / "dev-tiny.tar.gz.partial"
    partial.write_bytes(b"the older version's first half")
    partial.with_name(partial.name + ".etag").write_text(f'{server.url}/dev-tiny.tar.gz\n"zero"\n')
    fetch_all(server, tmp_path)
    check_complete(tmp_path)
    assert server.asked == [("/resources/12/dev-tiny.tar.gz", "bytes=30-", '"zero"')]


def test_partial_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dev-tiny.tar.gz.partial").write_bytes(b"x" * (len(CONTENT) + 1))
    fetch_all(server, tmp_path)
    check_complete(tmp_path)


def test_416_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dev-tiny.tar.gz.partial").write_bytes(CONTENT[:1000])
    server.script = ["416"]
    fetch_all(server, tmp_path)
    check_complete(tmp_path)
    assert [asked for _, asked, _ in server.asked] == ["bytes=1000-", None]


def test_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.script = ["503", "429", "500"]
    fetch_all(server, tmp_path)
    check_complete(tmp_path)


def test_waits_grow_and_start_afresh_when_bytes_arrive(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("voxid.corpora.fetch.time.sleep", waits.append)
    server.script = ["503", "503", "drop", "503"]
    download(corpus_of(CONTENT), ["dev-tiny"], tmp_path, server.url)
    assert waits == [1.0, 2.0, 1.0, 2.0]


def test_gives_up_keeps_what_arrived_and_goes_on_next_time(server: Server, tmp_path: Path) -> None:
    server.script = ["drop", "503", "503", "503", "503"]
    with pytest.raises(
        DownloadError, match=r"503 .*bytes that arrived are kept .*run the same command again"
    ):
        fetch_all(server, tmp_path)
    assert (tmp_path / "dev-tiny.tar.gz.partial").read_bytes() == CONTENT[: len(CONTENT) // 2]
    assert not (tmp_path / "LibriSpeech").exists()
    server.script, before = [], len(server.asked)
    fetch_all(server, tmp_path)
    check_complete(tmp_path)
    assert server.asked[before][1] == f"bytes={len(CONTENT) // 2}-"


def test_404_is_not_repeated(server: Server, tmp_path: Path) -> None:
    server.script = ["404"]
    with pytest.raises(DownloadError, match=r"dev-tiny\.tar\.gz.*404 gone\\x1b\[2J.*another mirror"):
        fetch_all(server, tmp_path)
    assert len(server.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_second_address_of_a_mirror_stands_in(server: Server, tmp_path: Path) -> None:
    corpus = corpus_of(CONTENT)
    object.__setattr__(corpus, "mirrors", {"us": ("http://127.0.0.1:9/nobody", server.url)})
    download(corpus, ["dev-tiny"], tmp_path, "us", waits_s=NO_WAIT)
    check_complete(tmp_path)


def test_no_network_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("voxid.corpora.fetch.time.sleep", waits.append)
    with pytest.raises(DownloadError, match="no connection"):
        download(corpus_of(CONTENT), ["dev-tiny"], tmp_path, "http://127.0.0.1:9/nobody")
    assert waits == []


def test_wrong_bytes_of_the_right_length_are_deleted(server: Server, tmp_path: Path) -> None:
    server.content = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    with pytest.raises(ChecksumMismatch, match=hashlib.md5(server.content).hexdigest()):
        fetch_all(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_log_in_page_is_not_taken_for_the_file(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>Welcome to our network. Please log in.</html>"
    with pytest.raises(DownloadError, match=f"expected a file of {len(CONTENT)} bytes, got 51 bytes"):
        fetch_all(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- archives nobody publishes a size or a checksum of ------------------------------------------------------


def unpublished(content: bytes, **options) -> Corpus:
    corpus = corpus_of(content)
    object.__setattr__(corpus, "archives", (replace(corpus.archives[0], bytes=None, md5=None, **options),))
    return corpus


@pytest.mark.parametrize("script", [[], ["drop"], ["chunks"], ["chunks cut", "chunks"], ["drop", "chunks"]])
def test_size_that_nobody_publishes(script: list[str], server: Server, tmp_path: Path) -> None:
    """The server tells it, or that the file has come to its end; half a file is never taken for one."""
    server.script, said, seen = list(script), [], []
    download(
        unpublished(CONTENT), ["dev-tiny"], tmp_path, server.url, lambda d, t: seen.append((d, t)),
        say=said.append, waits_s=NO_WAIT,
    )  # fmt: skip
    check_complete(tmp_path)
    assert server.script == []
    assert any(hashlib.sha256(CONTENT).hexdigest() in line for line in said), said
    assert (len(CONTENT), len(CONTENT)) in seen
    if script == ["chunks"]:
        assert (100_000, 0) in seen or any(total == 0 for done, total in seen if done), seen
    if script == ["drop"]:
        assert server.asked[1][1] == f"bytes={len(CONTENT) // 2}-"


def test_whole_file_of_unknown_size_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dev-tiny.tar.gz.partial").write_bytes(CONTENT)  # killed before it was unpacked
    download(unpublished(CONTENT), ["dev-tiny"], tmp_path, server.url, waits_s=NO_WAIT)
    check_complete(tmp_path)
    assert [asked for _, asked, _ in server.asked] == [f"bytes={len(CONTENT)}-"]


def test_web_page_is_no_archive_of_unknown_size(server: Server, tmp_path: Path) -> None:
    server.content, server.kind = b"<html>Please log in.</html>", "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="expected an archive, got a web page"):
        download(unpublished(CONTENT), ["dev-tiny"], tmp_path, server.url, waits_s=NO_WAIT)
    assert list(tmp_path.iterdir()) == []


def test_damaged_archive_nobody_could_verify_is_fetched_afresh(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:400_000] + bytes(100) + CONTENT[400_100:]
    with pytest.raises(BadArchive, match="cannot be unpacked"):
        download(unpublished(CONTENT), ["dev-tiny"], tmp_path, server.url, waits_s=NO_WAIT)
    assert list(tmp_path.iterdir()) == []
    server.content = CONTENT
    download(unpublished(CONTENT), ["dev-tiny"], tmp_path, server.url, waits_s=NO_WAIT)
    check_complete(tmp_path)


def test_published_sha256_is_verified(server: Server, tmp_path: Path) -> None:
    corpus = unpublished(CONTENT, sha256=hashlib.sha256(CONTENT).hexdigest())
    download(corpus, ["dev-tiny"], tmp_path / "good", server.url, waits_s=NO_WAIT)
    check_complete(tmp_path / "good")
    server.content = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    with pytest.raises(ChecksumMismatch, match=f"SHA256 is {hashlib.sha256(server.content).hexdigest()}"):
        download(corpus, ["dev-tiny"], tmp_path / "bad", server.url, waits_s=NO_WAIT)
    assert list((tmp_path / "bad").iterdir()) == []


# -- the corpora of voxid-base, as their homes pack them -----------------------------------------------------


def pack(name: str) -> bytes:
    return (make_zip if name == "emodb" else make_tar)(PACKED[name])


def served(
    name: str, content: bytes, server: Server, monkeypatch: pytest.MonkeyPatch, **least: int
) -> Corpus:
    """The corpus of that name, as the catalog has it, with `content` at the test server as its home.

    Its list needs a recording, not as many as the real one, if `least` says nothing else.
    """
    known = CORPORA[name]
    archive = replace(
        known.archives[0], sha256=None, md5=hashlib.md5(content).hexdigest(), bytes=len(content)
    )
    if isinstance(archive.after, Listing):
        archive = replace(archive, after=replace(archive.after, **{"speakers": 1, "recordings": 1, **least}))
    corpus = replace(known, archives=(archive,), mirrors=dict.fromkeys(known.mirrors, (server.url,)))
    monkeypatch.setitem(catalog.CORPORA, name, corpus)
    server.content = content
    return corpus


@pytest.mark.parametrize("name", PACKED)
def test_a_corpus_is_where_the_catalog_says(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = served(name, pack(name), server, monkeypatch)
    root = download(name, [], tmp_path, waits_s=NO_WAIT)
    assert root == tmp_path / corpus.root
    assert root.is_dir()
    archive = corpus.archives[0]
    assert server.asked[0][0].endswith(f"/{archive.remote or archive.file}")
    assert {path.name for path in tmp_path.iterdir()} == {archive.folder.partition("/")[0]}
    if name in LISTED:
        found = list(scan(root / "train" if name == "speechocean762" else root))
        said = [(u.speaker, u.sex, u.age, u.language, u.session) for u in found]
        assert [" ".join(str(word or "-") for word in row) for row in said] == LISTED[name]
        assert all(Path(u.path).is_file() for u in found)
    if name == "speech-commands":
        assert (root / "training_list.txt").read_text() == "yes/00b01445_nohash_0.wav\n"
        assert (root / "_background_noise_" / "running_tap.wav").is_file()
    if name == "arabic-speech-commands":
        assert (tmp_path / "arabic-speech-commands" / "LICENSE").is_file()
    download(name, [], tmp_path, waits_s=NO_WAIT)
    assert len(server.asked) == 1


def test_telephone_calls_become_wav_of_the_same_samples(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served("wuw2", pack("wuw2"), server, monkeypatch)
    root = download("wuw2", [], tmp_path, waits_s=NO_WAIT)
    raw = (root / "calls/00000/WUWII00000_006.ulaw").read_bytes()
    with soundfile.SoundFile(root / "calls/00000/WUWII00000_006.wav") as wav:
        assert (wav.samplerate, wav.channels, wav.subtype, wav.frames) == (8000, 1, "ULAW", len(raw))
        heard = wav.read(dtype="int16")
    exponent, mantissa = (np.arange(256) ^ 0xFF) >> 4 & 7, (np.arange(256) ^ 0xFF) & 15  # G.711
    size = ((mantissa << 3) + 132 << exponent) - 132
    table = np.where(np.arange(256) < 128, -size, size)
    np.testing.assert_array_equal(heard, table[np.frombuffer(raw, np.uint8)])
    text = (root / "utterances.csv").read_text()
    assert "_000" not in text
    assert not re.search("ann|zimmer|bea|young", text, re.IGNORECASE)


def test_fewer_recordings_than_were_published_are_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive that arrived stays, and the message says where; a better one in its place is taken."""
    corpus = served("dspspeech20", pack("dspspeech20"), server, monkeypatch, speakers=3, recordings=2)
    said = r"2 recordings of 2 speakers, expected 2 of 3 or more.*dspspeech20\.tar\.gz\.partial is kept"
    for _ in range(2):
        with pytest.raises(BadCorpusFile, match=said):
            download("dspspeech20", [], tmp_path, waits_s=NO_WAIT)
        assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".etag")] == [
            "dspspeech20.tar.gz.partial"
        ]
        assert (tmp_path / "dspspeech20.tar.gz.partial").read_bytes() == server.content
    more = {"set/16307130002/16307130002-00-02.wav": b"wave"}
    members = {f"set/{name.partition('/')[2]}": content for name, content in PACKED["dspspeech20"].items()}
    (tmp_path / "dspspeech20.tar.gz.partial").unlink()
    content = make_tar(members | more)
    archive = replace(corpus.archives[0], md5=hashlib.md5(content).hexdigest(), bytes=len(content))
    monkeypatch.setitem(catalog.CORPORA, "dspspeech20", replace(corpus, archives=(archive,)))
    server.content = content
    root = download("dspspeech20", [], tmp_path, waits_s=NO_WAIT)
    assert len(list(scan(root))) == 3


@pytest.mark.parametrize(
    ("name", "lost", "put", "said"),
    [
        ("wuw2", "calls/00000/WUWII00000_006.ulaw", None, "00000_006.ulaw is in data.json and not there"),
        (
            "wuw2",
            "calls/00002/WUWII00002_006.ulaw",
            b"other",
            "00002_006.ulaw.*its MD5 is 795f3202b17cb6bc",
        ),
        ("wuw2", "data.json", None, r"cannot be read \(FileNotFoundError.*data\.json"),
        ("wuw2", "data.json", b"{}", r"cannot be read \(KeyError: 'entries'"),
        (
            "msc-malayalam",
            "speech.tsv",
            b"id\n1\n",
            r"cannot be read \(KeyError: 'fileName'",
        ),
        ("msc-malayalam", "speech.tsv", b"\xff", r"cannot be read \(UnicodeDecodeError"),
        ("alphanum", "metadata.csv", None, r"cannot be read \(FileNotFoundError"),
        ("common-voice-uz", "other.tsv", None, "it has 0 recordings of 0 speakers, expected 1 of 1 or more"),
    ],
)
def test_a_corpus_that_does_not_fit_its_own_list_is_refused(
    name: str, lost: str, put: bytes | None, said: str, server: Server, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    members = {key: value for key, value in PACKED[name].items() if not key.endswith(f"/{lost}")}
    assert len(members) == len(PACKED[name]) - 1
    if put is not None:
        members[f"{next(iter(members)).partition('/')[0]}/{lost}"] = put
    served(name, make_tar(members), server, monkeypatch)
    with pytest.raises(BadCorpusFile, match=rf"{name}\.tar\.gz is not the corpus {name}.*{said}"):
        download(name, [], tmp_path, waits_s=NO_WAIT)
    assert not (tmp_path / name).exists()
    assert not list(tmp_path.glob(".unpacking*"))
    assert (tmp_path / f"{name}.tar.gz.partial").read_bytes() == server.content


def test_another_commit_than_the_one_asked_for_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = CORPORA["alphanum"].archives[0].commit
    served("alphanum", make_tar(PACKED["alphanum"], commit="0" * 40), server, monkeypatch)
    with pytest.raises(BadArchive, match=f"is commit {'0' * 40}, expected {commit}"):
        download("alphanum", [], tmp_path, waits_s=NO_WAIT)
    assert not (tmp_path / "alphanum").exists()
    (tmp_path / "alphanum.tar.gz.partial").unlink(missing_ok=True)
    served("alphanum", make_tar(PACKED["alphanum"], commit=commit.ljust(40, "0")), server, monkeypatch)
    assert download("alphanum", [], tmp_path, waits_s=NO_WAIT).is_dir()


def test_an_archive_of_two_folders_is_not_guessed_at(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {f"{top}/dataset/up/00000001_NO_01.wav": b"wave" for top in ("one", "two")}
    served("arabic-speech-commands", make_tar({**members}), server, monkeypatch)
    with pytest.raises(BadArchive, match="more than one folder"):
        download("arabic-speech-commands", [], tmp_path, waits_s=NO_WAIT)
    assert not (tmp_path / "arabic-speech-commands").exists()


def test_speech_commands_without_its_lists_is_not_put_in_place(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served("speech-commands", make_tar({"./yes/00b01445_nohash_0.wav": b"wave"}), server, monkeypatch)
    with pytest.raises(BadCorpusFile, match=r"validation_list\.txt, testing_list\.txt is not there"):
        download("speech-commands", [], tmp_path, waits_s=NO_WAIT)
    assert not (tmp_path / "speech_commands_v0.02").exists()
    assert not list(tmp_path.glob(".unpacking*"))


def test_a_set_brings_all_and_says_where(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.SETS, "voxid-base", {"musan": ("musan",), "speech-commands": ("v0.02",)})
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in ("musan", "speech-commands"):
        corpus = served(name, make_tar(PACKED[name]), server, monkeypatch)
        (shelf / corpus.archives[0].file).write_bytes(server.content)
    out = tmp_path / "corpora"
    assert download("voxid-base", [], out, str(shelf)) == out
    assert {path.name for path in out.iterdir()} == {"musan", "speech_commands_v0.02"}


# -- zip ----------------------------------------------------------------------------------------------------


ROOMS = {"RIRS_NOISES/": b"", "RIRS_NOISES/simulated_rirs/small/rir.wav": NOISE, "RIRS_NOISES/README": b"hi"}


def test_zip_is_brought_like_a_tar(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served("rirs-noises", make_zip(ROOMS), server, monkeypatch)
    server.script, seen = ["drop"], []
    root = download("rirs-noises", [], tmp_path, progress=lambda *p: seen.append(p), waits_s=NO_WAIT)
    files = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}
    assert set(files) == {"simulated_rirs/small/rir.wav", "README"}
    assert files["simulated_rirs/small/rir.wav"].read_bytes() == NOISE
    assert all(not path.stat().st_mode & 0o111 for path in files.values())
    assert [path.name for path in tmp_path.iterdir()] == ["RIRS_NOISES"]
    assert all(done <= total for done, total in seen)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../escaped.txt", 0o100644),
        ("a/../../escaped.txt", 0o100644),
        ("/escaped-voxid.txt", 0o100644),
        ("..\\escaped.txt", 0o100644),
        ("C:/escaped.txt", 0o100644),
        ("link", 0o120777),
        ("pipe", 0o010644),
    ],
)
def test_zip_cannot_write_outside_its_folder(name: str, mode: int, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(make_zip({"first.txt": b"harmless", name: b"owned"}, mode))
    flaw = {0o120777: "a link", 0o010644: "a device or a pipe"}.get(mode, "a name that")
    with pytest.raises(BadArchive, match=rf"{flaw}.*Nothing was unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert not Path("/escaped-voxid.txt").exists()


@pytest.mark.parametrize("how", ["cut off", "flipped", "empty", "encrypted"])
def test_damaged_zip(how: str, tmp_path: Path) -> None:
    whole = make_zip({"a.wav": NOISE})
    locked = bytearray(whole)
    for mark, place in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        locked[locked.index(mark) + place] |= 1  # "this member is encrypted"
    flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    content = {"cut off": whole[:-30_000], "flipped": flipped, "empty": b"PK", "encrypted": bytes(locked)}[
        how
    ]
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BadArchive, match=r"a\.zip cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_zip_that_would_fill_the_disk_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(make_zip({"a.wav": bytes(10_000_000)}))  # a thousand times smaller
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr("voxid.corpora.unpack.shutil.disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match=r"a\.zip holds 0\.0 GB"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_real_limit_on_writing_leaves_nothing_behind(kind: str, tmp_path: Path) -> None:
    """A limit of the system on file size: a write beyond it fails as on a full disk."""
    (tmp_path / "a").write_bytes(make_zip({"a.wav": NOISE}) if kind == "zip" else make_tar({"a.wav": NOISE}))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DiskFull, match="no room to write"):
            unpack(tmp_path / "a", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "out").exists()


# -- what is there already ----------------------------------------------------------------------------------


def test_complete_part_is_left_alone_and_said(server: Server, tmp_path: Path) -> None:
    fetch_all(server, tmp_path)
    asked, said = len(server.asked), []
    fetch_all(server, tmp_path, say=said.append)
    assert len(server.asked) == asked
    assert len(said) == 1
    assert "already" in said[0]


def test_folder_of_archives_is_a_mirror_and_stays_as_it_is(tmp_path: Path) -> None:
    shelf, out = tmp_path / "shelf", tmp_path / "out"
    shelf.mkdir()
    (shelf / "dev-tiny.tar.gz").write_bytes(CONTENT)
    download(corpus_of(CONTENT), ["dev-tiny"], out, str(shelf))
    check_complete(out)
    assert (shelf / "dev-tiny.tar.gz").read_bytes() == CONTENT

    (shelf / "dev-tiny.tar.gz").write_bytes(CONTENT[:-1])
    with pytest.raises(ChecksumMismatch, match="Move it away"):
        download(corpus_of(CONTENT), ["dev-tiny"], tmp_path / "other", str(shelf))
    (shelf / "dev-tiny.tar.gz").unlink()
    with pytest.raises(BadConfig, match=r"does not hold dev-tiny\.tar\.gz"):
        download(corpus_of(CONTENT), ["dev-tiny"], tmp_path / "other", str(shelf))


def test_kept_archive_is_used_again(server: Server, tmp_path: Path) -> None:
    fetch_all(server, tmp_path, keep_archives=True)
    assert (tmp_path / "dev-tiny.tar.gz").read_bytes() == CONTENT
    assert not list(tmp_path.glob("*.partial*"))
    (tmp_path / "LibriSpeech" / "dev-tiny").rename(tmp_path / "elsewhere")
    fetch_all(server, tmp_path)
    assert len(server.asked) == 1
    assert (tmp_path / "LibriSpeech/dev-tiny/84/1/84-1-0000.flac").read_bytes() == NOISE


def test_files_beside_the_part_are_not_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "LibriSpeech").mkdir()
    (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").write_text("of the whole corpus")
    fetch_all(server, tmp_path)
    assert (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").read_text() == "of the whole corpus"


def test_names_that_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(UnknownComponent, match="Did you mean 'librispeech'"):
        download("librispech", ["dev-clean"], tmp_path)
    with pytest.raises(UnknownComponent, match="Did you mean 'dev-clean'"):
        download("librispeech", ["dev-clear"], tmp_path)
    with pytest.raises(BadConfig, match=r"mirror: got 'usa'.*Did you mean 'us'"):
        download("librispeech", ["dev-clean"], tmp_path, "usa")
    assert list(tmp_path.iterdir()) == []


# -- archives that do not behave ----------------------------------------------------------------------------


def link(name: str, target: str, kind: bytes) -> dict[str, bytes | tarfile.TarInfo]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return {name: info}


def plain(name: str) -> dict[str, bytes | tarfile.TarInfo]:
    return {name: b"owned"}


ESCAPES = {
    "parent": plain("../escaped.txt"),
    "inner parent": plain("LibriSpeech/dev-tiny/../../../escaped.txt"),
    "absolute": plain("{outside}/escaped.txt"),
    "backslash": plain("..\\escaped.txt"),
    "drive": plain("C:/escaped.txt"),
    "symlink": link("LibriSpeech/link", "{outside}", tarfile.SYMTYPE) | plain("LibriSpeech/link/escaped.txt"),
    "symlink inside": link("LibriSpeech/link", "SPEAKERS.TXT", tarfile.SYMTYPE),
    "hard link": link("LibriSpeech/link", "{outside}/secret.txt", tarfile.LNKTYPE),
    "device": link("LibriSpeech/null", "", tarfile.CHRTYPE),
    "pipe": link("LibriSpeech/pipe", "", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("kind", list(ESCAPES))
def test_archive_cannot_write_outside_its_folder(kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    members: dict[str, bytes | tarfile.TarInfo] = {"LibriSpeech/first.txt": b"harmless"}
    for name, content in ESCAPES[kind].items():
        if isinstance(content, tarfile.TarInfo):
            content.linkname = content.linkname.format(outside=outside)
        members[name.format(outside=outside)] = content
    evil, shelf, out = make_tar(members), tmp_path / "shelf", tmp_path / "out"
    shelf.mkdir()
    (shelf / "dev-tiny.tar.gz").write_bytes(evil)
    with pytest.raises(BadArchive, match="Nothing was unpacked"):
        download(corpus_of(evil), ["dev-tiny"], out, str(shelf))
    assert list(out.iterdir()) == []
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == {
        "outside/secret.txt",
        "shelf/dev-tiny.tar.gz",
    }


def test_permissions_are_this_users_own(server: Server, tmp_path: Path) -> None:
    fetch_all(server, tmp_path)
    mask = os.umask(0)
    os.umask(mask)
    for path in (tmp_path / "LibriSpeech").rglob("*"):
        expected = (0o777 if path.is_dir() else 0o666) & ~mask
        assert path.stat().st_mode & 0o7777 == expected, path


@pytest.mark.parametrize(
    "content",
    [b"not a tar at all", CONTENT[:-20_000], CONTENT[:400_000] + b"\0" * 1000 + CONTENT[401_000:]],
    ids=["text", "cut off", "flipped"],
)
def test_damaged_archive(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(BadArchive, match=r"a\.tar\.gz cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def sparse(size: int) -> bytes:
    """Return a tar of one file of `size` bytes of holes, as GNU tar writes it."""
    info = tarfile.TarInfo("corpus/bomb.wav")
    name = b"GNUSparseFile.0/bomb.wav"
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "corpus/bomb.wav"}
    info.pax_headers, info.name = {**pax, "GNU.sparse.realsize": str(size)}, name.decode()
    content = b"1\n0\n0\n".ljust(512, b"\0")
    info.size = len(content)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def header(name: str, **fields: str | int | bytes) -> bytes:
    """Return a tar of one header, gzipped, that says more than is there."""
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (sparse(1 << 42), "holes|comes to more than"),
        (header("c/a.wav", size=1 << 50), "comes to more than"),
        (header("c/", size=1 << 50, type=tarfile.DIRTYPE), "comes to more than"),
        (header("././@LongLink", size=1 << 50, type=tarfile.GNUTYPE_LONGNAME), "cannot be unpacked|comes to"),
        (header("c/a.wav", size=1000), "cannot be unpacked"),
        (gzip.compress(bytes(200 << 20)), "comes to more than|cannot be unpacked"),
        (make_tar({"c/a.wav": bytes(100 << 20)}), "comes to more than 67 MB unpacked"),
    ],
    ids=["sparse", "endless", "endless folder", "endless name", "cut", "zeros", "bomb"],
)
def test_hostile_tar_is_bounded(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(BadArchive, match=what):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert time.perf_counter() - start < 20
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_damage_inside_a_zip_in_every_compression(method: int, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("a.wav", NOISE[:100_000])
    for at in (50, 70, 2000):
        content = bytearray(buffer.getvalue())
        content[at : at + 8] = bytes(byte ^ 255 for byte in content[at : at + 8])
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(BadArchive, match=r"a\.zip cannot be unpacked"):
            unpack(tmp_path / "a.zip", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", method) as file:
        file.writestr("a.wav", bytes(100 << 20))
    with pytest.raises(BadArchive, match="comes to more than 67 MB unpacked"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Rude(socketserver.StreamRequestHandler):
    """Says one thing, whatever was asked, and closes."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        said: bytes = self.server.said  # type: ignore[attr-defined]
        with suppress(OSError):
            self.wfile.write(said)
            while b"endless" in said:
                self.wfile.write(bytes(1 << 16))


RUDE = {
    "no number": (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nx", "'abc' bytes, which is not a number"),
    "digits": (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nx", "which is not a number"),
    "chunk": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n",
        "could not download",
    ),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n", "cannot be followed"),
    "range": (
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-1/" + b"9" * 5000 + b"\r\n\r\nx",
        "got 'bytes",
    ),
    "endless": (b"HTTP/1.1 200 OK\r\nX-A: endless\r\n\r\n", "a file without an end"),
    "garbage": (b"\x00\xff\r\n\r\n", "could not download"),
}


@pytest.mark.parametrize("answer", list(RUDE))
def test_no_answer_of_a_server_is_a_traceback(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxid.corpora.fetch.UNKNOWN_MOST", 3_000_000)
    said, what = RUDE[answer]
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Rude) as rude:
        rude.said = said  # type: ignore[attr-defined]
        threading.Thread(target=rude.serve_forever, daemon=True).start()
        corpus = replace(
            corpus_of(CONTENT), archives=(replace(corpus_of(CONTENT).archives[0], bytes=None, md5=None),)
        )
        with pytest.raises(DownloadError, match=re.escape(what)):
            download(corpus, [], tmp_path, f"http://127.0.0.1:{rude.server_address[1]}", waits_s=(0.0,))
        rude.shutdown()
    left = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert left < 3_000_000


def test_archive_of_something_else(tmp_path: Path) -> None:
    other = make_tar({"LibriSpeech/test-tiny/a.flac": b"x"})
    (tmp_path / "dev-tiny.tar.gz").write_bytes(other)
    with pytest.raises(BadArchive, match="holds no folder LibriSpeech/dev-tiny"):
        download(corpus_of(other), ["dev-tiny"], tmp_path / "out", str(tmp_path))
    assert list((tmp_path / "out").iterdir()) == []


# -- the disk -----------------------------------------------------------------------------------------------


def test_too_little_room_is_said_before_downloading(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": len(CONTENT)})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match=r"dev-tiny needs 0\.0 GB"):
        fetch_all(server, tmp_path)
    assert server.asked == []


@pytest.mark.parametrize("stage", ["fetching", "unpacking"])
def test_disk_full_on_the_way(
    stage: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that refuses its next bytes, as a full disk does; what arrived before stays."""
    suffix = ".partial" if stage == "fetching" else ".flac"
    real_open = Path.open

    def full_open(self: Path, mode: str = "r", *args, **options):
        file = real_open(self, mode, *args, **options)
        if self.name.endswith(suffix) and mode in ("wb", "ab"):
            return Full(file)
        return file

    class Full:
        def __init__(self, file) -> None:
            self.file, self.writes = file, 0

        def __enter__(self):
            return self

        def __exit__(self, *args) -> None:
            self.file.close()

        def write(self, block: bytes) -> int:
            self.writes += 1
            if self.writes == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(block)

    monkeypatch.setattr(Path, "open", full_open)
    with pytest.raises(DiskFull, match="no room to write"):
        fetch_all(server, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} <= {
        "dev-tiny.tar.gz.partial",
        "dev-tiny.tar.gz.partial.etag",
    }
    assert 0 < (tmp_path / "dev-tiny.tar.gz.partial").stat().st_size <= len(CONTENT)
    monkeypatch.undo()
    fetch_all(server, tmp_path)
    check_complete(tmp_path)
    assert len(server.asked) == (2 if stage == "fetching" else 1)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NotWritable, match="file"):
        download("librispeech", ["dev-clean"], tmp_path / "file" / "out", "http://127.0.0.1:9")


# -- the command --------------------------------------------------------------------------------------------

COMMAND = """
import voxid.cli
from voxid.corpora.download import CORPORA, Archive, Corpus

tiny = Archive("dev-tiny", "dev-tiny.tar.gz", {size}, "{md5}", "LibriSpeech/dev-tiny")
CORPORA["tiny"] = Corpus("tiny", "for tests", "LibriSpeech", (tiny,), {{"us": ("http://nobody.invalid",)}})
voxid.cli.COMMANDS = {{"download": "voxid.cli.download"}}
voxid.cli.main()
"""


def command(*arguments: str) -> list[str]:
    script = COMMAND.format(size=len(CONTENT), md5=hashlib.md5(CONTENT).hexdigest())
    return [sys.executable, "-c", script, "download", "tiny", "dev-tiny", *arguments]


def test_ctrl_c_leaves_a_partial_file_that_goes_on(server: Server, tmp_path: Path) -> None:
    server.script = ["slow"]
    arguments = command("--mirror", server.url, "-o", str(tmp_path))
    partial = tmp_path / "dev-tiny.tar.gz.partial"
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not (partial.exists() and partial.stat().st_size >= 1 << 18):
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=250)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    kept = partial.stat().st_size
    assert partial.read_bytes() == CONTENT[:kept]
    assert not (tmp_path / "LibriSpeech").exists()

    done = subprocess.run([*arguments, "--json"], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "corpus": "tiny",
        "folder": str(tmp_path / "LibriSpeech"),
        "fetched": ["dev-tiny"],
        "already_there": [],
    }
    assert server.asked[1][1] == f"bytes={kept}-"
    check_complete(tmp_path)


def test_help_lists_every_part() -> None:
    from voxid.cli.download import download as documented

    for corpus in CORPORA.values():
        for part in corpus.parts():
            assert part in (documented.__doc__ or ""), f"{part} is missing from `voxid download --help`"
