"""Unpack an archive a stranger made: everything lands inside one folder, within a limit, or nothing does.

What an archive says of itself is not believed: every byte that comes out of the compression is counted,
headers and skipped ones too, so neither a bomb nor an endless member goes further than the limit.
"""

from __future__ import annotations

import gzip
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import IO, Any

from voxid.errors import BadArchive, DiskFull, VoxidError
from voxid.files import output_error

GROWS = 20  # unpacked size over packed: the most that speech, which hardly compresses, can come to
SMALL = 64 << 20  # bytes that any archive may unpack to
BLOCK = 1 << 20  # bytes read and written at a time

Progress = Callable[[int, int], None]
Member = tuple[str, str | None, bool, Callable[[], Any]]  # name, flaw, whether a folder, its content


def unpack(
    archive: str | PathLike[str],
    folder: str | PathLike[str],
    progress: Progress | None = None,
    limit: int | None = None,
) -> Path:
    """Unpack a .tar.gz or a .zip into the new folder `folder` and return it.

    Only plain files and folders are written, with this user's usual permissions. A member with an absolute
    name, a `..`, a link, a device, a pipe or holes is refused, and so is an archive that comes to more than
    `limit` bytes (20 times its size, and 64 MB at least, if not given). Then, as on any other error and on
    Ctrl-C, `folder` is removed again. `progress` gets the compressed bytes read so far and their total.

    Raise BadArchive (damaged, unsafe, too large, neither of the two), NotWritable, DiskFull or OutputError.
    """
    source, target = Path(archive), Path(folder)
    try:
        target.mkdir(parents=True)
    except OSError as error:
        raise output_error(error, target) from error
    try:
        size = source.stat().st_size
        limit = max(SMALL, GROWS * size) if limit is None else limit
        with source.open("rb") as file:
            members = _zipped if file.read(2) == b"PK" else _tarred
            file.seek(0)
            for name, flaw, is_folder, content in members(file, source, target, limit):
                path = target / _checked(name, flaw, source)
                _make_folder(path if is_folder else path.parent)
                if not is_folder:
                    with closing(content()) as opened:
                        _write(opened, path)
                if progress:
                    progress(min(file.tell(), size), size)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, VoxidError) or not isinstance(error, Exception):
            raise
        # Of the decoders of tar, zip, gzip, bz2 and lzma: whatever a stranger's bytes make of them.
        raise BadArchive(
            f"{source} cannot be unpacked: {error or type(error).__name__}. Expected a whole .tar.gz or "
            ".zip. Delete it and download it again."
        ) from error
    return target


class _Bounded:
    """What comes out of a gzip file, up to a limit; it ends with an error, where tarfile would read on."""

    def __init__(self, plain: gzip.GzipFile, source: Path, limit: int) -> None:
        self._plain, self._source, self._limit = plain, source, limit
        self._read = self._ends = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; raise BadArchive beyond the limit, EOFError long after the end."""
        block = self._plain.read(min(size, BLOCK) if size >= 0 else BLOCK)
        self._read += len(block)
        if self._read > self._limit:
            raise _too_large(self._source, self._limit)
        self._ends += not block
        if self._ends > 100:  # tarfile asks a few times at the end; of an endless member, forever
            raise EOFError("it breaks off inside a member")
        return block


def _tarred(file: IO[bytes], source: Path, target: Path, limit: int) -> Iterator[Member]:
    with gzip.open(file) as plain:
        bounded = _Bounded(plain, source, limit)
        with tarfile.open(fileobj=bounded, mode="r|") as tar:  # type: ignore[call-overload]
            while member := tar.next():
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] -- or it grows
                flaw = _flaw(member.name)
                if flaw is None and (member.issym() or member.islnk()):
                    flaw = f"a link to {member.linkname!r}"
                elif flaw is None and not (member.isreg() or member.isdir()):
                    flaw = "a device or a pipe"
                elif flaw is None and member.issparse():
                    flaw = "a file with holes, whose size is made up"
                if member.size > limit:
                    raise _too_large(source, limit)
                yield member.name, flaw, member.isdir(), lambda of=member: tar.extractfile(of) or plain
        while bounded.read(BLOCK):  # tarfile stops before the end, where gzip keeps its checksum
            pass


def _zipped(file: IO[bytes], source: Path, target: Path, limit: int) -> Iterator[Member]:
    """Yield the members; the list of a zip tells beforehand what it holds, so a bad one writes nothing."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        needed, free = sum(member.file_size for member in members), shutil.disk_usage(target).free
        flaws = [_zip_flaw(member) for member in members]
        for member, flaw in zip(members, flaws, strict=True):
            _checked(member.orig_filename, flaw, source)
        if needed > limit:
            raise _too_large(source, limit)
        if needed > free:
            raise DiskFull(
                f"{source.name} holds {needed / 1e9:,.1f} GB, and {target.parent} has {free / 1e9:,.1f} GB "
                "free. Free some space, or choose another folder."
            )
        for member in members:
            yield member.orig_filename, None, member.is_dir(), lambda of=member: archive.open(of)


def _zip_flaw(member: zipfile.ZipInfo) -> str | None:
    flaw, mode = _flaw(member.orig_filename), stat.S_IFMT(member.external_attr >> 16)
    if flaw is None and mode == stat.S_IFLNK:
        return "a link"
    if flaw is None and mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a device or a pipe"
    return flaw


def _flaw(name: str) -> str | None:
    """Return what is wrong with a member's name, None if nothing is."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return "a name that leads outside the folder"
    if "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        return "a name that means another place on some systems"
    return None


def _checked(name: str, flaw: str | None, source: Path) -> PurePosixPath:
    """Return a member's path inside the folder; raise BadArchive when it has a flaw."""
    if flaw:
        raise BadArchive(
            f"{source} holds {name!r}, {flaw}. Allowed are plain files and folders inside it. "
            "Nothing was unpacked. Do not trust where it came from."
        )
    return PurePosixPath(name)


def _too_large(source: Path, limit: int) -> BadArchive:
    return BadArchive(
        f"{source} comes to more than {limit / 1e6:,.0f} MB unpacked, which is more than it may. Nothing was "
        "unpacked. Do not trust where it came from."
    )


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise output_error(error if isinstance(error, OSError) else OSError(str(error)), path) from error


def _write(content: IO[bytes], path: Path) -> None:
    """Write a member; errors of reading stay what they are, errors of writing become OutputErrors."""
    try:
        file = path.open("wb")
    except OSError as error:
        raise output_error(error, path) from error
    with file:
        while block := content.read(BLOCK):
            try:
                file.write(block)
            except OSError as error:
                raise output_error(error, path) from error
