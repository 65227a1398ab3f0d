"""Bring a published corpus to this disk: fetch, verify, unpack. Nothing else in voxid opens connections.

Adding a corpus is one entry in `CORPORA`. Sizes and MD5s are the ones OpenSLR publishes (md5sum.txt beside
the archives).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from voxid.corpora.fetch import WAITS_S, fetch, forget
from voxid.corpora.unpack import unpack
from voxid.errors import BadArchive, BadConfig, ChecksumMismatch, DiskFull, UnknownComponent, did_you_mean
from voxid.files import output_error

Progress = Callable[[int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Archive:
    """One published .tar.gz, and the folder that is there once it is unpacked."""

    part: str
    file: str
    bytes: int
    md5: str
    folder: str  # relative to where it is unpacked


@dataclass(frozen=True, slots=True)
class Corpus:
    """A published corpus: its archives and the addresses they lie under, by mirror name."""

    name: str
    about: str  # licence and source, for a person
    root: str  # the folder, relative to the place of download, that holds the parts
    archives: tuple[Archive, ...]
    mirrors: Mapping[str, tuple[str, ...]]

    def parts(self) -> list[str]:
        """Return the names of the parts."""
        return [archive.part for archive in self.archives]


def _openslr(resource: int) -> dict[str, tuple[str, ...]]:
    """Return OpenSLR's mirrors; a second address of one mirror is tried when the first does not answer."""
    hosts = {
        "us": ("us.openslr.org", "openslr.trmal.net", "www.openslr.org"),
        "eu": ("openslr.elda.org",),
        "cn": ("openslr.magicdatatech.com",),
    }
    return {name: tuple(f"https://{h}/resources/{resource}" for h in known) for name, known in hosts.items()}


def _librispeech(part: str, size: int, md5: str) -> Archive:
    return Archive(part, f"{part}.tar.gz", size, md5, f"LibriSpeech/{part}")


CORPORA: dict[str, Corpus] = {
    "librispeech": Corpus(
        name="librispeech",
        about="LibriSpeech (OpenSLR 12): 1,000 hours of read English, CC BY 4.0",
        root="LibriSpeech",
        mirrors=_openslr(12),
        archives=(
            _librispeech("dev-clean", 337926286, "42e2234ba48799c1f50f24a7926300a1"),
            _librispeech("dev-other", 314305928, "c8d0bcc9cca99d4f8b62fcc847357931"),
            _librispeech("test-clean", 346663984, "32fa31d27d2e1cad72775fee3f4849a9"),
            _librispeech("test-other", 328757843, "fb5a50374b501bb3bac4815ee91d3135"),
            _librispeech("train-clean-100", 6387309499, "2a93770f6d5c6c964bc36631d331a522"),
            _librispeech("train-clean-360", 23049477885, "c0e676e450a7ff2f54aeade5171606fa"),
            _librispeech("train-other-500", 30593501606, "d1a0fd59409feb2c614ce4d30c387708"),
        ),
    ),
    "mini-librispeech": Corpus(
        name="mini-librispeech",
        about="Mini LibriSpeech (OpenSLR 31): 7 hours of LibriSpeech for first experiments, CC BY 4.0",
        root="LibriSpeech",
        mirrors=_openslr(31),
        archives=(
            _librispeech("dev-clean-2", 126046265, "6d7ab67ac6a1d2c993d050e16d61080d"),
            _librispeech("train-clean-5", 332954390, "5df7d4e78065366204ca6845bb08f490"),
        ),
    ),
}


def download(
    corpus: str | Corpus,
    parts: Sequence[str],
    out: str | os.PathLike[str],
    mirror: str = "us",
    progress: Progress | None = None,
    *,
    say: Say | None = None,
    keep_archives: bool = False,
    waits_s: tuple[float, ...] = WAITS_S,
) -> Path:
    """Download the named parts of a corpus into `out`, and return the folder that holds them.

    `mirror` is one of the corpus' mirrors ("us", "eu", "cn"), the URL of a folder that holds the archives, or
    a folder on this disk that does. A part that is there already is left alone; one that was begun goes on.
    An archive is verified against its published MD5, unpacked beside the place, and renamed into it: a part
    is whole or not there. Archives fetched here are deleted afterwards unless `keep_archives`.

    `progress(done, total)` counts bytes, anew in each stage; `say` gets a line at the start of each stage.

    Raises:
        UnknownComponent: no corpus or part of that name.
        BadConfig: the mirror is none of the above.
        DownloadError: the file could not be fetched; what arrived is kept, the same call goes on from there.
        ChecksumMismatch: the bytes are not the published ones; they are deleted.
        UnsafeArchive, BadArchive: the archive cannot be unpacked safely, or at all; nothing is left of it.
        NotWritable, DiskFull, OutputError: `out` cannot be written.

    >>> download("librispeech", ["dev-clean"], "corpora", mirror="eu")  # doctest: +SKIP
    PosixPath('corpora/LibriSpeech')
    """
    known = find_corpus(corpus)
    archives = [_find_archive(known, part) for part in parts]
    places = _resolve_mirror(known, mirror)
    target, tell = Path(out), say or (lambda line: None)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, target) from error
    for archive in archives:
        if is_complete(archive, target):
            tell(f"{archive.part} is already in {target / archive.folder}: nothing to do")
            continue
        file = _local_archive(archive, target, places, progress, tell, waits_s)
        tell(f"unpacking {archive.file}")
        _unpack_into_place(file, archive, target, progress)
        if file.suffix == ".partial":
            _retire(file, archive, keep_archives)
    return target / known.root


def find_corpus(corpus: str | Corpus) -> Corpus:
    """Return the corpus of that name; raise UnknownComponent with the known names."""
    if isinstance(corpus, Corpus):
        return corpus
    if corpus not in CORPORA:
        names = sorted(CORPORA)
        raise UnknownComponent(
            f"no corpus named {corpus!r}. Known: {', '.join(names)}.{did_you_mean(corpus, names)}"
        )
    return CORPORA[corpus]


def is_complete(archive: Archive, out: Path) -> bool:
    """Return whether the archive's folder is there. It appears in one rename, so it is whole or absent."""
    return (out / archive.folder).is_dir()


def _find_archive(corpus: Corpus, part: str) -> Archive:
    for archive in corpus.archives:
        if archive.part == part:
            return archive
    raise UnknownComponent(
        f"{corpus.name} has no part {part!r}. Known: {', '.join(corpus.parts())}."
        f"{did_you_mean(part, corpus.parts())}"
    )


def _resolve_mirror(corpus: Corpus, mirror: str) -> Path | tuple[str, ...]:
    """Return a folder on this disk, or the addresses to try in turn."""
    if mirror in corpus.mirrors:
        return corpus.mirrors[mirror]
    if mirror.startswith(("https://", "http://")):
        return (mirror.rstrip("/"),)
    if Path(mirror).is_dir():
        return Path(mirror)
    names = list(corpus.mirrors)
    raise BadConfig(
        f"mirror: got {mirror!r}, allowed is {', '.join(names)}, an http(s) URL, or a folder on this disk "
        f"that holds the archives.{did_you_mean(mirror, names)}"
    )


def _local_archive(
    archive: Archive,
    out: Path,
    places: Path | tuple[str, ...],
    progress: Progress | None,
    say: Say,
    waits_s: tuple[float, ...],
) -> Path:
    """Return a verified archive on this disk: in the mirror folder, in `out`, or fetched as `.partial`."""
    candidates = [out / archive.file]
    if isinstance(places, Path):
        candidates.insert(0, places / archive.file)
    for found in candidates:
        if found.is_file():
            say(f"checking {found}")
            _verify(found, archive, progress, "Move it away and run the same command again.")
            return found
    if isinstance(places, Path):
        raise BadConfig(
            f"mirror: the folder {places} does not hold {archive.file}. Put it there, or name another mirror."
        )
    partial = out / f"{archive.file}.partial"
    _check_room(archive, partial, out)
    say(f"downloading {archive.file} ({archive.bytes / 1e6:,.0f} MB) from {places[0]}")
    fetch(tuple(f"{place}/{archive.file}" for place in places), partial, archive.bytes, progress, waits_s)
    say(f"checking {archive.file}")
    try:
        _verify(
            partial, archive, progress, "It is deleted. Run the same command again, or try another mirror."
        )
    except ChecksumMismatch:
        forget(partial)
        raise
    return partial


def _check_room(archive: Archive, partial: Path, out: Path) -> None:
    """Raise DiskFull before an hour of downloading, not after. Unpacked, FLAC is about as large as packed."""
    have = partial.stat().st_size if partial.exists() else 0
    needed, free = 2 * archive.bytes - have, shutil.disk_usage(out).free
    if free < needed:
        raise DiskFull(
            f"{archive.part} needs {needed / 1e9:,.1f} GB to be downloaded and unpacked, and {out} has "
            f"{free / 1e9:,.1f} GB free. Free some space, or choose another folder."
        )


def _verify(path: Path, archive: Archive, progress: Progress | None, next_step: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
                if progress:
                    progress(file.tell(), archive.bytes)
    except OSError as error:
        raise output_error(error, path) from error
    if digest.hexdigest() != archive.md5:
        raise ChecksumMismatch(
            f"{path} is not the published {archive.file}: its MD5 is {digest.hexdigest()}, "
            f"published is {archive.md5}. {next_step}"
        )


def _unpack_into_place(file: Path, archive: Archive, out: Path, progress: Progress | None) -> None:
    """Unpack beside the place, then rename: what lies beside the part (SPEAKERS.TXT) first, the part last."""
    staging = out / f".unpacking-{archive.part}"
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    unpack(file, staging, progress)
    try:
        if not (staging / archive.folder).is_dir():
            raise BadArchive(f"{file} holds no folder {archive.folder}: not the corpus it should be.")
        ways = [PurePosixPath(archive.folder), *PurePosixPath(archive.folder).parents]
        for inner, outer in pairwise(ways):
            (out / outer).mkdir(parents=True, exist_ok=True)
            for entry in sorted((staging / outer).iterdir()):
                place = out / outer / entry.name
                if entry.name != inner.name and not place.exists():
                    entry.rename(place)
        (staging / archive.folder).rename(out / archive.folder)
    except OSError as error:
        raise output_error(error, out / archive.folder) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _retire(partial: Path, archive: Archive, keep: bool) -> None:
    """Give a fetched archive its own name now that it is verified, or delete it."""
    try:
        if keep:
            partial.replace(partial.with_name(archive.file))
        forget(partial)
    except OSError as error:
        raise output_error(error, partial) from error
