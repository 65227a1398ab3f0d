"""Bring a published corpus to this disk: fetch, verify, unpack. Nothing else in voxid opens connections.

What there is to bring stands in catalog.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

from voxid.corpora.catalog import CORPORA, SETS, Archive, Corpus, find_archive, find_corpus
from voxid.corpora.fetch import WAITS_S, fetch, forget
from voxid.corpora.unpack import SMALL, unpack
from voxid.errors import BadArchive, BadConfig, BadCorpusFile, ChecksumMismatch, DiskFull, did_you_mean
from voxid.files import output_error

__all__ = [
    "CORPORA",
    "SETS",
    "Archive",
    "Corpus",
    "download",
    "find_corpus",
    "is_complete",
    "is_set",
    "wanted",
]

MARGIN = 4.0  # times what the catalogue expects: the most that an archive may unpack to
Progress = Callable[[int, int], None]
Say = Callable[[str], None]


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

    `corpus` may also be the name of a model ("voxid-base"): all that it was trained on, and `out` comes back.
    Without a part, a corpus of one part is meant. `mirror` is one of the corpus' mirrors ("us", "eu", "cn"),
    the URL of a folder that holds the archives, or a folder on this disk that does. A part that is there
    already is left alone; one that was begun goes on. An archive is verified against its published checksum,
    unpacked beside the place, and renamed into it: a part is whole or not there. Where no checksum is
    published, `say` gets the archive's SHA-256. Archives fetched here are deleted afterwards unless
    `keep_archives`.

    `progress(done, total)` counts bytes, anew in each stage (a total of 0: nobody knows); `say` gets a line
    at the start of each stage.

    Raise UnknownComponent for a corpus or part that is not known; BadConfig for the mirror; DownloadError
    (what arrived is kept, the same call goes on from there); ChecksumMismatch (the bytes are deleted);
    BadArchive for one that cannot be unpacked safely, or at all, or is of another commit (nothing is left of
    it); BadCorpusFile for one with other recordings than the corpus has (the archive is kept); NotWritable,
    DiskFull or OutputError for `out`.

    >>> download("librispeech", ["dev-clean"], "corpora", mirror="eu")  # doctest: +SKIP
    PosixPath('corpora/LibriSpeech')
    """
    needed = wanted(corpus, parts)
    places = [_resolve_mirror(known, mirror) for known, _ in needed]
    target, tell = Path(out), say or (lambda line: None)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, target) from error
    for (known, archive), place in zip(needed, places, strict=True):
        if is_complete(archive, target):
            tell(f"{archive.part} is already in {target / archive.folder}: nothing to do")
            continue
        name = archive.remote if archive.remote and mirror in known.mirrors else archive.file
        file = _local_archive(archive, name, target, place, progress, tell, waits_s)
        tell(f"unpacking {archive.file}")
        try:
            _unpack_into_place(file, archive, target, progress)
        except BadArchive:
            if file.suffix == ".partial" and archive.published is None:
                forget(file)  # what nobody can verify may have arrived damaged: the next try is a fresh one
            raise
        except BadCorpusFile as error:
            raise BadCorpusFile(
                f"{archive.file} is not the corpus {known.name} as it was published: {error} Nothing was put "
                f"into {target / archive.folder}. {file} is kept; delete it to download it again."
            ) from error
        if file.suffix == ".partial":
            _retire(file, archive, keep_archives)
    return target if is_set(corpus) else target / needed[0][0].root


def is_set(corpus: str | Corpus) -> bool:
    """Return whether that is the name of a model whose corpora can be brought together."""
    return isinstance(corpus, str) and corpus in SETS


def wanted(corpus: str | Corpus, parts: Sequence[str] = ()) -> list[tuple[Corpus, Archive]]:
    """Return the archives of the named parts, each with its corpus.

    Without a part: the one of a corpus of one part, all of a set. Raise UnknownComponent, or BadConfig where
    a part has to be named.
    """
    if isinstance(corpus, str) and corpus in SETS:
        if parts:
            raise BadConfig(
                f"{corpus} is downloaded as a whole; got the parts {', '.join(parts)}. Leave them out."
            )
        corpora = [
            (known := find_corpus(name), names or known.parts()) for name, names in SETS[corpus].items()
        ]
    else:
        corpora = [(find_corpus(corpus), parts)]
    found = []
    for known, names in corpora:
        if not names and len(known.archives) > 1:
            raise BadConfig(
                f"{known.name} has several parts. Name the ones you want: {', '.join(known.parts())}."
            )
        found += [(known, find_archive(known, part)) for part in names or known.parts()]
    return found


def is_complete(archive: Archive, out: Path) -> bool:
    """Return whether the archive's folder is there. It appears in one rename, so it is whole or absent."""
    return (out / archive.folder).is_dir()


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
    name: str,
    out: Path,
    places: Path | tuple[str, ...],
    progress: Progress | None,
    say: Say,
    waits_s: tuple[float, ...],
) -> Path:
    """Return a verified archive on this disk: in the mirror folder, in `out`, or fetched as `.partial`.

    `name` is what the archive is called at its address.
    """
    candidates = [out / archive.file]
    if isinstance(places, Path):
        candidates.insert(0, places / archive.file)
    for found in candidates:
        if found.is_file():
            say(f"checking {found}")
            _verify(found, archive, progress, say, "Move it away and run the same command again.")
            return found
    if isinstance(places, Path):
        raise BadConfig(
            f"mirror: the folder {places} does not hold {archive.file}. Put it there, or name another mirror."
        )
    partial = out / f"{archive.file}.partial"
    _check_room(archive, partial, out)
    size = "of unknown size" if archive.bytes is None else f"{archive.bytes / 1e6:,.0f} MB"
    say(f"downloading {archive.file} ({size}) from {places[0]}")
    fetch(tuple(f"{place}/{name}" for place in places), partial, archive.bytes, progress, waits_s)
    say(f"checking {archive.file}")
    try:
        _verify(
            partial,
            archive,
            progress,
            say,
            "It is deleted. Run the same command again, or try another mirror.",
        )
    except ChecksumMismatch:
        forget(partial)
        raise
    return partial


def _check_room(archive: Archive, partial: Path, out: Path) -> None:
    """Raise DiskFull before an hour of downloading, not after, where the size is known."""
    if archive.bytes is None:
        return
    have = partial.stat().st_size if partial.exists() else 0
    needed, free = (1 + archive.grows) * archive.bytes - have, shutil.disk_usage(out).free
    if free < needed:
        raise DiskFull(
            f"{archive.part} needs {needed / 1e9:,.1f} GB to be downloaded and unpacked, and {out} has "
            f"{free / 1e9:,.1f} GB free. Free some space, or choose another folder."
        )


def _verify(path: Path, archive: Archive, progress: Progress | None, say: Say, next_step: str) -> None:
    """Raise ChecksumMismatch when the bytes are not the published ones; say the SHA-256 where none are."""
    kind, published = archive.published or ("sha256", None)
    digest = hashlib.new(kind, usedforsecurity=False)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            while block := file.read(1 << 22):
                digest.update(block)
                if progress:
                    progress(file.tell(), size)
    except OSError as error:
        raise output_error(error, path) from error
    got = digest.hexdigest()
    if published is None:
        say(f"nobody publishes a checksum of {archive.file}. Its SHA-256 is {got}: compare it with others'")
    elif got != published:
        raise ChecksumMismatch(
            f"{path} is not the published {archive.file}: its {kind.upper()} is {got}, "
            f"published is {published}. {next_step}"
        )


def _unpack_into_place(file: Path, archive: Archive, out: Path, progress: Progress | None) -> None:
    """Unpack beside the place, then rename: what lies beside the part (SPEAKERS.TXT) first, the part last."""
    staging = out / f".unpacking-{archive.part}"
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    packed = max(archive.bytes or 0, file.stat().st_size)
    unpack(file, staging, progress, limit=max(SMALL, round(MARGIN * archive.grows * packed)))
    try:
        _check_commit(file, archive)
        part = _part_inside(staging, file, archive)
        if archive.after:
            archive.after(part)
        ways = [PurePosixPath(archive.folder), *PurePosixPath(archive.folder).parents]
        for inner, outer in pairwise(ways):
            (out / outer).mkdir(parents=True, exist_ok=True)
            for entry in sorted((staging / outer).iterdir()) if not archive.inside else ():
                place = out / outer / entry.name
                if entry.name != inner.name and not place.exists():
                    entry.rename(place)
        part.rename(out / archive.folder)
    except OSError as error:
        raise output_error(error, out / archive.folder) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_commit(file: Path, archive: Archive) -> None:
    """Raise BadArchive where git says that it packed another commit; an archive made otherwise says none."""
    if not archive.commit:
        return
    with tarfile.open(file) as tar:
        commit = tar.pax_headers.get("comment", "")
    if commit and not commit.startswith(archive.commit):
        raise BadArchive(
            f"{file} is commit {commit}, expected {archive.commit}: not the corpus it should be."
        )


def _part_inside(staging: Path, file: Path, archive: Archive) -> Path:
    """Return the folder of what was unpacked that becomes the part; raise BadArchive."""
    if archive.inside == ".":
        return staging
    found = [path for path in staging.glob(archive.inside or archive.folder) if path.is_dir()]
    if len(found) != 1:
        name = archive.inside or archive.folder
        raise BadArchive(
            f"{file} holds {'more than one' if found else 'no'} folder {name}: not the corpus it should be."
        )
    return found[0]


def _retire(partial: Path, archive: Archive, keep: bool) -> None:
    """Give a fetched archive its own name now that it is verified, or delete it."""
    try:
        if keep:
            partial.replace(partial.with_name(archive.file))
        forget(partial)
    except OSError as error:
        raise output_error(error, partial) from error
